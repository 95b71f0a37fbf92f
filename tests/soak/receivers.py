"""The receivers of the soak: a web server that fails half of the time, a file, a syslog socket. They can go down."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_ID = re.compile(rb'\[fimscan@\d+ id="([0-9a-f-]+)"')
_QUIET_S = 0.5

#: How long a message may wait: so short that the outages of a soak are long.
LATE_S = 3
#: The outputs whose receivers fail only when they are down.
STEADY = ("file", "log")

OUTPUTS = """\
[outbox]
late_after = "{late}s"
[[output]]
name = "hook"
type = "webhook"
url = "{url}"
max_changes = 200
[[output]]
name = "file"
type = "file"
path = "{file}"
format = "json"
max_changes = 200
[[output]]
name = "log"
type = "syslog"
address = "unix:{socket}"
"""


class Receivers:
    """All three. ``ids`` has what each acknowledged or took, by the name of its output, in order of arrival.

    ``documents`` has the messages of the web server and of the file by their ids.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = root / "file" / "messages"
        self._file.parent.mkdir()
        self._socket_path = root / "syslog"
        self._port = 0
        self._http: ThreadingHTTPServer | None = None
        self._requests = 0
        self.is_healthy = False  # the web server fails no more
        self._hooked: list[str] = []
        self._logged: list[str] = []
        self._documents: dict[str, dict[str, Any]] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read_syslog, name="syslog", daemon=True)

    @property
    def configuration(self) -> str:
        """The sections of the configuration."""
        url = f"http://127.0.0.1:{self._port}/hook"
        return OUTPUTS.format(late=LATE_S, url=url, file=self._file, socket=self._socket_path)

    def start(self) -> None:
        """Take messages."""
        self._start_http()
        self._socket.bind(str(self._socket_path))
        self._reader.start()

    def stop(self) -> None:
        """End the servers."""
        self._stop_http()
        self._over.set()
        self._reader.join()
        self._socket.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """No receiver can be reached. What the syslog socket has taken is read, as by a server that is stopped."""
        self._stop_http()
        hidden = self._socket_path.with_suffix(".down")
        self._socket_path.rename(hidden)
        moved = self._file.parent.rename(self._root / "gone")
        try:
            yield
        finally:
            moved.rename(self._file.parent)
            hidden.rename(self._socket_path)
            self._start_http()

    def _start_http(self) -> None:
        receivers = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # http.server's name
                receivers.take_post(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _stop_http(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def take_post(self, request: BaseHTTPRequestHandler) -> None:
        """Take a message; half of the time refuse it, or take it and say nothing."""
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self._requests += 1
        way = 0 if self.is_healthy else self._requests % 4
        if way == 1:
            request.send_response(503)
            request.end_headers()
            return
        self._hooked.append(request.headers["X-Fimscan-Id"])
        self._keep(body)
        if way == 3:
            request.close_connection = True
            return
        request.send_response(200)
        request.end_headers()

    def _read_syslog(self) -> None:
        self._socket.settimeout(_QUIET_S)
        while not self._over.is_set():
            with suppress(TimeoutError):
                message = self._socket.recv(1 << 20)
                found = _ID.search(message)
                assert found is not None, message
                self._logged.append(found[1].decode())

    def _keep(self, body: bytes) -> str:
        document = json.loads(body)
        self._documents[document["id"]] = document
        return str(document["id"])

    def received(self) -> dict[str, list[str]]:
        """The ids that each receiver got, by the name of its output."""
        filed = []
        for line in self._file.read_bytes().splitlines() if self._file.exists() else ():
            with suppress(ValueError):  # a kill has left a part of a line
                filed.append(self._keep(line))
        time.sleep(2 * _QUIET_S)  # until the socket is read
        return {"hook": list(self._hooked), "file": filed, "log": list(self._logged)}

    @property
    def documents(self) -> dict[str, dict[str, Any]]:
        """The messages of the web server and of the file, by their ids. Call :meth:`received` first."""
        return self._documents

    def remove(self) -> None:
        """Remove what they wrote."""
        shutil.rmtree(self._root, ignore_errors=True)
