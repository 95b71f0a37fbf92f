"""The same audit system as the lab's."""

from __future__ import annotations

from tests.lab.conftest import ground

__all__ = ["ground"]
