"""What the kernel says beside audit. ``/proc`` is described in :manpage:`proc(5)`."""

from fimscan.linux.holders import OpenFiles, open_for_writing
from fimscan.linux.processes import may_write

__all__ = ["OpenFiles", "may_write", "open_for_writing"]
