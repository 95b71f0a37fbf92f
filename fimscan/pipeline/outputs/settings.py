"""Receivers and wanted messages of outputs, built from the configuration."""

from __future__ import annotations

import os
import re

from msgspec import Struct

from fimscan.config import Config, Output
from fimscan.model import OutboxUsage
from fimscan.outputs.documents import Wanted
from fimscan.outputs.receivers.base import Receiver

_SENDMAIL = "/usr/sbin/sendmail"
_MAIL = ("smtp", "sendmail")
_FOR_PEOPLE = (*_MAIL, "command", "syslog", "journald")


class Limits(Struct, frozen=True, kw_only=True):
    """How much may wait for one output."""

    messages: int
    size: int
    age_s: float

    @classmethod
    def of(cls, config: Config) -> Limits:
        """Those of ``[outbox]``."""
        settings = config.outbox
        return cls(messages=settings.max_messages, size=settings.max_bytes, age_s=settings.max_age_s)

    def are_exceeded(self, usage: OutboxUsage, now_ns: int) -> bool:
        """Whether too much waits, or for too long."""
        is_old = usage.oldest_ns is not None and usage.oldest_ns < now_ns - int(self.age_s * 10**9)
        return usage.waiting > self.messages or usage.size > self.size or is_old


def format_of(output: Output) -> str:
    """The format of an output; by default the one that its readers can use."""
    return output.format or ("text" if output.type in _FOR_PEOPLE else "json")


def wanted_of(output: Output) -> Wanted:
    """Which messages an output gets."""
    one_per = output.one_per or ("scan" if output.type in _MAIL else "set")
    return Wanted(
        output=output.name,
        per_set=one_per == "set",
        min_severity=output.min_severity,
        verdicts=frozenset(output.verdicts),
        kinds=frozenset(output.kinds),
        only_look=output.sets == "look",
        problems=output.problems,
        all_is_well=output.all_is_well,
        max_changes=output.max_changes,
    )


def receiver_of(output: Output) -> Receiver:
    """The receiver of an output. Only the libraries of its type are imported."""
    timeout_s = output.timeout_s
    match output.type:
        case "file":
            from fimscan.outputs.receivers.file import FileReceiver

            return FileReceiver(output.path)
        case "command":
            from fimscan.outputs.receivers.command import CommandReceiver

            return CommandReceiver(output.command, timeout_s)
        case "sendmail":
            from fimscan.outputs.receivers.command import SendmailReceiver

            return SendmailReceiver(output.command or (_SENDMAIL,), _sender(output), output.to, timeout_s)
        case "syslog":
            from fimscan.outputs.receivers.syslog import SyslogReceiver

            return SyslogReceiver(
                output.address,
                facility=output.facility,
                ca_file=output.ca_file,
                cert_file=output.cert_file,
                key_file=output.key_file,
                timeout_s=timeout_s,
            )
        case "journald":
            from fimscan.outputs.receivers.journald import JournalReceiver

            return JournalReceiver(output.path, timeout_s)
        case "webhook":
            from fimscan.outputs.receivers.webhook import WebhookReceiver

            return WebhookReceiver(
                output.url,
                url_source=output.url_file,
                secret_source=output.secret_file,
                ca_file=output.ca_file,
                timeout_s=timeout_s,
            )
        case "smtp":
            from fimscan.outputs.receivers.mail import SmtpReceiver

            return SmtpReceiver(
                output.address,
                security=output.security,
                sender=_sender(output),
                to=output.to,
                login=(output.user, output.password_file) if output.user else None,
                ca_file=output.ca_file,
                timeout_s=timeout_s,
            )


def _sender(output: Output) -> str:
    host = re.sub(r"[^A-Za-z0-9.-]", "-", os.uname().nodename).strip(".-") or "localhost"
    return output.sender or f"fimscan@{host}"
