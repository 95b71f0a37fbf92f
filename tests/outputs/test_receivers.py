"""Each receiver against a real one: rsyslog, journald, a mail server, a web server, programs, files."""

from __future__ import annotations

import email
import hashlib
import hmac
import json
import os
import socket
import ssl
import struct
import threading
from contextlib import suppress
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from fimscan.outputs.receivers.base import DeliveryError, Envelope, RefusedError, host_and_port, read_secret
from fimscan.outputs.receivers.command import CommandReceiver, SendmailReceiver
from fimscan.outputs.receivers.file import FileReceiver
from fimscan.outputs.receivers.journald import JournalReceiver
from fimscan.outputs.receivers.mail import SmtpReceiver
from fimscan.outputs.receivers.syslog import SyslogReceiver
from fimscan.outputs.receivers.webhook import WebhookReceiver, signature
from tests.outputs.conftest import (
    Certificates,
    Journal,
    MailServer,
    Rsyslog,
    WebServer,
    free_port,
    server_context,
    wait_for,
)

HEAD = "ab" * 32


def envelope(number: str, **other: Any) -> Envelope:
    values: dict[str, Any] = {
        "id": f"id-{number}",
        "host": "web1",
        "kind": "changes",
        "subject": "web1: 2 to look at, 214 package changes, 2026-11-29",
        "severity": "critical",
        "urgent": True,
        "time_ns": 1795408513_818_123_456,
        "content_type": "application/json",
        "fields": {"head": HEAD, "scan": "7"},
    }
    return Envelope(**values | other)


# --------------------------------------------------------------------------------------------------------------------
# Syslog


def syslog(address: str, **other: Any) -> SyslogReceiver:
    values: dict[str, Any] = {"facility": "local3", "ca_file": "", "cert_file": "", "key_file": "", "timeout_s": 20}
    return SyslogReceiver(address, **values | other)


@pytest.mark.parametrize("kind", ["udp", "tcp", "tls", "unix"])
def test_rsyslog_takes_a_message(rsyslog: Rsyslog, certificates: Certificates, kind: str) -> None:
    """It finds every part of the header, the id and the head of the ledger, and the text as it was sent."""
    address = f"unix:{rsyslog.socket}" if kind == "unix" else f"{kind}://127.0.0.1:{getattr(rsyslog, kind)}"
    text = f'{kind} {{"a":"b"}} ' + "x" * 3000 + " ä end"
    answer = syslog(address, ca_file=str(certificates.ca) if kind == "tls" else "").send(
        text.encode(), envelope(f"rsyslog-{kind}")
    )
    assert answer
    (line,) = rsyslog.lines(f"id-rsyslog-{kind}")
    pri, time, host, app, msgid, data, said = line.split("|", 6)
    assert (pri, host, app, msgid) == (str(19 * 8 + 2), "web1", "fimscan", "changes")
    assert time.startswith("2026-11-23T04:35:13.818123")
    assert data == f'[fimscan@32473 id="id-rsyslog-{kind}" kind="changes" head="{HEAD}" scan="7"]'
    assert said.strip() == text


def test_a_message_with_lines_is_one_message(rsyslog: Rsyslog) -> None:
    """Octets are counted, so a line break cannot begin a forged message."""
    syslog(f"tcp://127.0.0.1:{rsyslog.tcp}").send(b"one\n<13>1 - evil - - - - two", envelope("lines"))
    syslog(f"tcp://127.0.0.1:{rsyslog.tcp}").send(b"after", envelope("after-lines"))
    assert len(rsyslog.lines("id-after-lines")) == 1
    assert "two" in rsyslog.lines("id-lines")[0]
    assert not any(line.startswith("13|") for line in rsyslog.log.read_text().splitlines())


def test_a_stranger_gets_nothing(rsyslog: Rsyslog) -> None:
    """A certificate that is not trusted ends the connection before the message."""
    with pytest.raises(DeliveryError, match=r"not trusted"):
        syslog(f"tls://127.0.0.1:{rsyslog.tls}").send(b"secret", envelope("stranger"))


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_nobody_there(scheme: str) -> None:
    """The error names the address."""
    port = free_port()
    with pytest.raises(DeliveryError, match=rf"127\.0\.0\.1:{port}: Connection refused"):
        syslog(f"{scheme}://127.0.0.1:{port}").send(b"x", envelope("1"))
    with pytest.raises(DeliveryError, match=r"No such file"):
        syslog("unix:/nonexistent/log").send(b"x", envelope("1"))


def test_a_receiver_that_dies_has_not_got_it() -> None:
    """It accepted the connection and then reset it: the message counts as not delivered."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)

        def reset() -> None:
            connection, _ = server.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=reset)
        thread.start()
        with pytest.raises(DeliveryError, match=r"reset|Broken pipe|not connected"):
            syslog(f"tcp://127.0.0.1:{server.getsockname()[1]}").send(b"x" * 5000, envelope("1"))
        thread.join()


def test_a_refused_client_has_not_sent_it(certificates: Certificates) -> None:
    """TLS 1.3 refuses a client without a certificate after the handshake; the end of the connection is no success."""
    context = server_context(certificates)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            encrypted = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            with suppress(ssl.SSLError):
                encrypted.do_handshake()
            with socket.socket(fileno=encrypted.detach()) as raw:
                while raw.recv(4096):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(DeliveryError, match=r"TLS failed"):
            syslog(f"tls://127.0.0.1:{server.getsockname()[1]}", ca_file=str(certificates.ca)).send(b"x", envelope("1"))
        thread.join()


def test_addresses() -> None:
    """With and without a port, also of IPv6."""
    assert host_and_port("h:5", 6) == ("h", 5)
    assert host_and_port("h", 6) == ("h", 6)
    assert host_and_port("[::1]:5", 6) == ("::1", 5)
    assert host_and_port("[::1]", 6) == ("::1", 6)


# --------------------------------------------------------------------------------------------------------------------
# The journal


def test_the_journal_takes_fields(journal: Journal) -> None:
    """They can be searched for; a large entry goes by a memory file."""
    receiver = JournalReceiver(str(journal.socket), 20)
    large = "large " + "y" * 300_000
    receiver.send(b"small\nsecond line", envelope("small"))
    receiver.send(large.encode(), envelope("large"))
    small = json.loads(journal.entries("FIMSCAN_ID=id-small"))
    assert small["MESSAGE"] == "small\nsecond line"
    assert (small["PRIORITY"], small["SYSLOG_IDENTIFIER"], small["FIMSCAN_HEAD"]) == ("2", "fimscan", HEAD)
    assert json.loads(journal.entries("FIMSCAN_ID=id-large"))["MESSAGE"] == large


# --------------------------------------------------------------------------------------------------------------------
# Mail


def smtp(server: MailServer, certificates: Certificates, secret: Path, **other: Any) -> SmtpReceiver:
    values: dict[str, Any] = {
        "security": "starttls",
        "sender": "fimscan@web1",
        "to": ("root@example.org", "security@example.org"),
        "login": ("fimscan", str(secret)),
        "ca_file": str(certificates.ca),
        "timeout_s": 30,
    }
    return SmtpReceiver(f"127.0.0.1:{server.port}", **values | other)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    made = tmp_path / "secret"
    made.write_text("s3cret\n")
    made.chmod(0o600)
    return made


def test_a_mail_server_takes_a_mail(mail_server: MailServer, certificates: Certificates, secret: Path) -> None:
    """Encrypted, with a login; the subject says what to do, and a line with a dot ends nothing."""
    text = "one\n.\nQUIT\nä\n"
    about = envelope("mail", content_type="text/plain; charset=utf-8")
    assert smtp(mail_server, certificates, secret).send(text.encode(), about).startswith("250")
    assert mail_server.logins[-1] == ("fimscan", "s3cret")
    mail = email.message_from_bytes(mail_server.mails[-1], policy=default)
    assert mail["Subject"] == "[fimscan] web1: 2 to look at, 214 package changes, 2026-11-29"
    assert mail["To"] == "root@example.org, security@example.org"
    assert (mail["Message-ID"], mail["X-Fimscan-Head"]) == ("<id-mail@fimscan.invalid>", HEAD)
    assert mail.get_content().replace("\r\n", "\n") == text + "\n"


def test_a_refused_mail_is_refused_and_a_busy_server_is_busy(
    mail_server: MailServer, certificates: Certificates, secret: Path
) -> None:
    """The first is about this message, the second about all; a wrong password does not show."""
    try:
        mail_server.answer = "550 5.7.1 spam"
        with pytest.raises(RefusedError, match=r"550 5\.7\.1 spam"):
            smtp(mail_server, certificates, secret).send(b"x", envelope("1"))
        mail_server.answer = "451 later"
        with pytest.raises(DeliveryError, match=r"451 later") as busy:
            smtp(mail_server, certificates, secret).send(b"x", envelope("1"))
        assert not isinstance(busy.value, RefusedError)
    finally:
        mail_server.answer = "250 OK"
    secret.write_text("wr0ng")
    with pytest.raises(DeliveryError, match=r"535") as wrong:
        smtp(mail_server, certificates, secret).send(b"x", envelope("1"))
    assert "wr0ng" not in str(wrong.value)


def test_a_password_is_not_sent_to_a_stranger(
    mail_server: MailServer, certificates: Certificates, secret: Path
) -> None:
    """The server's certificate is checked before the login."""
    before = len(mail_server.logins)
    with pytest.raises(DeliveryError, match=r"not trusted"):
        smtp(mail_server, certificates, secret, ca_file="").send(b"x", envelope("1"))
    assert len(mail_server.logins) == before


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_sendmail_gets_a_mail(tmp_path: Path) -> None:
    """With the recipients as arguments, after '--'; exit code 75 means later."""
    out = tmp_path / "mail"
    sendmail = program(tmp_path / "sendmail", f'echo "$@" > {out}; cat >> {out}')
    receiver = SendmailReceiver([sendmail], "fimscan@web1", ["root", "a@b"], 30)
    receiver.send(b"text", envelope("1", content_type="text/plain"))
    arguments, _, mail = out.read_bytes().partition(b"\n")
    assert arguments == b"-oi -f fimscan@web1 -- root a@b"
    assert b"Subject: [fimscan] web1: 2 to look at" in mail
    assert b"\r" not in mail
    busy = program(tmp_path / "busy", "echo 'queue is full' >&2; exit 75")
    with pytest.raises(DeliveryError, match=r"exit code 75: queue is full") as error:
        SendmailReceiver([busy], "f@h", ["root"], 30).send(b"x", envelope("1"))
    assert not isinstance(error.value, RefusedError)


# --------------------------------------------------------------------------------------------------------------------
# Programs and files


def test_a_program_gets_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On its standard input, with the facts in its environment, and without our own environment."""
    monkeypatch.setenv("FIMSCAN_PASSWORD", "s3cret")
    out = tmp_path / "out"
    CommandReceiver([program(tmp_path / "p", f"cat > {out}; env >> {out}")], 30).send(b"text", envelope("1"))
    got = out.read_text()
    assert got.startswith("text\n")
    assert "FIMSCAN_ID=id-1\n" in got
    assert f"FIMSCAN_HEAD={HEAD}\n" in got
    assert "s3cret" not in got


def test_a_program_that_fails_or_hangs_has_not_got_it(tmp_path: Path) -> None:
    """What it started is ended, too."""
    with pytest.raises(RefusedError, match=r"exit code 3: bad \[2J thing"):
        CommandReceiver([program(tmp_path / "p", "printf 'bad\\033[2J\\nthing' >&2; exit 3")], 30).send(
            b"x", envelope("1")
        )
    mark = tmp_path / "pid"
    hanging = program(tmp_path / "h", f"sleep 1000 & echo $! > {mark}; wait")
    with pytest.raises(DeliveryError, match=r"not done after"):
        CommandReceiver([hanging], 1).send(b"x", envelope("1"))
    if mark.exists():
        child = Path(f"/proc/{mark.read_text().strip()}/stat")
        wait_for(lambda: _has_ended(child))  # a killed process is there until it is scheduled
    with pytest.raises(DeliveryError, match=r"No such file"):
        CommandReceiver(["/nonexistent"], 1).send(b"x", envelope("1"))


def _has_ended(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_what_a_program_leaves_behind_goes_on_after_a_success(tmp_path: Path) -> None:
    """It may hand the message to a process in the background."""
    done = tmp_path / "done"
    text = f"(while ! [ -e {tmp_path}/go ]; do sleep 0.05; done; touch {done}) > /dev/null 2>&1 &"
    CommandReceiver([program(tmp_path / "p", text)], 30).send(b"x", envelope("1"))
    (tmp_path / "go").touch()
    wait_for(done.exists)


def test_a_file_can_be_rotated(tmp_path: Path) -> None:
    """It is opened for each message; only its owner can read it."""
    path = tmp_path / "out"
    receiver = FileReceiver(str(path))
    receiver.send(b"one", envelope("1"))
    path.rename(tmp_path / "out.1")
    receiver.send(b"two", envelope("2"))
    assert ((tmp_path / "out.1").read_text(), path.read_text()) == ("one\n", "two\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_with_half_a_line_goes_on_with_a_new_one(tmp_path: Path) -> None:
    """A crash left it: no message is glued to it."""
    path = tmp_path / "out"
    path.write_text('{"half":')
    FileReceiver(str(path)).send(b"whole", envelope("1"))
    assert path.read_text() == '{"half":\nwhole\n'


def test_no_file_of_somebody_else_is_written(tmp_path: Path) -> None:
    """Links are not followed, and pipes and devices are not opened for long."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("fifo", "link"):
        with pytest.raises(DeliveryError):
            FileReceiver(str(tmp_path / name)).send(b"x", envelope("1"))
    assert not (tmp_path / "target").exists()


# --------------------------------------------------------------------------------------------------------------------
# Webhooks


def webhook(server: WebServer, certificates: Certificates, secret: Path, **other: Any) -> WebhookReceiver:
    values: dict[str, Any] = {
        "url_source": "",
        "secret_source": str(secret),
        "ca_file": str(certificates.ca),
        "timeout_s": 30,
    }
    return WebhookReceiver(other.pop("url", server.url), **values | other)


def test_a_web_server_can_check_who_sent_it(web_server: WebServer, certificates: Certificates, secret: Path) -> None:
    """The signature covers the time, the id and the body."""
    assert webhook(web_server, certificates, secret).send(b'{"a":1}', envelope("w")) == "200 thank you"
    headers, body = web_server.requests[-1]
    parts = dict(part.split("=") for part in headers["X-Fimscan-Signature"].split(","))
    signed = f"{parts['t']}.id-w.".encode() + body
    assert parts["v1"] == hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    assert parts["v1"] == signature(b"s3cret", int(parts["t"]), "id-w", b'{"a":1}')
    assert (headers["Idempotency-Key"], headers["Content-Type"]) == ("id-w", "application/json")


@pytest.mark.parametrize(("status", "refused"), [(503, False), (429, False), (400, True), (302, True), (0, False)])
def test_a_web_server_that_fails(
    web_server: WebServer, certificates: Certificates, secret: Path, status: int, refused: bool
) -> None:
    """Busy, or refused; a redirection is not followed; a connection that just ends says nothing."""
    web_server.answers = [status]
    try:
        with pytest.raises(DeliveryError) as error:
            webhook(web_server, certificates, secret).send(b"x", envelope("1"))
    finally:
        web_server.answers = [200]
    assert isinstance(error.value, RefusedError) == refused


def test_a_secret_url_shows_nowhere(web_server: WebServer, certificates: Certificates, secret: Path) -> None:
    """Neither in the error of a server that refuses, nor in that of one that is not there."""
    url = secret.with_name("url")
    for text in (f"{web_server.url}/T0KEN?key=T0KEN", f"https://user:T0KEN@127.0.0.1:{free_port()}/T0KEN"):
        url.write_text(text)
        url.chmod(0o600)
        web_server.answers = [400]
        try:
            with pytest.raises(DeliveryError) as error:
                webhook(web_server, certificates, secret, url="", url_source=str(url)).send(b"x", envelope("1"))
        finally:
            web_server.answers = [200]
        assert "T0KEN" not in str(error.value)
        assert "127.0.0.1" in str(error.value)
    url.write_text("https://user:T0KEN@127.0.0.1:99999/T0KEN")
    with pytest.raises(DeliveryError) as error:
        webhook(web_server, certificates, secret, url="", url_source=str(url)).send(b"x", envelope("1"))
    assert "T0KEN" not in str(error.value)


def test_an_untrusted_web_server_gets_nothing(web_server: WebServer, certificates: Certificates, secret: Path) -> None:
    """Its certificate is checked first."""
    before = len(web_server.requests)
    with pytest.raises(DeliveryError, match=r"TLS failed"):
        webhook(web_server, certificates, secret, ca_file="").send(b"x", envelope("1"))
    assert len(web_server.requests) == before


# --------------------------------------------------------------------------------------------------------------------
# Secrets


def test_a_secret_is_for_root_only(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that others can read is refused, and so is one that is no plain file, or has no single line."""
    assert read_secret(str(secret)) == "s3cret"
    for mode in (0o644, 0o604, 0o660):
        secret.chmod(mode)
        with pytest.raises(DeliveryError, match=r"chmod 600"):
            read_secret(str(secret))
    secret.chmod(0o600)
    for text in ("", "\n", "two\nlines"):
        secret.write_text(text)
        with pytest.raises(DeliveryError, match=r"one line"):
            read_secret(str(secret))
    fifo = secret.with_name("fifo")
    os.mkfifo(fifo, 0o600)
    with pytest.raises(DeliveryError, match=r"no regular file"):
        read_secret(str(fifo))
    with pytest.raises(DeliveryError, match=r"not set"):
        read_secret("env:FIMSCAN_NOTHING")
    monkeypatch.setenv("FIMSCAN_SOMETHING", "s3cret")
    assert read_secret("env:FIMSCAN_SOMETHING") == "s3cret"
