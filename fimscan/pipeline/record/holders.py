"""Record which processes have watched files open for writing: when a scan begins, and while it reads."""

from __future__ import annotations

import os
from collections.abc import Set

from fimscan import linux
from fimscan.linux import OpenFiles
from fimscan.linux.users import user_name
from fimscan.pipeline.record.devices import Survey
from fimscan.store import scan_results as scan_result_store
from fimscan.store.database import Database
from fimscan.store.session import Session

Identity = tuple[int, int]
"""(device, inode) of a file, as recorded."""


def record_holders(session: Session, scan_id: int, survey: Survey) -> tuple[frozenset[Identity], OpenFiles]:
    """Record the processes that have files open for writing when a scan begins: (the files, all that was found).

    This is needed even without an audit log: windows of later changes begin at this scan.
    """
    found = linux.open_for_writing(os.getpid(), user_name=user_name, in_memory=survey.is_in_memory)
    holders = survey.holders(found.holders)
    scan_result_store.add_holders(session, scan_id, holders, found.doubts)
    return frozenset((holder.dev, holder.inode) for holder in holders), found


def record_writers(
    database: Database, scan_id: int, writable: set[Identity], held: Set[Identity], survey: Survey
) -> None:
    """Record which files were open for writing when they were read, and which processes have these open.

    Args:
        database: the store.
        scan_id: the scan that read them.
        writable: the files that were open for writing when they were read.
        held: the files whose holders are recorded already.
        survey: translates device numbers.
    """
    unknown = {kernel_id for identity in writable - held if identity[1] for kernel_id in survey.kernel_ids(identity)}
    found = linux.open_for_writing(os.getpid(), user_name=user_name, of=unknown).holders if unknown else ()
    holders = survey.holders(found)
    with database.begin() as session:
        scan_result_store.add_writable(session, scan_id, writable)
        scan_result_store.add_holders(session, scan_id, holders)
