"""Where the manifests of packages are: in a directory beside the database."""

from __future__ import annotations

import os

_NAME = "packages"
_DEFAULT = "/var/lib/fimscan"
_SQLITE = "sqlite:///"


def manifest_directory(url: str | None) -> bytes:
    """The directory of manifests that belongs to a database; ``None`` and a server's database have the default one."""
    file = (url or "").removeprefix(_SQLITE).partition("?")[0] if (url or "").startswith(_SQLITE) else ""
    directory = os.path.dirname(os.path.abspath(file)) if file and file != ":memory:" else _DEFAULT
    return os.fsencode(os.path.join(directory, _NAME))
