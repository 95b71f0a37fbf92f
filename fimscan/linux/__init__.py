"""What the kernel tells apart from audit: mounts, devices, processes, open files. See :manpage:`proc(5)`."""

from fimscan.linux.holders import OpenFiles, open_for_writing
from fimscan.linux.processes import may_write

__all__ = ["OpenFiles", "may_write", "open_for_writing"]
