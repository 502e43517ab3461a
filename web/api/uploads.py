"""Keeping uploaded files: store each, start one job for all, tell the outcome file by file. Pages and API share it."""

import contextlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import url_for
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import UnprocessableEntity

from workers.client import Client, Unavailable, UnreadableImage
from workers.messages import Failure, JobStatus

LONGEST_LABEL = 200


@dataclass
class UploadedFile:
    """What became of one file. `outcome` is added, unchanged, restored, refused or pending."""

    file: str
    id: str | None = None
    outcome: str = "pending"
    reason: str | None = None
    is_new: bool = False
    is_restored: bool = False
    is_too_large: bool = False

    def refuse(self, reason: str) -> None:
        self.id, self.outcome, self.reason = None, "refused", reason


@dataclass
class Upload:
    """The files of one request, and the job that makes them searchable; no job when all were refused."""

    files: list[UploadedFile] = field(default_factory=list)
    job: str | None = None
    hint: str = ""

    @property
    def is_all_refused(self) -> bool:
        return all(file.outcome == "refused" for file in self.files)

    def to_json(self, state: str) -> dict[str, Any]:
        files = [{"file": f.file, "id": f.id, "outcome": f.outcome, "reason": f.reason} for f in self.files]
        url = url_for("api.system.get_job", job_id=self.job)
        return {"job": self.job, "job_url": url, "state": state, "images": files}


def keep(
    client: Client, images: Sequence[FileStorage], label: str | None, *, max_bytes: int, by_person: bool = True
) -> Upload:
    """Stores the files durably and starts the job. One file after the other: at most one lies in memory.

    Args:
        client: the queue's client side.
        images: the parts of the form.
        label: label for all of them, or None.
        max_bytes: largest accepted file.
        by_person: a person chose the label; a folder's name never replaces such a one.

    Raises:
        Unavailable: the storage or the queue does not answer; what is stored is indexed when the same files come again.
    """
    upload = Upload()
    label = tidy_label(label)
    for image in images:
        file = UploadedFile(file=image.filename or "unnamed")
        upload.files.append(file)
        data = image.stream.read(max_bytes + 1)
        if len(data) > max_bytes:
            file.is_too_large = True
            file.refuse(f"is larger than {max_bytes // 2**20} MB")
            continue
        try:
            added = client.add(data, path=file.file, label=label, by_person=by_person)
        except UnreadableImage as error:
            file.refuse(error.message)
            upload.hint = upload.hint or error.hint
            continue
        file.id, file.is_new, file.is_restored = added.id, added.is_new, added.is_restored
    stored = list(dict.fromkeys(file.id for file in upload.files if file.id))
    if stored:
        # Known images go through the job as well: after a crash they may be stored and yet not indexed.
        failures = [Failure(file.file, file.reason or "") for file in upload.files if file.outcome == "refused"]
        upload.job = client.index(stored, failures=failures)
    return upload


def wait(client: Client, upload: Upload, timeout_s: float) -> JobStatus:
    """Waits until the job is finished or the time is over, and notes the outcome of each file."""
    assert upload.job is not None
    status = client.job(upload.job)
    if timeout_s > 0 and not status.is_finished:
        with contextlib.suppress(Unavailable):  # The time is over; the job goes on by itself.
            for each in client.follow(upload.job, timeout_s=timeout_s):
                status = each
    reasons = {failure.path: failure.reason for failure in status.failures}
    for file in upload.files:
        if file.outcome == "refused":
            continue
        if file.file in reasons:
            file.refuse(reasons[file.file])
        elif status.is_finished:
            file.outcome = "added" if file.is_new else "restored" if file.is_restored else "unchanged"
    return status


def tidy_label(label: str | None) -> str | None:
    """The label without space around it; None when nothing is left."""
    return (label or "").strip() or None


def is_plain_text(text: str) -> bool:
    """Whether it can be shown on one line: no control characters, no half of a surrogate pair."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def typed_label(text: str) -> str | None:
    """The label that a person typed into a form, to be given to photos.

    Raises:
        UnprocessableEntity: it is too long, or no text.
    """
    if len(text) > LONGEST_LABEL or not is_plain_text(text.strip()):
        raise UnprocessableEntity(f"a label must be one line of at most {LONGEST_LABEL} characters")
    return tidy_label(text)
