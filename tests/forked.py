"""Run commands of fimscan in processes forked from one that has imported it: most of a short command is importing.

A forked command has the arguments, environment, working directory and standard streams of a new process, and runs the
same ``main``. ``tests/cli`` also starts real processes, where signals, streams or the interpreter matter.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

# What the interpreter or the C library reads when it starts.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LANGUAGE", "TZ", "LD_", "MALLOC", "GLIBC", "TERM", "COLUMNS", "LINES")
_ROOT = Path(__file__).parent.parent


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("PYTHONDONTWRITEBYTECODE",)  # conftest.py removes it
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START) and name not in ours}


_INITIAL = _at_start(os.environ)


def run(
    arguments: Sequence[str],
    directory: Path,
    seconds: float,
    *,
    environment: Mapping[str, str] | None = None,
    closed: Collection[int] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Run a command and capture its output, as ``subprocess.run`` does.

    ``environment`` is one for which :func:`can_run` is true. The standard streams in ``closed`` are pipes that nobody
    reads.

    Raises:
        subprocess.TimeoutExpired: it was killed, because it took too long.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(_server())
            connection.settimeout(seconds)
            request = {
                "arguments": [*arguments],
                "directory": str(directory),
                "environment": {**(os.environ if environment is None else environment)},
                # Not sent as descriptors: while a process of root has some in flight, a scan in another test cannot
                # know which files these are, and confirms nothing on an overlay.
                "streams": [os.devnull, *(f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err))],
                "closed": [*closed],
            }
            connection.send(json.dumps(request).encode())
            number = int(connection.recv(64))
            try:
                code = int(connection.recv(64))
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
                raise subprocess.TimeoutExpired([*arguments], seconds) from None
        return subprocess.CompletedProcess([*arguments], code, _whole(out), _whole(err))


def can_run(environment: Mapping[str, str] | None = None) -> bool:
    """Whether a new process would read the same from its environment when it starts."""
    return _at_start(os.environ if environment is None else environment) == _INITIAL


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


@cache
def _server() -> str:
    """Start the process that forks; return the address of its socket."""
    directory = tempfile.mkdtemp(prefix="fimscan-forked-")
    atexit.register(_remove, directory)
    address = os.path.join(directory, "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forked", address], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    atexit.register(process.kill)
    assert process.stdout is not None, "it is a pipe"
    assert process.stdout.readline() == b"ready\n", "the process that forks did not start"
    return address


def _remove(directory: str) -> None:
    for name in os.listdir(directory):
        os.unlink(os.path.join(directory, name))
    os.rmdir(directory)


# --------------------------------------------------------------------------------------------------------------------
# In the process that forks


def _serve(address: str) -> None:
    import fimscan
    from fimscan.store import schema

    for module in pkgutil.walk_packages(fimscan.__path__, "fimscan."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    schema.statements()  # kept for all of them
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        gc.collect()
        gc.freeze()
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the handlers
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _handle(connection)
            connection.close()


def _handle(connection: socket.socket) -> None:
    """Run one command in a child; report its process id, then its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request = json.loads(connection.recv(1 << 20))
    number = os.fork()
    if number == 0:
        connection.close()
        _become(request)
    connection.send(b"%d" % number)
    _, status = os.waitpid(number, 0)
    connection.send(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _become(request: dict[str, Any]) -> None:
    for target, path in enumerate(request["streams"]):
        stream = _closed_pipe() if target in request["closed"] else os.open(path, os.O_RDWR)
        os.dup2(stream, target)
        os.close(stream)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    encoding = sys.stdout.encoding
    sys.stdin = open(0, encoding=encoding)  # noqa: SIM115  # open until the process ends
    sys.stdout = open(1, "w", encoding=encoding)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", buffering=1)  # noqa: SIM115
    import fimscan
    from fimscan.cli.main import main

    sys.argv = [os.path.join(fimscan.__path__[0], "__main__.py"), *request["arguments"]]
    main()


if __name__ == "__main__":
    _serve(sys.argv[1])
