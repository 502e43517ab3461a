"""Notes for each folder that is indexed what was found in it and what became of that: see workers.coverage."""

import contextlib
import dataclasses
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from deploy.cli.find_files import Candidate
from ml.data.photo_files import shown
from ml.errors import LookalikeError
from workers import coverage
from workers.client import Client
from workers.messages import FolderCoverage, JobStatus


class Ledger:
    """The records of the folders of one indexing command. Files that are named themselves have none.

    That a record cannot be written stops nothing: the photos are what matters.
    """

    def __init__(self, client: Client, paths: Sequence[Path]) -> None:
        self._client = client
        # `resolve` would lose the names that links carry.
        self._folders = [shown(Path(os.path.abspath(path))) for path in paths if path.is_dir()]  # noqa: PTH100
        self._found: Counter[str] = Counter()
        self._begun: dict[str, FolderCoverage] = {}

    def counted(self, files: Iterable[Candidate]) -> Iterator[Candidate]:
        """The same files, counted by folder."""
        for each in files:
            if folder := self._folder_of(each.display_path):
                self._found[folder] += 1
            yield each

    def begin(self, job: str) -> None:
        """Says that the folders are being read."""
        for folder in self._folders:
            self._begun[folder] = coverage.begun(folder, socket.gethostname(), job)
            self._write(self._begun[folder])

    def end(self, status: JobStatus, skipped: Iterable[tuple[str, str]], same: Mapping[str, str]) -> None:
        """Notes how it ended.

        Args:
            status: the finished job.
            skipped: files and folders that are plainly no photos, with reasons.
            same: files that hold a photo which goes by another one's path.
        """
        failures = [(failure.path, failure.reason) for failure in status.failures]
        skipped = list(skipped)
        for folder, record in self._begun.items():
            failed = [each for each in failures if self._folder_of(each[0]) == folder]
            left = [each for each in skipped if self._folder_of(each[0]) == folder]
            # A job names the first thousand failures: with one folder the rest are this one's, too.
            count = status.failed if len(self._folders) == 1 else len(failed)
            self._write(
                dataclasses.replace(
                    record,
                    at=time.time(),
                    is_complete=True,
                    indexed=self._found[folder] - count,
                    same=sum(self._folder_of(path) == folder for path in same),
                    failed=count,
                    skipped=len(left),
                    failures=coverage.named(failed),
                    skips=coverage.named(left),
                )
            )

    def _folder_of(self, path: str) -> str | None:
        """The folder that was named and that a file lies in."""
        inside = [folder for folder in self._folders if path.startswith(folder.rstrip(os.sep) + os.sep)]
        return max(inside, key=len, default=None)

    def _write(self, record: FolderCoverage) -> None:
        with contextlib.suppress(LookalikeError):
            self._client.coverage.write(record)
