"""Which files do triggers of dpkg make? Caches that a program rebuilds after other packages changed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from fimscan.model import Actor, ExeOrigin


class _Trigger(NamedTuple):
    """The package whose maintainer script runs a program, and the paths that this program then makes."""

    package: str
    program: re.Pattern[bytes]
    paths: re.Pattern[bytes]


def _trigger(package: str, program: bytes, paths: bytes) -> _Trigger:
    return _Trigger(
        package, re.compile(rb"(?:/usr)?/(?:s?bin|lib/[\w.-]+/[\w.-]+)/(?:%b)\Z" % program), re.compile(paths)
    )


# Caches only. What decides which code or certificate is used, as loaders.cache does, is looked at by itself.
_TRIGGERS = (
    _trigger("libc-bin", rb"ldconfig(?:\.real)?", rb"/etc/ld\.so\.cache~?\Z|/var/cache/ldconfig/aux-cache~?\Z"),
    _trigger("man-db", rb"mandb", rb"/var/cache/man/"),
    _trigger("install-info", rb"install-info", rb"/usr/share/info/dir(?:\.old)?\Z"),
    _trigger("shared-mime-info", rb"update-mime-database(?:\.real)?", rb"/usr/share/mime/"),
    _trigger("desktop-file-utils", rb"update-desktop-database", rb"/usr/share/applications/mimeinfo\.cache\Z"),
    _trigger("libglib2.0-0", rb"glib-compile-schemas", rb"/usr/share/glib-2\.0/schemas/gschemas\.compiled\Z"),
    _trigger("hicolor-icon-theme", rb"gtk-update-icon-cache(?:-3\.0)?", rb"/usr/share/icons/[^/]+/icon-theme\.cache\Z"),
    _trigger("fontconfig", rb"fc-cache", rb"/var/cache/fontconfig/"),
)


# One search finds that a path is none of them, as nearly all are.
_ANY_PATH = re.compile(b"|".join(b"(?:%b)" % one.paths.pattern for one in _TRIGGERS))


def is_made_by_trigger(path: bytes) -> bool:
    """Whether a trigger makes a file of this path, by whichever process."""
    return _ANY_PATH.match(path) is not None


def trigger_package(actors: Iterable[Actor], path: bytes) -> str | None:
    """The package whose trigger makes this file by exactly these processes; ``None`` if it is no such file."""
    if not is_made_by_trigger(path):
        return None
    found = {_package_of(actor, path) for actor in actors}
    return found.pop() if len(found) == 1 else None


def _package_of(actor: Actor, path: bytes) -> str | None:
    view = actor.view
    if actor.exe is None or (view is not None and (view.container or view.exe_origin is ExeOrigin.OTHER_ROOT)):
        return None
    matching = (one for one in _TRIGGERS if one.program.match(actor.exe) and one.paths.match(path))
    return next((one.package for one in matching), None)
