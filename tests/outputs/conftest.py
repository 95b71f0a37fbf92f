"""Real receivers on this machine, on the loopback only: rsyslog, journald, a mail server, a web server."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

REQUIRED = os.environ.get("FIMSCAN_REQUIRE_RECEIVERS") == "1"
_SECONDS = 60


def skip(reason: str) -> None:
    """Skip a test, unless its receiver is required here (CI)."""
    if REQUIRED:
        pytest.fail(f"receivers are required here (FIMSCAN_REQUIRE_RECEIVERS=1), but {reason}")
    pytest.skip(reason)


def wait_for(condition: Callable[[], Any]) -> Any:
    """Wait until something is true; give it."""
    until = time.monotonic() + _SECONDS
    while not (found := condition()):
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.02)
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --------------------------------------------------------------------------------------------------------------------
# TLS


@dataclass(frozen=True)
class Certificates:
    """An authority, and the certificate of a server at 127.0.0.1."""

    ca: Path
    cert: Path
    key: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    root = tmp_path_factory.mktemp("tls")
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _certificate("test authority", ca_key.public_key(), "test authority", ca_key, is_ca=True)
    cert = _certificate("127.0.0.1", key.public_key(), "test authority", ca_key, is_ca=False)
    paths = Certificates(root / "ca.pem", root / "cert.pem", root / "key.pem")
    paths.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    paths.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    paths.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def _certificate(name: str, key: Any, issuer: str, signer: Any, *, is_ca: bool) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if is_ca:
        usage = dict.fromkeys(
            (
                *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "encipher_only", "decipher_only"),
            ),
            False,
        )
        builder = builder.add_extension(x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def server_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.cert, certificates.key)
    return context


# --------------------------------------------------------------------------------------------------------------------
# rsyslog


@dataclass
class Rsyslog:
    """An rsyslogd of its own: its ports, its socket, and the file that it writes."""

    udp: int
    tcp: int
    tls: int
    socket: Path
    log: Path

    def lines(self, words: str) -> list[str]:
        """The lines with these words, as soon as there is one."""

        def find() -> list[str]:
            text = self.log.read_text() if self.log.exists() else ""
            return [line for line in text.splitlines() if words in line]

        return list(wait_for(find))


RSYSLOG = """
module(load="imudp") module(load="imtcp") module(load="imuxsock" SysSock.Use="off")
global(workDirectory="{root}" maxMessageSize="64k"
       defaultNetstreamDriverCAFile="{tls.ca}"
       defaultNetstreamDriverCertFile="{tls.cert}" defaultNetstreamDriverKeyFile="{tls.key}")
template(name="whole" type="string"
         string="%pri%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%structured-data%|%msg%\\n")
ruleset(name="all") {{ action(type="omfile" file="{log}" template="whole" fileCreateMode="0600") }}
input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="all")
input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="all")
input(type="imtcp" address="127.0.0.1" port="{tls_port}" ruleset="all"
      StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imuxsock" socket="{socket}" ruleset="all" useSpecialParser="off" ignoreTimestamp="off"
      useSysTimeStamp="off")
"""


@pytest.fixture(scope="module")
def rsyslog(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Rsyslog]:
    program = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or not list(Path("/usr/lib").glob("*/rsyslog/lmnsd_ossl.so")):
        skip("rsyslog or rsyslog-openssl is not installed")
    root = tmp_path_factory.mktemp("rsyslog")
    made = Rsyslog(udp=free_port(), tcp=free_port(), tls=free_port(), socket=root / "log", log=root / "all.log")
    config = root / "rsyslog.conf"
    config.write_text(
        RSYSLOG.format(
            root=root,
            tls=certificates,
            log=made.log,
            udp=made.udp,
            tcp=made.tcp,
            tls_port=made.tls,
            socket=made.socket,
        )
    )
    errors = (root / "errors").open("wb")
    process = subprocess.Popen(
        [str(program), "-n", "-f", str(config), "-i", str(root / "pid")], stdout=errors, stderr=errors
    )
    try:
        wait_for(lambda: process.poll() is None and made.socket.exists() and _listens(made.tcp) and _listens(made.tls))
        yield made
    finally:
        stop(process)
        errors.close()


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


# --------------------------------------------------------------------------------------------------------------------
# journald


@dataclass
class Journal:
    """A systemd-journald of its own, as a namespace."""

    namespace: str

    @property
    def socket(self) -> Path:
        return Path(f"/run/systemd/journal.{self.namespace}/socket")

    def entries(self, *match: str) -> str:
        """What journalctl finds, as soon as there is something."""

        def find() -> str:
            done = subprocess.run(
                ["journalctl", f"--namespace={self.namespace}", "-o", "json", "--all", *match],
                capture_output=True,
                text=True,
                check=False,
            )
            return done.stdout

        return str(wait_for(find))


@pytest.fixture(scope="module")
def journal() -> Iterator[Journal]:
    program = next(
        (p for p in ("/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald") if os.path.exists(p)), None
    )
    if program is None or shutil.which("journalctl") is None:
        skip("systemd-journald is not installed")
    if os.geteuid() != 0 or not os.path.exists("/etc/machine-id"):
        skip("systemd-journald needs root and a machine id")
    made = Journal(f"fimscan{os.getpid()}")
    # In a namespace of processes, because elsewhere it switches the kernel's auditing off when it starts.
    command = ["unshare", "--pid", "--fork", "--kill-child", str(program), made.namespace]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: process.poll() is None and made.socket.exists())
        yield made
    finally:
        process.kill()  # unshare ignores other signals; journald ends with it
        process.wait()
        for directory in (f"/run/systemd/journal.{made.namespace}", *_stores(made.namespace)):
            shutil.rmtree(directory, ignore_errors=True)


def _stores(namespace: str) -> list[str]:
    return [str(path) for top in ("/run/log/journal", "/var/log/journal") for path in Path(top).glob(f"*.{namespace}")]


# --------------------------------------------------------------------------------------------------------------------
# Mail


@dataclass
class MailServer:
    """A mail server: what it got, and how it answers."""

    port: int = 0
    mails: list[bytes] = field(default_factory=list)
    answer: str = "250 OK"
    logins: list[tuple[str, str]] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        if self.answer.startswith("250"):
            self.mails.append(envelope.original_content)
        return self.answer

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"s3cret", handled=False)


@pytest.fixture(scope="module")
def mail_server(certificates: Certificates) -> Iterator[MailServer]:
    """With STARTTLS and a login."""
    made = MailServer()
    controller = Controller(
        made,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=server_context(certificates),
        authenticator=made.authenticate,
        auth_required=True,
        decode_data=False,
    )
    made.port = controller.port
    controller.start()
    yield made
    controller.stop()


# --------------------------------------------------------------------------------------------------------------------
# HTTP


@dataclass
class WebServer:
    """A web server: its requests, and the answers that it gives in turn."""

    url: str = ""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=lambda: [200])

    def ids(self) -> list[str]:
        return [headers["X-Fimscan-Id"] for headers, _ in self.requests]


@pytest.fixture(scope="module")
def web_server(certificates: Certificates) -> Iterator[WebServer]:
    made = WebServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.requests.append((dict(self.headers), body))
            status = made.answers[(len(made.requests) - 1) % len(made.answers)]
            if status == 0:
                self.close_connection = True  # it took the message, and says nothing
                return
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"thank you\n")

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = server_context(certificates).wrap_socket(server.socket, server_side=True)
    made.url = f"https://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=[0.01])  # how long its end takes
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def kill(process: subprocess.Popen[Any]) -> None:
    """kill -9."""
    process.send_signal(signal.SIGKILL)
    process.wait()
