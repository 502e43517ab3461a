"""The one family of errors that people are meant to read.

LookalikeError            anything that a person can do something about; the command line prints it as one line
├── UnreadableImage       bytes that are no image we accept                       (ml.images)
├── BadBox                numbers that name no part of an image                     (ml.images)
├── BadBundle             a model on disk that is damaged or incomplete             (here)
│   └── OldBundle         one of an older format, to be converted                   (ml.model.bundle)
├── BadCheckpoint         weights that are not the pinned file, or more than tensors (ml.model.checkpoint_reader)
├── BadDataset            a folder or table that cannot be trained or evaluated on  (ml.data.datasets)
├── TrainingFailed        a run that cannot go on: NaN loss, no memory, disk full   (ml.training.train)
├── UnknownModel          a name that the registry does not hold                    (here)
├── BadName               a text that is to be a name, and is none                 (ml.names)
├── StorageFailed         storage that refuses: no bucket, no permission, disk full      (ml.storage)
├── Damaged               something stored that is not what was written            (ml.records)
├── BadSettings           a setting with a value that makes no sense                (workers.settings)
├── Unavailable           a part of the system that does not answer                 (workers.errors)
├── Busy                  something that can happen once at a time is happening     (workers.errors)
├── Refused               what makes no sense as things are now                     (workers.errors)
├── NotFound              an image, job or label that does not exist               (workers.errors)
├── JobEnded              work for a job that has been stopped or has failed       (workers.errors)
├── StoreBusy             an embedded store that another process owns               (workers.store)
└── StoreFailed           a vector database that does not answer, or refuses        (workers.store)
    └── DamagedCollection an embedded collection whose files are damaged            (workers.store.shard)

The message is a fact in one line, without a closing period; `hint` says what to do next. Both are fit to show to the
person who caused them, so they never hold secrets.
"""


class LookalikeError(Exception):
    """A failure that a person can act on.

    Args:
        message: what is the case, one line.
        hint: what to do next, one line; empty when the message says it.
        passes: whether waiting may be enough: a server that restarts, a full disk. What does not pass ends the work
            that meets it at once. None: as the class says.
    """

    passes = False

    def __init__(self, message: str, *, hint: str = "", passes: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if passes is not None:
            self.passes = passes

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class BadBundle(LookalikeError):
    """A model on disk is damaged or incomplete, or does not give the vectors that it gave when it was saved."""


class BadDataset(LookalikeError):
    """A folder or table that cannot be trained or evaluated on."""


class UnknownModel(LookalikeError):
    """A name that the registry does not hold."""
