"""Write metrics to a text file for node_exporter, or serve them over HTTP on the loopback.

The library ``prometheus_client`` writes the format. It has a registry of its own here: the default one would also
report this process. It is optional (``fimscan[metrics]``), so it is imported only when it is needed.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fimscan.config import Config
from fimscan.errors import FimscanError
from fimscan.pipeline.metrics.gather import Family, Metrics
from fimscan.store.database import Database

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

_MODE = 0o644  # node_exporter runs as a user of its own
_FRESH_SECONDS = 5.0  # a scraper that comes more often gets the same numbers


def missing_library() -> str | None:
    """Why no metrics can be made; ``None`` if they can."""
    if find_spec("prometheus_client") is not None:
        return None
    # The interpreter that runs this: 'pip' on the PATH is another one, and Debian's refuses to install.
    install = f"{shlex.quote(sys.executable)} -m pip install 'prometheus_client>=0.20,<1'"
    return f"metrics: the library prometheus_client is not installed; run: {install}"


class _Source:
    """What a registry asks for metrics."""

    def __init__(self, gather: Callable[[], list[Family]]) -> None:
        self._gather = gather

    def describe(self) -> list[Metric]:
        """Return nothing: the registry then does not ask for everything when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families of the library."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for family in self._gather():
            kind: Any = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            made = kind(family.name, family.help, labels=family.labels)
            for labels, value in family.samples.items():
                made.add_metric(labels, float(value))
            yield made


def registry_of(gather: Callable[[], list[Family]]) -> CollectorRegistry:
    """A registry of its own for metrics."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Source(gather))
    return registry


def exposition(families: list[Family]) -> bytes:
    """Metrics in the text format of Prometheus."""
    from prometheus_client import generate_latest

    return generate_latest(registry_of(lambda: families))


class TextFile:
    """Writes the metrics to ``[metrics] textfile``, if there is one."""

    def __init__(self, database: Database, config: Config) -> None:
        self._path = config.metrics.textfile
        self._metrics = Metrics(database, config)

    def write(self) -> str | None:
        """Replace the file by the present metrics; return the problem if that fails. It never raises an error."""
        if not self._path:
            return None
        if (problem := missing_library()) is not None:
            return problem
        try:
            replace_file(self._path, exposition(self._metrics.gather()))
        except OSError as error:
            return f"metrics: {self._path} cannot be written: {error.strerror}"
        except FimscanError as error:
            return f"metrics: {error}"
        except Exception as error:  # noqa: BLE001  # the scan is stored and reported; its result stands
            return f"metrics: internal error: {type(error).__name__}"
        return None


def write_textfile(database: Database, config: Config) -> str | None:
    """Write the metrics once; see :meth:`TextFile.write`."""
    return TextFile(database, config).write()


def replace_file(path: str, content: bytes) -> None:
    """Write a file completely or not at all: a reader has the old or the new content.

    Everything happens in one opened directory, so a directory that belongs to node_exporter can lead nowhere else.
    """
    directory, name = os.path.split(path)
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    temporary = f".{name}.{secrets.token_hex(8)}"  # node_exporter reads only what ends in .prom
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o600, dir_fd=opened)
        try:
            with open(file, "wb") as stream:
                stream.write(content)
                os.fchmod(file, _MODE)
            os.replace(temporary, name, src_dir_fd=opened, dst_dir_fd=opened)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=opened)
            raise
    finally:
        os.close(opened)


class Server:
    """Serves the metrics at ``[metrics] listen`` while 'fimscan schedule' runs."""

    def __init__(self, database: Database, config: Config) -> None:
        self._address = config.metrics.listen_address
        self._metrics = Metrics(database, config)
        self._guard = threading.Lock()
        self._kept: tuple[float, list[Family]] | None = None
        self._server: Any = None

    def start(self) -> str | None:
        """Begin to serve, if that is configured; return the problem if that fails."""
        if self._address is None:
            return None
        if (problem := missing_library()) is not None:
            return problem
        from prometheus_client import start_http_server

        host, port = self._address
        try:
            self._server, _ = start_http_server(port, addr=host, registry=registry_of(self.gather))
        except OSError as error:
            return f"metrics: cannot listen on {host}, port {port}: {error.strerror}"
        return None

    def gather(self) -> list[Family]:
        """Return the metrics, at most some seconds old."""
        with self._guard:
            if self._kept is None or time.monotonic() - self._kept[0] > _FRESH_SECONDS:
                self._kept = time.monotonic(), self._metrics.gather()
            return self._kept[1]

    def stop(self) -> None:
        """End to serve."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
