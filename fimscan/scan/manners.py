"""How a scan treats the host that it runs on, and how long it waits for it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """Settings that worker processes are started with.

    Args:
        file_timeout_s: the reading of one file is given up after this time.
        stall_timeout_s: a single system call that takes longer is taken for hanging.
    """

    file_timeout_s: float = 600.0
    stall_timeout_s: float = 60.0

    def to_json(self) -> str:
        """For a worker's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Manners:
        """The inverse of :meth:`to_json`."""
        return cls(**json.loads(text))
