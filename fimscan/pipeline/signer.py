"""The fingerprint of the key that signs this host's evidence, for reports."""

from __future__ import annotations

import os

from fimscan.config import Config
from fimscan.errors import FimscanError


def signing_key(config: Config | None) -> str | None:
    """The fingerprint; ``None`` if there is no key, or this user may not read it. No key is made.

    A report never fails because of it: 'fimscan key show' says what is wrong.
    """
    if config is None or not os.access(config.evidence.key, os.R_OK, effective_ids=True):
        return None
    from fimscan.signing import load_key  # here: the library behind it takes a while to load

    try:
        found = load_key(config.evidence.key)
    except FimscanError:
        return None
    return None if found is None else found.fingerprint
