"""Asking workers for what helps to label: guesses for what has no label, and what its label may be wrong for."""

from workers.client.rpc import RpcClient
from workers.messages import Outliers, Proposals

_TIMEOUT_S = 10.0


class Labelling:
    """The client's questions about labels. Safe to use from many threads. Each may raise Unavailable."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc

    def proposals(self, limit: int = 60, *, skip: int = 0) -> Proposals:
        """Groups of the newest images without a label, each with a guess, what teaches most first."""
        return Proposals.from_json(self._rpc.call("proposals", {"limit": limit, "skip": skip}, _TIMEOUT_S))

    def outliers(self, label: str, limit: int = 12) -> Outliers:
        """Images whose label may be wrong, the most doubtful first."""
        return Outliers.from_json(self._rpc.call("outliers", {"label": label, "limit": limit}, _TIMEOUT_S))
