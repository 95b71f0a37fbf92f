"""files -> FileState: an ordered walk, one pass of hashing, and what could not be read."""

from fimscan.scan.scanner import Progress, scan
from fimscan.scan.spot import Spotter
from fimscan.scan.watch import WatchSpec

__all__ = ["Progress", "Spotter", "WatchSpec", "scan"]
