"""Remove manifests that nothing is compared with any more."""

from __future__ import annotations

from fimscan.packages.dpkg import has_dpkg, installed_packages
from fimscan.packages.files import Directories
from fimscan.packages.manifests import ManifestStore

_KEPT_NS = 30 * 24 * 3600 * 10**9


def prune_manifests(store: ManifestStore, now_ns: int, root: bytes = b"/") -> int:
    """Remove manifests of packages that have not been installed for a month; how many.

    Nothing is removed if dpkg's list cannot be read whole: each package could be in the part that is missing.
    """
    directories = Directories(root)
    installed = installed_packages(directories) if has_dpkg(directories) else None
    return 0 if not installed else store.prune(installed, now_ns - _KEPT_NS)
