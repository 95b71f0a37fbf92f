"""Mails: by SMTP, with TLS and a login."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

from fimscan.outputs.receivers.base import (
    DeliveryError,
    Envelope,
    Receiver,
    RefusedError,
    cleaned,
    delivery_errors,
    host_and_port,
    read_secret,
    tls_context,
)

_MOST_SUBJECT = 150
_PERMANENT = 500
_POLICY = SMTP.clone(max_line_length=300)  # a head is not folded
_PRIORITIES = {"critical": "1 (Highest)", "high": "2 (High)"}


def mail_bytes(body: bytes, envelope: Envelope, sender: str, to: Sequence[str]) -> bytes:
    """The mail with its headers; its Message-ID is the id of the message, so mail programs show it once."""
    mail = EmailMessage(policy=_POLICY)
    subject = envelope.subject if len(envelope.subject) <= _MOST_SUBJECT else f"{envelope.subject[:_MOST_SUBJECT]}..."
    mail["Subject"] = f"[fimscan] {subject}"
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = datetime.fromtimestamp(envelope.time_ns // 10**9, UTC)
    mail["Message-ID"] = f"<{envelope.id}@fimscan.invalid>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Fimscan-Id"] = envelope.id
    for name, text in envelope.fields.items():
        mail[f"X-Fimscan-{name.title()}"] = cleaned(text)
    if envelope.severity in _PRIORITIES and envelope.urgent:
        mail["X-Priority"] = _PRIORITIES[envelope.severity]
    kind, _, subtype = envelope.content_type.partition(";")[0].partition("/")
    if kind == "text":
        mail.set_content(body.decode("utf-8", "replace") + "\n", charset="utf-8", cte="quoted-printable")
    else:
        mail.set_content(body, maintype=kind, subtype=subtype, cte="base64")
    return mail.as_bytes()


class SmtpReceiver(Receiver):
    """A mail server."""

    def __init__(
        self,
        address: str,
        *,
        security: str,
        sender: str,
        to: Sequence[str],
        login: tuple[str, str] | None,
        ca_file: str,
        timeout_s: float,
    ) -> None:
        self._host, self._port = host_and_port(address, 465 if security == "tls" else 25 if security == "none" else 587)
        self._security = security
        self._sender = sender
        self._to = tuple(to)
        self._login = login
        self._ca_file = ca_file
        self._timeout_s = timeout_s

    def send(self, body: bytes, envelope: Envelope) -> str:
        """Send the mail to all recipients; one who is refused is an error, although others have it."""
        where = f"{self._host}:{self._port}"
        with delivery_errors(where):
            try:
                return self._send(mail_bytes(body, envelope, self._sender, self._to))
            except smtplib.SMTPResponseException as error:
                raise _error(where, error.smtp_code, error.smtp_error) from error
            except smtplib.SMTPException as error:
                raise DeliveryError(f"{where}: {cleaned(str(error))}") from error

    def _send(self, data: bytes) -> str:
        context = tls_context(self._ca_file) if self._security != "none" else None
        if self._security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)
        with server:
            if self._security == "starttls":
                server.starttls(context=context)
            if self._login is not None:
                user, source = self._login
                server.login(user, read_secret(source))
            server.ehlo_or_helo_if_needed()
            code, said = server.mail(self._sender)
            _require(server, code, said)
            for recipient in self._to:
                _require(server, *server.rcpt(recipient))
            code, said = server.data(data)
            _require(server, code, said)
        return f"{code} {cleaned(said.decode('utf-8', 'replace'))}"


def _require(server: smtplib.SMTP, code: int, said: bytes) -> None:
    if not 200 <= code < 300:
        server.close()
        raise smtplib.SMTPResponseException(code, said)


def _error(where: str, code: int, said: bytes | str) -> DeliveryError:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    words = f"{where}: {code} {cleaned(text)}"
    return RefusedError(words) if code >= _PERMANENT else DeliveryError(words)
