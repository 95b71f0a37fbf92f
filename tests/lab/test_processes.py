"""The identity of a process on a real kernel: login, start time, parent, program; and core dumps."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.auditd import load_rules as load
from demo.auditd import remove_rules
from tests.lab.ground import Installation, dismantle, load_rules, write_config

pytestmark = pytest.mark.audit
NOBODY = ["setpriv", "--reuid", "1003", "--regid", "1003", "--clear-groups", "--inh-caps=-all"]
ROUND = Path(__file__).parent / "pid_round.c"


@pytest.fixture
def host(audit_log: str) -> Iterator[Installation]:
    """An installation for one test, with three files that every user may write."""
    root = Path(tempfile.mkdtemp(prefix="fimscan-lab-"))
    root.chmod(0o755)
    watched = root / "watched"
    watched.mkdir()
    for name in ("file", "other", "third"):
        (watched / name).write_text("old\n")
        (watched / name).chmod(0o666)
    made = Installation(root=root, watched=watched, elsewhere=root, config=write_config(root, [watched], audit_log))
    # A key of its own: removed rules of the lab's key would be gaps here.
    made.config.write_text(made.config.read_text().replace('"fimscan-lab"', f'"fimscan-lab-{os.getpid()}"'))
    rules = load_rules(made)
    made.run("scan")
    yield made
    dismantle(rules, root)


def answers(host: Installation) -> dict[str, dict[str, Any]]:
    """The rows of the diff after a scan, by name."""
    host.run("scan", codes=tuple(range(8)))
    document = json.loads(host.run("diff", "--format", "json", codes=tuple(range(8))).stdout)
    return {os.path.basename(row["path"]): row for row in document["changes"]}


def explained(host: Installation, name: str) -> dict[str, Any]:
    found = json.loads(host.run("explain", str(host.watched / name), "--format", "json").stdout)
    assert isinstance(found, dict)
    return found


def shown(host: Installation, *arguments: str) -> str:
    return " ".join(host.run(*arguments, codes=tuple(range(8))).stdout.decode().split())


def sole_actor(row: dict[str, Any]) -> dict[str, Any]:
    (actor,) = row["attribution"]["actors"]
    assert isinstance(actor, dict)
    return actor


def settable() -> None:
    if Path("/proc/self/loginuid").read_text() != str(2**32 - 1):
        pytest.skip("this process has a login uid, which its children cannot set themselves")


# --------------------------------------------------------------------------------------------------------------------
# Logins


def test_a_login_uid_set_by_its_own_user_gives_no_name(host: Installation) -> None:
    """A process without a login uid may set that of another user: then JSON, text and CSV name no login user."""
    settable()
    script = f"echo 2 > /proc/self/loginuid; echo more >> {host.watched}/file"
    subprocess.run([*NOBODY, "sh", "-c", script], check=True)
    actor = sole_actor(answers(host)["file"])
    assert (actor["auid"], actor["login_user"], actor["uid"]) == (2, None, 1003)
    origin = actor["login_origin"]
    assert (origin["source"], origin["uid"], origin["claimed"]) == ("user", 1003, "bin")
    said = "login uid 2 (bin) was set by uid 1003's process, not by a login"
    assert said in shown(host, "diff", "--flat")
    explanation = explained(host, "file")
    assert any("type=LOGIN" in record and "uid=1003" in record for record in explanation["records"])
    assert explanation["considered"][0]["actor"]["login_user"] is None
    (line,) = csv.DictReader(io.StringIO(host.run("diff", "--format", "csv", codes=(4,)).stdout.decode()))
    assert (line["login_user"], line["login_origin"]) == ("", "set by uid 1003's process, not by a login")


def test_a_login_uid_set_by_root_is_reported_as_that(host: Installation) -> None:
    """That is no login, but root is trusted to set a login uid: the name is shown."""
    settable()
    subprocess.run(["sh", "-c", f"echo 2 > /proc/self/loginuid; echo more >> {host.watched}/file"], check=True)
    actor = sole_actor(answers(host)["file"])
    assert (actor["login_user"], actor["login_origin"]["source"]) == ("bin", "root")
    assert "logged in as bin (login uid set by root's process" in shown(host, "diff", "--flat")


def test_the_login_of_an_older_session_is_found(host: Installation) -> None:
    """The login record was read long before the change."""
    settable()
    go = host.root / "go"
    script = (
        f"echo 2 > /proc/self/loginuid; while ! test -e {go}; do sleep 0.05; done; echo more >> {host.watched}/file"
    )
    user = subprocess.Popen([*NOBODY, "sh", "-c", script])
    time.sleep(0.3)
    host.run("scan")
    go.touch()
    assert user.wait(timeout=20) == 0
    assert sole_actor(answers(host)["file"])["login_origin"]["source"] == "user"


def test_a_login_that_was_set_again_has_the_latest_origin(host: Installation) -> None:
    """With privileges, the login uid can be set twice; each time, a session begins."""
    settable()
    script = "echo 2 > /proc/self/loginuid; echo 3 > /proc/self/loginuid"
    subprocess.run(["sh", "-c", f"{script}; echo more >> {host.watched}/file"], check=True)
    actor = sole_actor(answers(host)["file"])
    assert (actor["auid"], actor["login_origin"]["source"]) == (3, "root")
    records = [record for record in explained(host, "file")["records"] if "type=LOGIN" in record]
    assert len(records) == 1 and "old-auid=2 auid=3" in records[0]


def test_a_login_without_a_record_is_reported_as_unseen(host: Installation, audit_log: str) -> None:
    """The login record was lost or is older than the log: only the kernel's auid is known."""
    settable()
    subprocess.run(["sh", "-c", f"echo 2 > /proc/self/loginuid; echo more >> {host.watched}/file"], check=True)
    time.sleep(0.5)
    copy = host.root / "without.log"
    lines = Path(audit_log).read_bytes().splitlines(keepends=True)
    copy.write_bytes(b"".join(line for line in lines if not line.startswith(b"type=LOGIN")))
    host.run("scan", "--audit-log", str(copy), codes=(4,))
    document = json.loads(host.run("diff", "--format", "json", codes=(4,)).stdout)
    actor = sole_actor(document["changes"][0])
    assert (actor["login_user"], actor["login_origin"]["source"]) == ("bin", "unseen")
    assert "logged in as bin (login not seen)" in shown(host, "diff", "--flat")


def test_a_login_record_that_comes_after_the_answer_still_counts(host: Installation, audit_log: str) -> None:
    """The answer is revised when the records arrive."""
    settable()
    subprocess.run([*NOBODY, "sh", "-c", f"echo 2 > /proc/self/loginuid; echo x >> {host.watched}/file"], check=True)
    time.sleep(0.5)
    copy = host.root / "without.log"
    lines = Path(audit_log).read_bytes().splitlines(keepends=True)
    copy.write_bytes(b"".join(line for line in lines if not line.startswith(b"type=LOGIN")))
    host.run("scan", "--audit-log", str(copy), codes=(4,))
    host.run("scan")
    document = json.loads(host.run("diff", "--format", "json", codes=(4,)).stdout)
    actor = sole_actor(document["changes"][0])
    assert (actor["login_user"], actor["login_origin"]["source"]) == (None, "user")


# --------------------------------------------------------------------------------------------------------------------
# A pid is not a process


@pytest.fixture
def pid_round(host: Installation) -> Path:
    """A program that starts processes until the next pid is the wanted one, or that opens and appends."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    if int(Path("/proc/sys/kernel/pid_max").read_text()) > 65536:
        pytest.skip("it would take too long to bring the pid counter round")
    program = host.root / "pid_round"
    subprocess.run(["cc", "-O1", "-o", str(program), str(ROUND)], check=True)
    return program


def test_a_root_service_that_got_the_pid_is_not_named_alone(host: Installation, pid_round: Path) -> None:
    """A user's process changes the file and ends; root's next process gets its pid."""
    target = host.watched / "file"
    for _ in range(8):
        target.write_text("old\n")
        host.run("scan", codes=tuple(range(8)))
        user = subprocess.Popen([*NOBODY, str(pid_round), "append", str(target), "evil"])
        assert user.wait(timeout=20) == 0
        subprocess.run([*NOBODY, str(pid_round), "round", str(user.pid)], check=True, timeout=60)
        root = os.posix_spawn(pid_round, ["pid_round", "append", str(target), "fine"], os.environ)
        os.waitpid(root, 0)
        if root == user.pid:
            break
    else:
        pytest.skip("others took the pid each time")
    row = answers(host)["file"]
    attribution = row.get("steps", [row])[-1]["attribution"]
    assert attribution["verdict"] == "contested", attribution
    assert {(a["pid"], a["uid"]) for a in attribution["actors"]} == {(root, 0), (root, 1003)}
    assert len({a["since"] for a in attribution["actors"]}) == 2


def test_a_process_that_drops_its_rights_stays_one(host: Installation) -> None:
    """If it was inspected while it ran, its start time identifies it."""
    code = (
        f"import os, time; open('{host.watched}/file', 'a').write('1'); os.setuid(1003);"
        f"open('{host.watched}/file', 'a').write('2'); print(flush=True); time.sleep(60)"
    )
    daemon = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    daemon.stdout.readline()
    try:
        attribution = answers(host)["file"]["attribution"]
    finally:
        daemon.kill()
        daemon.communicate()
    assert (attribution["verdict"], [a["pid"] for a in attribution["actors"]]) == ("confirmed", [daemon.pid])


def test_a_script_whose_parent_ended_stays_one(host: Installation) -> None:
    """Then its parent is process 1 or a subreaper."""
    script = f"(echo 1 >> {host.watched}/file; sleep 0.5; echo 2 >> {host.watched}/file; exec sleep 5) & sleep 0.2"
    subprocess.run(["sh", "-c", script], check=True)
    time.sleep(0.6)
    attribution = answers(host)["file"]["attribution"]
    assert (attribution["verdict"], len(attribution["actors"])) == ("confirmed", 1), attribution


# --------------------------------------------------------------------------------------------------------------------
# Parents


def test_a_parent_is_what_it_was_when_it_started_its_child(host: Installation) -> None:
    """A shell starts install and then executes chmod: the parent of install is the shell."""
    settable()
    wanted = host.run("audit", "rules", "--processes").stdout.decode().splitlines()
    rules = load("\n".join(line for line in wanted if "execve" in line))
    try:
        new, file = host.watched / "new", host.watched / "file"
        script = f"install -m 644 {host.config} {new}; exec chmod 600 {file}"
        outer = f"echo 2 > /proc/self/loginuid; bash -c '{script}'; true"
        subprocess.run(["sh", "-c", outer], check=True)
        rows = answers(host)
    finally:
        remove_rules(rules)
    assert rows["file"]["attribution"]["actors"][0]["exe"].endswith("chmod")
    lineages = {
        item["actor"]["exe"].rpartition("/")[2]: item["ancestors"] for item in explained(host, "new")["lineages"]
    }
    parent = lineages["install"][0]
    assert (parent["exe"].rpartition("/")[2], parent["pid"]) == (
        "bash",
        rows["file"]["attribution"]["actors"][0]["pid"],
    )


# --------------------------------------------------------------------------------------------------------------------
# Programs, roots and containers


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start processes that end with the test."""
    those: list[subprocess.Popen[bytes]] = []
    yield those
    for process in those:
        process.kill()
        process.wait()


def lasting(host: Installation, name: str) -> str:
    return f"echo more >> {host.watched}/{name}; : > {host.root}/{name}.done; sleep 60; true"


def wait_for(host: Installation, *names: str) -> None:
    deadline = time.monotonic() + 20
    while not all((host.root / f"{name}.done").exists() for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_of_another_mount_namespace_is_not_shown_as_the_hosts(
    host: Installation, running: list[subprocess.Popen[bytes]]
) -> None:
    """Its path is also that of a monitored program of this host, which is as accepted."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    tool = host.watched / "tool"
    shutil.copy("/bin/sh", tool)
    host.run("scan", codes=(1,))
    host.run("accept", "--all", "--even-outstanding")
    other = host.root / "other-tool"
    shutil.copy("/bin/sh", other)
    script = f'mount --bind {other} {tool}; exec {tool} -c "{lasting(host, "file")}"'
    running.append(subprocess.Popen(["unshare", "-m", "sh", "-c", script]))
    running.append(subprocess.Popen([str(tool), "-c", lasting(host, "other")]))
    wait_for(host, "file", "other")
    rows = answers(host)
    assert sole_actor(rows["file"])["exe_origin"] == "other-root"
    assert sole_actor(rows["other"])["exe_origin"] == "host"
    assert f"{tool} in another root (pid {running[0].pid}" in shown(host, "diff", "--flat")
    (program,) = explained(host, "file")["programs"]
    assert (program["path"], program["standing"]) == (str(tool), "other-root")
    assert "accepted" not in program["words"]
    (program,) = explained(host, "other")["programs"]
    assert program["standing"] == "accepted" and "its content is what was accepted" in program["words"]


CHROOTED = r"""
#include <fcntl.h>
#include <unistd.h>
int main(void) {
    int file = open("/w/file", O_WRONLY | O_APPEND);
    if (write(file, "more", 4) != 4) return 1;
    close(open("/done", O_WRONLY | O_CREAT, 0644));
    return pause();
}
"""


def test_a_program_in_a_chroot_is_not_shown_as_the_hosts(
    host: Installation, running: list[subprocess.Popen[bytes]]
) -> None:
    """Audit records its path below that root, which looks like the host's program of this name."""
    jail, source = host.root / "jail", host.root / "chrooted.c"
    for directory in ("bin", "w"):
        (jail / directory).mkdir(parents=True)
    source.write_text(CHROOTED)
    if shutil.which("cc") is None or shutil.which("unshare") is None:
        pytest.skip("needs a C compiler and unshare")
    if subprocess.run(["cc", "-static", "-o", str(jail / "bin/sh"), str(source)], check=False).returncode:
        pytest.skip("cannot link statically")
    script = f"mount --bind {host.watched} {jail}/w; exec chroot {jail} /bin/sh"
    running.append(subprocess.Popen(["unshare", "-m", "sh", "-c", script]))
    (host.root / "jail.done").symlink_to(jail / "done")
    wait_for(host, "jail")
    actor = sole_actor(answers(host)["file"])
    assert (actor["exe"], actor["exe_origin"]) == ("/bin/sh", "other-root")
    assert f"/bin/sh in another root (pid {running[0].pid}" in shown(host, "explain", str(host.watched / "file"))


def test_a_program_that_ended_uninspected_may_not_be_the_hosts(host: Installation) -> None:
    """Which file of that name it ran is unknown, so the program is not called accepted."""
    tool = host.watched / "tool"
    shutil.copy("/bin/sh", tool)
    host.run("scan", codes=(1,))
    host.run("accept", "--all", "--even-outstanding")
    subprocess.run([str(tool), "-c", f"echo more >> {host.watched}/file"], check=True)
    assert sole_actor(answers(host)["file"])["exe_origin"] == "unknown"
    (program,) = explained(host, "file")["programs"]
    assert program["standing"] == "not-known"
    assert "unknown whether this is the host's file of that name" in program["words"]


def test_code_loaded_into_a_program_is_reported(host: Installation, running: list[subprocess.Popen[bytes]]) -> None:
    """With LD_PRELOAD or a tracer, the program's file does not determine what the process did."""
    tool = host.watched / "tool"
    shutil.copy("/bin/sh", tool)
    host.run("scan", codes=(1,))
    host.run("accept", "--all", "--even-outstanding")
    environment = {**os.environ, "LD_PRELOAD": f"{host.root}/evil.so"}
    running.append(
        subprocess.Popen([str(tool), "-c", lasting(host, "file")], env=environment, stderr=subprocess.DEVNULL)
    )
    wait_for(host, "file")
    assert sole_actor(answers(host)["file"])["preload"] == f"{host.root}/evil.so"
    (program,) = explained(host, "file")["programs"]
    assert f"LD_PRELOAD loaded other code into it: {host.root}/evil.so" in program["words"]


@pytest.fixture
def control_group() -> Iterator[Path]:
    """Create a control group as Docker does for a container."""
    found = [Path(base) for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")]
    base = next((path for path in found if (path / "cgroup.procs").exists()), None)
    if base is None:
        pytest.skip("no control groups of version 2 here")
    made = base / f"docker-{secrets.token_hex(32)}.scope"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a control group: {error}")
    yield made
    deadline = time.monotonic() + 20
    while (made / "cgroup.procs").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    made.rmdir()


def test_the_container_of_a_process_is_named(
    host: Installation, control_group: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    """JSON, text and CSV show it."""
    script = f"echo $$ > {control_group}/cgroup.procs; echo x >> {host.watched}/file; : > {host.root}/file.done; read x"
    running.append(subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE))
    wait_for(host, "file")
    name = f"docker:{control_group.name.removeprefix('docker-')[:12]}"
    assert sole_actor(answers(host)["file"])["container"] == name
    assert f"in container {name} (pid {running[0].pid}" in shown(host, "diff", "--flat")
    (line,) = csv.DictReader(io.StringIO(host.run("diff", "--format", "csv", codes=(4,)).stdout.decode()))
    assert line["container"] == name
    running.pop().communicate(b"\n", timeout=20)


# --------------------------------------------------------------------------------------------------------------------
# Crashes


def crash(directory: Path) -> int:
    """Crash a process in a directory, where the kernel writes its core dump; return the pid."""

    def unlimited() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    process = subprocess.Popen(["sh", "-c", "kill -SEGV $$"], cwd=directory, preexec_fn=unlimited)  # noqa: PLW1509
    process.wait(timeout=60)
    return process.pid


@pytest.fixture
def dumps_here() -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith(("|", "/")):
        pytest.skip(f"the kernel does not write core dumps into the working directory here ({pattern})")


@pytest.mark.usefixtures("dumps_here")
def test_a_core_dump_is_attributed_to_the_crashed_process(host: Installation) -> None:
    """No rule reports the kernel's write. The record of the crash has the process, so the reason is not no-event."""
    pid = crash(host.watched)
    rows = answers(host)
    (name,) = [name for name in rows if name.startswith("core")]
    attribution = rows[name]["attribution"]
    assert (attribution["verdict"], attribution["reason"]) == ("likely", "core-dump")
    assert [(a["role"], a["pid"]) for a in attribution["actors"]] == [("writer", pid)]
    assert f"(pid {pid}) crashed, and the kernel wrote its core dump" in shown(host, "diff", "--flat")
    explanation = explained(host, name)
    assert any("type=ANOM_ABEND" in record for record in explanation["records"])
    assert explanation["considered"][0]["why"] == "crashed"


@pytest.mark.usefixtures("dumps_here")
def test_two_simultaneous_crashes_are_both_listed(host: Installation) -> None:
    """One of two crashed in another directory, but no record has the directory of a process."""
    elsewhere = host.root / "elsewhere"
    elsewhere.mkdir()
    pids = {crash(elsewhere), crash(host.watched)}
    rows = answers(host)
    (name,) = [name for name in rows if name.startswith("core")]
    attribution = rows[name]["attribution"]
    if name == "core":  # a pid in the file name singles out the process
        assert (attribution["verdict"], {a["pid"] for a in attribution["actors"]}) == ("contested", pids)
