"""What crosses the queue and the API: frozen dataclasses, JSON in and out.

Every field is a plain JSON type, another message, or a tuple of messages, so that `to_json` and `from_json` need no
knowledge of single classes. Whoever uses a message imports it from here.

base.py        their common base
images.py      images of the gallery
search.py      answers of a search
labelling.py   proposals of labels, and labels that may be wrong
coverage.py    indexed folders, and where a missed photo is
duplicates.py  copies of photos
jobs.py        progress of long work
training.py    trainings and sweeps to perform
tuning.py      what a tune job learns from
preview.py     what publishing a model would change
status.py      workers, services, the whole system
"""

from workers.messages.base import Message, plain
from workers.messages.coverage import FolderCoverage, Whereabouts
from workers.messages.duplicates import Copy, CopyGroup, Pair
from workers.messages.images import GalleryImage, LabelCount, Page, Selection, Skipped, TrashedImage
from workers.messages.jobs import PHASES, Failure, Finding, JobStatus
from workers.messages.labelling import Outlier, Outliers, Proposal, Proposals
from workers.messages.preview import PreviewedHit, PreviewedQuery, SavedQuery
from workers.messages.search import AVERAGE, BEST, STRATEGIES, Result, SearchResult
from workers.messages.status import ServiceStatus, SystemStatus, WorkerStatus
from workers.messages.training import TRAINING_REQUESTS, SweepRequest, TrainRequest
from workers.messages.tuning import AlikePair, VariedImage

__all__ = [
    "AVERAGE",
    "BEST",
    "PHASES",
    "STRATEGIES",
    "TRAINING_REQUESTS",
    "AlikePair",
    "Copy",
    "CopyGroup",
    "Failure",
    "Finding",
    "FolderCoverage",
    "GalleryImage",
    "JobStatus",
    "LabelCount",
    "Message",
    "Outlier",
    "Outliers",
    "Page",
    "Pair",
    "PreviewedHit",
    "PreviewedQuery",
    "Proposal",
    "Proposals",
    "Result",
    "SavedQuery",
    "SearchResult",
    "Selection",
    "ServiceStatus",
    "Skipped",
    "SweepRequest",
    "SystemStatus",
    "TrainRequest",
    "TrashedImage",
    "VariedImage",
    "Whereabouts",
    "WorkerStatus",
    "plain",
]
