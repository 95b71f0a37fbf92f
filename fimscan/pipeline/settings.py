"""The configuration's words on how a scan behaves towards its host, as the scanner takes them."""

from __future__ import annotations

from fimscan.config import ScanSettings
from fimscan.scan.limits import Limits


def limits_of(settings: ScanSettings) -> Limits:
    """What ``[scan]`` says of it."""
    return Limits(
        file_timeout_s=settings.file_timeout_s,
        stall_timeout_s=settings.stall_timeout_s,
        nice=settings.nice,
        ionice=settings.ionice,
        max_bytes_per_s=settings.max_bytes,
        max_files_per_s=settings.max_files_per_s,
        drop_cache=settings.drop_cache,
    )
