"""The time that containers may take, images included: what it no longer holds is not begun, and that is told."""

import time


class Deadline:
    """A moment, some seconds from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds until then; 1 when it is over, so that whatever is given them ends."""
        return max(1.0, self._at - time.monotonic())

    def is_over(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self._at
