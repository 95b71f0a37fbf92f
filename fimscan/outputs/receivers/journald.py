"""The journal of systemd, by its native protocol: a datagram of fields, or a sealed memory file if it is large."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct

from fimscan.outputs.receivers.base import Envelope, Receiver, delivery_errors
from fimscan.outputs.receivers.syslog import priority

DEFAULT_SOCKET = "/run/systemd/journal/socket"
_MESSAGE_ID = "6a0f9f5d5d0c4d0f9a1d7b4f4f0f0c51"  # of fimscan's findings, for 'journalctl MESSAGE_ID='
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class JournalReceiver(Receiver):
    """systemd-journald."""

    one_line = True

    def __init__(self, path: str, timeout_s: float) -> None:
        self._path = path or DEFAULT_SOCKET
        self._timeout_s = timeout_s

    def send(self, body: bytes, envelope: Envelope) -> str:
        """Send one entry."""
        data = journal_entry(body, envelope)
        with (
            delivery_errors(self._path),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.settimeout(self._timeout_s)
            sock.connect(self._path)
            try:
                sock.send(data)
            except OSError as error:
                if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                    raise
                _send_memory(sock, data)
        return "taken by the journal's socket"


def journal_entry(body: bytes, envelope: Envelope) -> bytes:
    """The fields of an entry."""
    fields = {
        "MESSAGE": body,
        "MESSAGE_ID": _MESSAGE_ID.encode(),
        "PRIORITY": str(priority(envelope)).encode(),
        "SYSLOG_IDENTIFIER": b"fimscan",
        "FIMSCAN_ID": envelope.id.encode(),
        "FIMSCAN_KIND": envelope.kind.encode(),
        "FIMSCAN_SUBJECT": envelope.subject.encode("utf-8", "backslashreplace"),
        **{
            f"FIMSCAN_{name.upper().replace('-', '_')}": text.encode("utf-8", "backslashreplace")
            for name, text in envelope.fields.items()
        },
    }
    return b"".join(_field(name, value) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def _send_memory(sock: socket.socket, data: bytes) -> None:
    descriptor = os.memfd_create("fimscan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        passed = array.array("i", [descriptor])
        sock.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    finally:
        os.close(descriptor)
