"""What is known about the clock at one moment."""

from __future__ import annotations

from msgspec import Struct


class ClockLook(Struct, frozen=True, kw_only=True):
    """Whether the clock was synchronized when a scan began, and by what. ``None`` and empty texts are unknown.

    Attributes:
        synchronized: as the kernel says (:manpage:`adjtimex(2)`).
        error_us: the kernel's bound of the error, in microseconds.
        service: the time service that answered: ``chrony`` or ``systemd-timesyncd``.
        source: the server that it follows.
        stratum: how far that server is from a reference clock.
        offset_ns: how far the clock was from the source's time, as the service says.
    """

    synchronized: bool | None = None
    error_us: int | None = None
    service: str = ""
    source: str = ""
    stratum: int | None = None
    offset_ns: int | None = None
