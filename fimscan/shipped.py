"""Where the files that ship beside the code are: in the wheel, or in a checkout."""

from __future__ import annotations

import os

_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def shipped_path(name: str) -> str:
    """The directory ``conf`` or ``migrations``: inside an installed package, else at the top of the checkout."""
    installed = os.path.join(_PACKAGE, "_shipped", name)
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(_PACKAGE), name)
