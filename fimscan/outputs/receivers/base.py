"""What all receivers share: the envelope of a message, the two ways to fail, secrets, TLS."""

from __future__ import annotations

import os
import ssl
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct

_MOST_SECRET = 64 * 1024


class DeliveryError(Exception):
    """A message was not delivered. The text has no secret.

    Receivers raise it if they cannot be reached or are busy: then no other message is tried for a while.
    """


class RefusedError(DeliveryError):
    """The receiver took the message and refused it. It is tried again later; others are tried now."""


class Envelope(Struct, frozen=True, kw_only=True):
    """What is said about a message beside its content. ``subject`` is one line, safe to display.

    ``fields`` are single facts for receivers that store such. ``severity`` is ``None`` if nothing is wrong.
    """

    id: str
    host: str
    kind: str
    subject: str
    severity: str | None
    urgent: bool
    time_ns: int
    content_type: str
    fields: Mapping[str, str]


class Receiver(ABC):
    """Where messages go. ``send`` may be called again with a message that was sent before."""

    #: The most bytes of a message's content; ``None``: as large as it is
    limit: int | None = None
    #: Whether a text has to be one line
    one_line = False

    @abstractmethod
    def send(self, body: bytes, envelope: Envelope) -> str:
        """Deliver a message; return the receiver's answer.

        Raises:
            DeliveryError: it was not delivered, or nobody knows.
        """


@contextmanager
def delivery_errors(what: str) -> Iterator[None]:
    """Turn errors of the system into :class:`DeliveryError`; ``what`` is what was tried, without a secret."""
    try:
        yield
    except TimeoutError as error:
        raise DeliveryError(f"{what}: no answer in time") from error
    except ssl.SSLCertVerificationError as error:
        raise DeliveryError(f"{what}: its certificate is not trusted: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise DeliveryError(f"{what}: TLS failed: {error.reason or 'closed'}") from error
    except OSError as error:
        raise DeliveryError(f"{what}: {error.strerror or error}") from error


def read_secret(source: str) -> str:
    """Read a secret from a file or (``env:NAME``) from the environment.

    Raises:
        DeliveryError: there is none, or others can read or replace it.
    """
    if source.startswith("env:"):
        name = source.removeprefix("env:")
        if not (value := os.environ.get(name)):
            raise DeliveryError(f"the environment variable {name} is not set")
        return value
    with delivery_errors(source):
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise DeliveryError(f"{source} is no regular file")
            if found.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
                raise DeliveryError(f"{source} can be read by others, or written by its group: chmod 600 {source}")
            if found.st_uid not in (0, os.geteuid()):
                raise DeliveryError(f"{source} belongs to uid {found.st_uid}; it has to be root's")
            data = os.read(descriptor, _MOST_SECRET)
        finally:
            os.close(descriptor)
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise DeliveryError(f"{source} is not UTF-8") from None
    if not text or "\n" in text or "\0" in text:
        raise DeliveryError(f"{source} has to have the secret in one line, and nothing else")
    return text


def tls_context(ca_file: str, cert_file: str = "", key_file: str = "") -> ssl.SSLContext:
    """TLS with a verified certificate, by the system's authorities or those in a file."""
    with delivery_errors(ca_file or cert_file or "the system's certificates"):
        context = ssl.create_default_context(cafile=ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert_file:
            context.load_cert_chain(cert_file, key_file or None)
    return context


def host_and_port(address: str, default: int) -> tuple[str, int]:
    """Split ``host:port``, ``[::1]:port`` or ``host``."""
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = address, ""
    return host.strip("[]"), int(port) if port else default


def cleaned(text: str, limit: int = 200) -> str:
    """A receiver's answer as one short line of printable characters."""
    return "".join(c if c.isprintable() else " " for c in text[:limit]).strip()
