"""Append to a file, one message after the other. It may be rotated at any time: it is opened for each message."""

from __future__ import annotations

import os
import stat

from fimscan.outputs.receivers.base import DeliveryError, Envelope, Receiver, delivery_errors


class FileReceiver(Receiver):
    """A file of lines. A message is in it as a whole, or not at all; after a crash it may be in it twice."""

    def __init__(self, path: str) -> None:
        self._path = path

    def send(self, body: bytes, envelope: Envelope) -> str:  # noqa: ARG002  # all that is said is in the content
        """Append the message, and wait until it is on the disk."""
        with delivery_errors(self._path):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o600)
            try:
                self._append(descriptor, body + b"\n")
            finally:
                os.close(descriptor)
        return "written"

    def _append(self, descriptor: int, data: bytes) -> None:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise DeliveryError(f"{self._path} is no regular file")
        if found.st_size and os.pread(descriptor, 1, found.st_size - 1) != b"\n":
            data = b"\n" + data  # a crash has left a part of a line
        is_complete = False
        try:
            is_complete = os.write(descriptor, data) == len(data)
            os.fsync(descriptor)
        finally:
            if not is_complete:
                os.ftruncate(descriptor, found.st_size)
        if not is_complete:
            raise DeliveryError(f"{self._path}: no space left on its disk")
