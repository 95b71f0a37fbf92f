"""Run a program with the message on its standard input; and mail by ``sendmail``."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from fimscan.outputs.receivers.base import DeliveryError, Envelope, Receiver, RefusedError, cleaned, delivery_errors
from fimscan.outputs.receivers.mail import mail_bytes

_TEMPORARY = 75  # EX_TEMPFAIL in sysexits.h
_MOST_ANSWER = 4096


class CommandReceiver(Receiver):
    """A program. It has the message when it exits with 0."""

    def __init__(self, command: Sequence[str], timeout_s: float) -> None:
        self._command = tuple(command)
        self._timeout_s = timeout_s

    def send(self, body: bytes, envelope: Envelope) -> str:
        """Run the program."""
        facts = {f"FIMSCAN_{name.upper()}": value for name, value in _facts(envelope).items()}
        return run_with(self._command, body + b"\n", self._timeout_s, facts)


class SendmailReceiver(Receiver):
    """The local mail system."""

    def __init__(self, command: Sequence[str], sender: str, to: Sequence[str], timeout_s: float) -> None:
        self._command = (*command, "-oi", "-f", sender, "--", *to)
        self._sender = sender
        self._to = tuple(to)
        self._timeout_s = timeout_s

    def send(self, body: bytes, envelope: Envelope) -> str:
        """Hand the mail over."""
        data = mail_bytes(body, envelope, self._sender, self._to).replace(b"\r\n", b"\n")
        return run_with(self._command, data, self._timeout_s, {})


def _facts(envelope: Envelope) -> dict[str, str]:
    return {
        "id": envelope.id,
        "host": envelope.host,
        "kind": envelope.kind,
        "subject": envelope.subject,
        "severity": envelope.severity or "",
        **{name.replace("-", "_"): text for name, text in envelope.fields.items()},
    }


def run_with(command: Sequence[str], data: bytes, timeout_s: float, facts: dict[str, str]) -> str:
    """Run a program with data on its standard input, in a process group of its own, until a time."""
    name = command[0]
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **facts}
    with delivery_errors(name):
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env={key: value.replace("\0", "") for key, value in environment.items()},
            start_new_session=True,
        )
        try:
            _, said = process.communicate(data, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise DeliveryError(f"{name}: not done after {timeout_s:g} s") from None
        finally:
            # Also what it left behind: nothing of it may write on when the message is sent again. After a success it
            # is not: a program may leave the rest of its work to a process in the background.
            if process.poll() != 0:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in filter(None, (process.stdin, process.stderr)):
                with suppress(OSError):  # the program did not read everything
                    pipe.close()
    if process.returncode == 0:
        return "exit code 0"
    words = cleaned(said[:_MOST_ANSWER].decode("utf-8", "replace"))
    text = f"{name}: exit code {process.returncode}{': ' if words else ''}{words}"
    raise (DeliveryError if process.returncode == _TEMPORARY else RefusedError)(text)
