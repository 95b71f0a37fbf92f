"""Packages: whether a changed file is what the distribution shipped.

``check_paths`` answers for many paths at once. ``record_debs`` takes manifests of .deb files before they are unpacked.

``dpkg_status``, ``dpkg_files``, ``manifest`` and ``hook`` parse text, as do ``rpm.parse_rpm`` and
``python_record.parse_record``. ``judge`` and ``writers`` decide. All of these are pure; the other modules read files.

An answer is ``as-shipped`` only if a digest is equal to one that the installed version shipped. Whatever is damaged,
missing or contradictory makes it ``unknown``.
"""

from fimscan.packages.check import DEB_BUDGET, PackageSources, check_paths
from fimscan.packages.claims import NOBODY, PackageQuestion
from fimscan.packages.hook import parse_hook
from fimscan.packages.list_index import ListIndex
from fimscan.packages.manifests import ManifestStore
from fimscan.packages.observe import Observer
from fimscan.packages.prune import prune_manifests
from fimscan.packages.record import Recorded, record_debs
from fimscan.packages.writers import Writers, writers_of

__all__ = [
    "DEB_BUDGET",
    "NOBODY",
    "ListIndex",
    "ManifestStore",
    "Observer",
    "PackageQuestion",
    "PackageSources",
    "Recorded",
    "Writers",
    "check_paths",
    "parse_hook",
    "prune_manifests",
    "record_debs",
    "writers_of",
]
