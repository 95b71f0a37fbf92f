"""Locate the files that ship with the code, in a wheel or a checkout."""

from __future__ import annotations

import os

_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def shipped_path(name: str) -> str:
    """The path of ``conf`` or ``migrations``: inside the installed package, else at the top of the checkout."""
    installed = os.path.join(_PACKAGE, "_shipped", name)
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(_PACKAGE), name)
