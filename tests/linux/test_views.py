"""Reading real running processes from /proc."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fimscan.linux.views import container_of, inspect_process
from fimscan.model import Actor, ExeOrigin

ID = b"0123456789ab" + b"c" * 52


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        (b"0::/system.slice/docker-" + ID + b".scope\n", "docker:0123456789ab"),
        (b"12:pids:/docker/" + ID + b"\n0::/\n", "docker:0123456789ab"),
        (b"0::/machine.slice/libpod-" + ID + b".scope/container\n", "podman:0123456789ab"),
        (
            b"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + ID + b".scope",
            "podman:0123456789ab",
        ),
        (b"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + ID + b".scope\n", "containerd:0123456789ab"),
        (b"0::/kubepods.slice/kubepods-pod1.slice/crio-" + ID + b".scope\n", "crio:0123456789ab"),
        (b"4:cpu:/kubepods/besteffort/pod0a1b-2c/" + ID + b"\n", "kubernetes:0123456789ab"),
        (b"0::/lxc.payload.web1/init.scope\n", "lxc:web1"),
        (b"9:memory:/lxc/web1\n", "lxc:web1"),
        (b"0::/machine.slice/systemd-nspawn@build.service/payload\n", "nspawn:build"),
        (b"0::/machine.slice/machine-vm1.scope\n", "machine:vm1"),
        (b"0::/system.slice/docker.service\n", None),  # the container manager itself
        (b"0::/user.slice/user-0.slice/session-3.scope\n", None),
        (b"0::/\n", None),
    ],
)
def test_a_container_is_named_by_its_control_group(cgroup: bytes, container: str | None) -> None:
    """The names used by docker, podman, CRI-O, containerd, LXC, systemd-nspawn and Kubernetes."""
    assert container_of(cgroup) == container


def test_a_process_is_the_one_of_a_record_from_its_start_on() -> None:
    """A record from before the start, or of another program or session, does not match."""
    child = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=-1)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        found = inspect_process(child.pid)
        assert found is not None
        assert 0 <= time.time_ns() - found.start_ns < 30 * 10**9
        assert found.view.exe_origin is ExeOrigin.HOST
        info = os.stat(f"/proc/{child.pid}/exe")
        assert found.view.exe_id == (info.st_dev, info.st_ino)
        record = Actor(child.pid, exe=found.exe, auid=found.auid, session=found.session, time_ns=found.start_ns + 10**9)
        assert found.is_of(record)
        assert not found.is_of(record._replace(time_ns=found.start_ns - 10**9))
        assert not found.is_of(record._replace(exe=b"/usr/bin/other"))
        assert not found.is_of(record._replace(session=4242))
    finally:
        child.kill()
        child.communicate()
    assert inspect_process(child.pid) is None


def test_a_program_that_was_replaced_is_not_known_to_be_the_hosts(tmp_path: Path) -> None:
    """As after an upgrade, when another file has the program's name."""
    tool = tmp_path / "tool"
    tool.write_bytes(Path("/bin/sh").read_bytes())
    tool.chmod(0o755)
    child = subprocess.Popen([str(tool), "-c", "read line; true"], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 20
        while (found := inspect_process(child.pid)) is None or found.exe != os.fsencode(tool):
            assert time.monotonic() < deadline
        assert found.view.exe_origin is ExeOrigin.HOST
        tool.unlink()
        tool.write_bytes(b"another")
        found = inspect_process(child.pid)
        assert found is not None and found.view.exe_origin is ExeOrigin.UNKNOWN
    finally:
        child.kill()
        child.communicate()


def test_the_tracer_of_a_process_is_recorded() -> None:
    """A tracer can make the process do anything."""
    code = "import ctypes, time; ctypes.CDLL(None).ptrace(0, 0, 0, 0); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        found = inspect_process(child.pid)
        assert found is not None and found.view.tracer == os.getpid()
    finally:
        child.kill()
        child.communicate()
