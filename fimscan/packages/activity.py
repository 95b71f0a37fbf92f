"""When was a package being installed? From dpkg's log, and from the time at which a package was unpacked."""

from __future__ import annotations

import os
from datetime import datetime
from functools import cached_property

from fimscan.model import PackageOwner, Window
from fimscan.packages.dpkg_files import Activity, parse_log
from fimscan.packages.files import Directories, below, read_regular

_LOGS = (b"/var/log/dpkg.log.1", b"/var/log/dpkg.log")
_MOST_BYTES = 8 * 1024 * 1024
_NS = 10**9
_SLACK_NS = 2 * _NS  # the log has whole seconds, and is written beside the work


class DpkgActivity:
    """What dpkg worked on, as far as its log goes back. The log is read when it is first asked for."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories

    @cached_property
    def _found(self) -> Activity:
        texts = []
        for path in _LOGS:
            try:
                name = below(self._directories.root, self._directories.canonical(path))
                texts.append(read_regular(name, most=_MOST_BYTES, tail=True))
            except OSError:
                texts.clear()  # an older log proves nothing without the newer one
        return parse_log(b"\n".join(texts), to_seconds)

    def was_active(self, owner: PackageOwner, window: Window) -> bool | None:
        """Whether a package was being installed, configured or removed in a window; ``None`` if that is not known.

        Of rpm, only the time of the last installation is known. It says yes, and never no: an installation takes time.
        """
        start, end = window.after_ns - _SLACK_NS, window.before_ns + _SLACK_NS
        if owner.unpacked_ns is not None and start <= owner.unpacked_ns <= end:
            return True
        if owner.manager != "dpkg" or owner.architecture is None:
            return None
        spans = self._found.spans.get(os.fsencode(f"{owner.name}:{owner.architecture}"), ())
        if any(first * _NS <= end and start <= last * _NS for first, last in spans):
            return True
        is_covered = self._found.start is not None and self._found.start * _NS <= window.after_ns
        return False if is_covered else None

    def was_at_work(self, name: str, moment_ns: int) -> bool:
        """Whether dpkg ran a script or a trigger of a package, of any architecture, at that moment."""
        prefix = os.fsencode(f"{name}:")
        return any(
            first * _NS - _SLACK_NS <= moment_ns <= last * _NS + _SLACK_NS
            for owner, spans in self._found.spans.items()
            if owner.startswith(prefix)
            for first, last in spans
        )


def to_seconds(stamp: bytes) -> int | None:
    """A local time of dpkg's log in seconds since the epoch; ``None`` if it is no time."""
    try:
        return int(datetime.fromisoformat(stamp.decode("ascii")).timestamp())  # without a zone: local time
    except (ValueError, OverflowError, OSError):
        return None
