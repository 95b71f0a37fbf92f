"""Attach an RFC 3161 timestamp to a bundle. Nothing that was signed changes."""

from __future__ import annotations

import os
from contextlib import ExitStack

from fimscan.errors import InputError, OutputError, VerificationError
from fimscan.evidence.archive import BLOCK, Staged, check_size, open_member, read_archive, write_archive
from fimscan.evidence.layout import SUMS, TIMESTAMP, TIMESTAMP_REQUEST
from fimscan.evidence.timestamp import MOST_BYTES, read_response
from fimscan.report.display import show
from fimscan.whole_file import replaced


def attach_timestamp(bundle: str, response: bytes, request: bytes | None) -> str:
    """Put a response, and the request, into a bundle; return the time that the response says.

    Raises:
        VerificationError: the file is no bundle, or the response is none for it.
        InputError: the bundle cannot be read.
        OutputError: it cannot be written. The old one stays.
    """
    if len(response) > MOST_BYTES or len(request or b"") > MOST_BYTES:
        raise VerificationError(f"a timestamp has {MOST_BYTES:,} bytes at most")
    stamp = read_response(response)
    shown = show(os.fsencode(bundle))
    try:
        with open(bundle, "rb") as file, ExitStack() as stack:
            check_size(os.fstat(file.fileno()).st_size, os.fstat(file.fileno()).st_blocks * 512)
            directory = os.path.dirname(os.path.realpath(bundle))
            members = {member.name: member for member in read_archive(file)}
            if SUMS not in members:
                raise VerificationError(f"{shown} is not an evidence bundle: {SUMS} is missing")
            with open_member(file, members[SUMS]) as reader:
                if not stamp.is_of(reader.read()):
                    raise VerificationError(f"the response is a timestamp of something else than {SUMS} of {shown}")
            staged: dict[str, Staged] = {}
            for name, member in members.items():
                staged[name] = stack.enter_context(Staged(directory))
                with open_member(file, member) as reader:
                    while block := reader.read(BLOCK):
                        staged[name].write(block)
            for name, content in ((TIMESTAMP, response), (TIMESTAMP_REQUEST, request)):
                if content is not None:
                    staged[name] = stack.enter_context(Staged(directory))
                    staged[name].write(content)
            try:
                with replaced(os.path.realpath(bundle), is_synced=True) as out:
                    write_archive(out, staged)
            except OSError as error:
                raise OutputError(f"cannot write the bundle {shown}: {error.strerror}") from error
    except OSError as error:
        raise InputError(f"cannot read the bundle {shown}: {error.strerror}") from error
    return stamp.time
