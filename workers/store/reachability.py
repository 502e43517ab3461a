"""Whether a server answers: after a call that it left unanswered, nobody waits for it until it answers again.

A process that is stopped, or a cut line, takes requests and says nothing. Each call waiting for that to end would hold
a thread of the worker; soon there would be none left to say what is wrong.
"""

import threading
from collections.abc import Callable

_PROBED_S = 0.5


class Reachability:
    """Remembers that a server is away, and asks it in the background until it is back. Safe to use from many threads.

    Args:
        probe: raises while the server does not answer; returns soon either way.
    """

    def __init__(self, probe: Callable[[], object]) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._is_away = False
        self._closed = threading.Event()

    @property
    def is_away(self) -> bool:
        """Whether the last call was left unanswered, and every probe since."""
        return self._is_away

    def lost(self) -> None:
        """Says that a call was left unanswered. A server that answers the probe was only slow, and is not away."""
        if self._is_away or self._answers():
            return
        with self._lock:
            if self._is_away or self._closed.is_set():
                return
            self._is_away = True
            threading.Thread(target=self._await_return, name="store-probe", daemon=True).start()

    def close(self) -> None:
        """Stops asking."""
        self._closed.set()

    def _await_return(self) -> None:
        while not self._answers():
            if self._closed.wait(_PROBED_S):
                return
        self._is_away = False

    def _answers(self) -> bool:
        try:
            self._probe()
        except Exception:  # noqa: BLE001 - whatever it is, the server has not answered as it should
            return False
        return True
