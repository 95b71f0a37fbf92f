"""Syslog by RFC 5424, over a local socket, UDP (RFC 5426), TCP with octet counting (RFC 6587), or TLS (RFC 5425)."""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import termios
import time
from contextlib import suppress

from fimscan.outputs.receivers.base import (
    DeliveryError,
    Envelope,
    Receiver,
    delivery_errors,
    host_and_port,
    tls_context,
)
from fimscan.report.display import time_text

FACILITIES = {
    "user": 1,
    "daemon": 3,
    "auth": 4,
    "authpriv": 10,
    **{f"local{number}": 16 + number for number in range(8)},
}
_SEVERITIES = {"critical": 2, "high": 3, "medium": 4, "low": 5}
_NOTICE, _INFORMATIONAL = 5, 6
_PORTS = {"udp": 514, "tcp": 601, "tls": 6514}
# What rsyslog and syslog-ng take by default. A datagram has to fit into one packet of the loopback or of IP.
_MOST_BYTES = 8000
_HEADER_BYTES = 600
_END_SECONDS = 2.0
# The answers of OpenSSL and Java to the end of a connection without an end of TLS.
_ALERTS_AT_END = ("TLSV1_ALERT_DECODE_ERROR", "TLSV1_ALERT_INTERNAL_ERROR")
_SD_ID = "fimscan@32473"  # 32473 is reserved for documentation (RFC 5612): fimscan has no number of its own


class SyslogReceiver(Receiver):
    """A syslog server."""

    one_line = True
    limit = _MOST_BYTES - _HEADER_BYTES

    def __init__(
        self, address: str, *, facility: str, ca_file: str, cert_file: str, key_file: str, timeout_s: float
    ) -> None:
        self._scheme, _, rest = address.partition(":")
        self._address = rest if self._scheme == "unix" else rest.removeprefix("//")
        self._facility = FACILITIES[facility]
        self._tls = (ca_file, cert_file, key_file)
        self._timeout_s = timeout_s

    def send(self, body: bytes, envelope: Envelope) -> str:
        """Send one message over a connection of its own."""
        data = syslog_message(body, envelope, self._facility)
        where = f"{self._scheme}:{self._address}"
        with delivery_errors(where):
            match self._scheme:
                case "unix":
                    return self._send_locally(data)
                case "udp":
                    return self._send_datagram(data)
            return self._send_stream(data)

    def _send_locally(self, data: bytes) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(self._timeout_s)
            sock.connect(self._address)
            sock.send(data)
        return "taken by the local socket"

    def _send_datagram(self, data: bytes) -> str:
        host, port = host_and_port(self._address, _PORTS["udp"])
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.settimeout(self._timeout_s)
            sock.connect(address)
            sock.send(data)
            # Nobody acknowledges a datagram. A host without a receiver may say so, though.
            with suppress(TimeoutError):
                sock.settimeout(0.05)
                sock.recv(1)
        return "sent; UDP has no acknowledgement"

    def _send_stream(self, data: bytes) -> str:
        host, port = host_and_port(self._address, _PORTS[self._scheme])
        with socket.create_connection((host, port), self._timeout_s) as plain:
            if self._scheme == "tcp":
                plain.sendall(b"%d %b" % (len(data), data))
                return _ended(plain)
            with tls_context(*self._tls).wrap_socket(plain, server_hostname=host) as encrypted:
                encrypted.sendall(b"%d %b" % (len(data), data))
                return _ended(encrypted)


def _ended(sock: socket.socket) -> str:
    """Wait until the receiver has read everything.

    Syslog has no acknowledgement. But a receiver that ends the connection when we do has read what came before; and
    the kernel knows what the other side's kernel has acknowledged. A connection that is reset has lost the message.
    """
    until = time.monotonic() + _END_SECONDS
    sock.settimeout(_END_SECONDS)
    # Not unwrap(): many receivers end the connection without an answer to our end. And it takes any alert for an end.
    with socket.socket(fileno=socket.dup(sock.fileno())) as raw:
        raw.shutdown(socket.SHUT_WR)  # of an SSLSocket it would also end that it can be read
        with suppress(TimeoutError):
            while _read(sock):
                if time.monotonic() > until:
                    break
            else:
                return "read to its end by the receiver"
        if struct.unpack("i", fcntl.ioctl(raw, termios.TIOCOUTQ, b"\0" * 4))[0]:
            raise DeliveryError("the receiver's host did not acknowledge the message")
    return "taken by the receiver's host"


def _read(sock: socket.socket) -> bytes:
    """Read; also an alert that says nothing but that we ended the connection without an end of TLS is an end.

    Raises:
        ssl.SSLError: another alert: version 1.3 so refuses a client's certificate, after the handshake.
    """
    try:
        return sock.recv(4096)
    except ssl.SSLError as error:
        if error.reason in _ALERTS_AT_END:
            return b""
        raise


def syslog_message(body: bytes, envelope: Envelope, facility: int) -> bytes:
    """The message with its header; the structured data has its id, its kind, and the head of the ledger."""
    facts = {"id": envelope.id, "kind": envelope.kind, **envelope.fields}
    data = " ".join(f'{name}="{_escaped(text)}"' for name, text in facts.items())
    head = f"<{facility * 8 + priority(envelope)}>1 {_time(envelope.time_ns)} {_name(envelope.host, 255)} fimscan - "
    return f"{head}{_name(envelope.kind, 32)} [{_SD_ID} {data}] ".encode() + body


def priority(envelope: Envelope) -> int:
    """The severity of a message as syslog counts: 2 is critical, 6 informational."""
    if envelope.severity is None:
        return _INFORMATIONAL
    return _SEVERITIES[envelope.severity] if envelope.urgent else _NOTICE


def _time(ns: int) -> str:
    return time_text(ns - ns % 1000)  # at most 6 digits of a second


def _name(text: str, limit: int) -> str:
    return "".join(c for c in text if "!" <= c <= "~")[:limit] or "-"


def _escaped(text: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in text[:100])
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
