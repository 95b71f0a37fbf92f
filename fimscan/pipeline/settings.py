"""The scan plan: what to scan and how, built once from the configuration, in the scanner's terms."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from msgspec import Struct
from msgspec.structs import replace

from fimscan.config import Config, ScanSettings, Watch
from fimscan.linux.filesystems import Numbers
from fimscan.scan.keeping import KeepRule
from fimscan.scan.limits import Limits
from fimscan.scan.path_scan import PathScanner
from fimscan.scan.scope import Scope
from fimscan.scan.watch import WatchSpec
from fimscan.store.contents import files_of


class ScanPlan(Struct, frozen=True, kw_only=True):
    """What to scan and how.

    Attributes:
        config: the configuration that the plan was built from.
        watches: the watched files and directories, with their excludes and digests.
        scope: decides which paths the watches cover.
        limits: priorities, rates and timeouts.
        keep: for each append-only watch, by path: how many rotated generations of a log are kept.
        skip: paths that are neither read nor reported: fimscan's own files.
    """

    config: Config
    watches: tuple[WatchSpec, ...]
    scope: Scope
    limits: Limits
    keep: Mapping[bytes, int]
    skip: Collection[bytes]

    @classmethod
    def of(cls, config: Config, *, skip: Collection[bytes] = ()) -> ScanPlan:
        """Build the plan of a configuration."""
        watches = tuple(_watch_spec(watch, config) for watch in config.watch)
        contents = files_of(config.contents.file) if config.contents.file else ()
        return cls(
            config=config,
            watches=watches,
            scope=Scope(watches),
            limits=limits_of(config.scan),
            keep={spec.path: watch.keep for spec, watch in zip(watches, config.watch, strict=True)},
            skip=(*skip, *contents),
        )

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The watched paths."""
        return tuple(watch.path for watch in self.watches)

    @property
    def cross_mounts(self) -> bool:
        """Whether to enter other file systems."""
        return self.config.scan.cross_mounts

    @property
    def workers(self) -> int:
        """How many processes read; 0 means one for each core."""
        return self.config.scan.workers

    def generations_to_keep(self, path: bytes) -> int:
        """How many rotated generations of a log its watch keeps; 0 where the configuration names no number."""
        return self.keep.get(self.scope.root_of(path) or b"", 0)

    def path_scanner(self, numbers: Numbers | None = None, *, wait_for_leases: bool = True) -> PathScanner:
        """Make a scanner of single paths; ``numbers`` are the device numbers that it records."""
        limits = replace(self.limits, wait_for_leases=wait_for_leases)
        return PathScanner(self.watches, cross_mounts=self.cross_mounts, limits=limits, numbers=numbers)


def limits_of(settings: ScanSettings) -> Limits:
    """Convert the limits in ``[scan]``."""
    return Limits(
        file_timeout_s=settings.file_timeout_s,
        stall_timeout_s=settings.stall_timeout_s,
        nice=settings.nice,
        ionice=settings.ionice,
        max_bytes_per_s=settings.max_bytes,
        max_files_per_s=settings.max_files_per_s,
        max_holes=settings.max_hole_bytes,
        drop_cache=settings.drop_cache,
    )


def _watch_spec(watch: Watch, config: Config) -> WatchSpec:
    keep = None
    if watch.keep_content:
        keep = KeepRule(
            most_bytes=config.contents.max_file_bytes,
            despite=frozenset(map(os.fsencode, watch.keep_content_of_secrets)),
            never=frozenset((os.fsencode(config.evidence.key),)),
        )
    return WatchSpec(
        path=os.fsencode(watch.path),
        exclude=watch.exclude,
        algorithms=() if watch.policy == "attributes" else watch.digests,
        append_only=watch.policy == "append-only",
        vouched=watch.reread == "ctime",
        keep=keep,
    )
