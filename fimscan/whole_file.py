"""Write a file completely or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any


@contextmanager
def replaced(
    path: str, *, mode: int = 0o600, encoding: str | None = None, is_synced: bool = False
) -> Iterator[IO[Any]]:
    """Open a new file beside ``path``, which replaces it if the block ends without an exception.

    Until then only its owner may read it, and its name cannot be guessed. It ends with ``.new``, so that no program
    takes it for one of its files.

    Args:
        path: what is replaced; a symbolic link there is replaced itself.
        mode: the permissions of the finished file.
        encoding: text in this encoding, with what it lacks escaped; ``None``: bytes.
        is_synced: the content is on the disk before it replaces anything.

    Raises:
        OSError: it cannot be written. The old file stays, and no part of the new one is left.
    """
    temporary = f"{path}.{secrets.token_hex(8)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        errors = None if encoding is None else "backslashreplace"
        with open(descriptor, "wb" if encoding is None else "w", encoding=encoding, errors=errors) as file:
            yield file
            os.fchmod(descriptor, mode)
            if is_synced:
                file.flush()
                os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
