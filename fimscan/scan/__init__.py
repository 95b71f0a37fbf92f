"""files -> FileState: an ordered walk, one pass of hashing, and what could not be read."""

from fimscan.scan.block import Block, Entry, Voucher
from fimscan.scan.scanner import Known, Progress, scan, scan_blocks
from fimscan.scan.spot import Spotter
from fimscan.scan.watch import WatchSpec

__all__ = ["Block", "Entry", "Known", "Progress", "Spotter", "Voucher", "WatchSpec", "scan", "scan_blocks"]
