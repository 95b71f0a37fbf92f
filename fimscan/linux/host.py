"""What this machine is known by: its name, and its machine-id if that identifies it."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from contextlib import suppress

from fimscan.model import Boot, HostIdentity, IdSource

_MACHINE_ID = "/etc/machine-id"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_FIRST_ENVIRONMENT = "/proc/1/environ"
_FORM = re.compile(r"[0-9a-f]{32}")
_ID = re.compile(r"recorded:[0-9a-f]{32}")
# An image of a container often has a machine-id, and all its containers share it.
_SECRETS = "run/secrets/kubernetes.io"
_CONTAINER_SIGNS = ("/.dockerenv", "/run/.containerenv", f"/{_SECRETS}", f"/var/{_SECRETS}")
# Not lxc or systemd-nspawn: these run whole systems, which have a machine-id of their own.
_CONTAINER_VALUES = frozenset({"docker", "oci", "podman"})
# Ids of no single machine: "uninitialized" and an empty file have another form.
_CLONED = frozenset({"0" * 32, "f" * 32})
# machine-id(5): programs store no machine-id, but one that is derived from it with a key of their own.
_KEY = b"fimscan host identity"


def this_host() -> HostIdentity:
    """Name this machine. It has no id yet if it has no machine-id of its own: then one is made and recorded."""
    name = os.uname().nodename
    machine = _machine_id()
    if machine is None:
        return HostIdentity(name=name, source=IdSource.RECORDED)
    derived = hmac.new(_KEY, machine.encode("ascii"), hashlib.sha256).hexdigest()[:32]
    return HostIdentity(name=name, id=f"machine:{derived}", source=IdSource.MACHINE)


def this_boot(time_ns: int) -> Boot | None:
    """The running kernel at a time, which is now; ``None`` where it does not give itself an id."""
    with suppress(OSError), open(_BOOT_ID, encoding="ascii") as file:
        return Boot(id=file.read(64).strip(), time_ns=time_ns, up_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    return None


def _machine_id() -> str | None:
    """The machine-id; ``None`` if it is missing, not set, shared by many machines, or comes from an image."""
    if _is_container() and not _is_mounted(_MACHINE_ID):
        return None
    try:
        with open(_MACHINE_ID, encoding="ascii") as file:
            text = file.read(64).strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if _FORM.fullmatch(text) and text not in _CLONED else None


def _is_container() -> bool:
    """Whether this is a container that was made from an image. Kubernetes with containerd makes no file that says so.

    The first process is asked, too: sudo and cron remove variables, and the answer must not depend on them.
    """
    if any(map(os.path.exists, _CONTAINER_SIGNS)):
        return True
    found = [(os.fsencode(name), os.fsencode(value)) for name, value in os.environ.items()]
    with suppress(OSError), open(_FIRST_ENVIRONMENT, "rb") as file:
        found += [(name, value) for name, _, value in (item.partition(b"=") for item in file.read().split(b"\0"))]
    return any(
        name == b"KUBERNETES_SERVICE_HOST" or (name == b"container" and os.fsdecode(value) in _CONTAINER_VALUES)
        for name, value in found
    )


def _is_mounted(path: str) -> bool:
    """Whether this single file is a mount: whoever started the container gave it the id of the machine."""
    try:
        with open("/proc/self/mountinfo", encoding="ascii", errors="replace") as file:
            return any(line.split(" ")[4] == path for line in file)
    except (OSError, IndexError):
        return False


def recorded_id(path: str) -> str | None:
    """The id in a file that :func:`record_id` wrote; ``None`` if there is none.

    Raises:
        OSError: the file cannot be read, or is no plain file.
        ValueError: it has something else in it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        text = file.read(64).decode("ascii", "replace").strip()
    if not _ID.fullmatch(text):
        raise ValueError(f"{path} has no host id in it; restore it from a backup, or remove it and use --adopt-host")
    return text


def record_id(path: str, known: str | None = None) -> tuple[str, bool]:
    """Record the ``known`` id, or a new one; if another process was faster, take its id.

    Returns the id, and whether this call recorded it.

    Raises:
        OSError: the file cannot be written.
        ValueError: as :func:`recorded_id`.
    """
    made = known or f"recorded:{secrets.token_hex(16)}"
    partial = f"{path}.{secrets.token_hex(8)}.new"
    is_new = False
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(made.encode("ascii") + b"\n")
            file.flush()
            os.fsync(descriptor)
        # A link fails if the file exists: the first process wins, and nobody reads half an id.
        with suppress(FileExistsError):
            os.link(partial, path)
            is_new = True
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)
    return recorded_id(path) or made, is_new
