"""What tests of the gallery share."""

import pytest

from tests.workers.gallery.samples import Log


@pytest.fixture
def log() -> Log:
    return Log()
