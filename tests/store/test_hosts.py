"""Hosts: known by an id, renamed without losing their records, never taken for another one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, select

from fimscan.config import parse_config
from fimscan.errors import StoreError
from fimscan.linux import host as host_module
from fimscan.linux.host import record_id, recorded_id, this_host
from fimscan.model import Boot, ControlKind, HostEventKind, HostIdentity, IdSource, ScanStatus
from fimscan.pipeline import run_scan
from fimscan.pipeline.controls import record
from fimscan.report.controls import host_lines
from fimscan.store import controls, hosts, schema
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from tests.evidence.site import problems


def machine(name: str, number: int) -> HostIdentity:
    return HostIdentity(name=name, id=f"machine:{number:032x}", source=IdSource.MACHINE)


@contextmanager
def opened(directory: Path, host: HostIdentity | str, **options: str | bool | None) -> Iterator[Database]:
    with closing(Database(f"sqlite:///{directory}/f.db", host=host, **options)) as database:  # type: ignore[arg-type]
        yield database


def baseline(directory: Path, host: HostIdentity | str) -> None:
    """A scan of one file, as this host."""
    (directory / "watched").mkdir(exist_ok=True)
    (directory / "watched" / "f").write_text("x")
    with opened(directory, host) as database:
        run_scan(database, parse_config(f'[[watch]]\npath = "{directory}/watched"\n'), source=None)


def told(database: Database) -> list[str]:
    with record.report_once(database) as report:
        return list(host_lines(report.host_events))


def test_a_renamed_host_goes_on_with_its_baseline(tmp_path: Path) -> None:
    """The new name is recorded and told once; the chains, which have the first name, stay whole."""
    baseline(tmp_path, machine("web1", 1))
    (tmp_path / "watched" / "f").write_text("evil")
    config = parse_config(f'[[watch]]\npath = "{tmp_path}/watched"\n')
    with opened(tmp_path, machine("web1.example.com", 1)) as database:
        result = run_scan(database, config, source=None)
        assert not result.is_baseline and len(result.diff.findings) == 1
        assert result.diff.host == "web1.example.com"
        (line,) = told(database)
        assert line.startswith("Host renamed: web1 -> web1.example.com")
        assert told(database) == [] and problems(database, every_scan=True) == []
        with database.read() as session:
            ((name, until_ns),) = hosts.former_names(session)
        assert name == "web1" and until_ns <= time.time_ns()
    with opened(tmp_path, machine("web1.example.com", 1)) as database:
        assert told(database) == []
    with opened(tmp_path, machine("web1", 1)) as database:  # and back
        assert len(told(database)) == 1


def test_records_of_an_earlier_version_are_taken_over_by_name(tmp_path: Path) -> None:
    """Upgraded, they have no id: the host of that name goes on with them, and has an id from then on."""
    baseline(tmp_path, "web1")
    with opened(tmp_path, machine("web1", 1)) as database:
        with database.read() as session:
            assert scan_store.last_finished(session) is not None
            kinds = session.execute(select(schema.host_event.c.kind)).scalars().all()
            assert kinds == [HostEventKind.IDENTIFIED.value]
        assert told(database) == [] and problems(database) == []
    with opened(tmp_path, machine("web2", 1)) as database, database.read() as session:
        assert scan_store.last_finished(session) is not None


@pytest.mark.parametrize("other", [machine("web2", 2), machine("web1", 2)])
@pytest.mark.parametrize("writing", [True, False])
def test_the_database_of_another_host_is_refused(tmp_path: Path, other: HostIdentity, writing: bool) -> None:
    """Whatever it is called: a new baseline in it would be a silent new beginning."""
    baseline(tmp_path, machine("web1", 1))
    with pytest.raises(StoreError, match=r"baseline of another host .*web1.*--adopt-host"):
        Database(f"sqlite:///{tmp_path}/f.db", host=other, writing=writing)


def test_another_host_is_adopted_deliberately(tmp_path: Path) -> None:
    """Its baseline is continued; that is recorded, and told once. The host that it was is refused then."""
    baseline(tmp_path, machine("web1", 1))
    with pytest.raises(StoreError, match=r"--adopt-host: name one .*web1"):
        Database(f"sqlite:///{tmp_path}/f.db", host=machine("web2", 2), adopt="web9")
    with opened(tmp_path, machine("web2", 2), adopt="") as database:
        (line,) = told(database)
        assert line.startswith("Host adopted: the baseline and history of web1 are continued by web2")
        with database.read() as session:
            assert scan_store.last_finished(session) is not None
            assert hosts.former_names(session) == []  # what web1 was called is not what web2 was called
        assert problems(database) == []
    with opened(tmp_path, machine("web2", 2)) as database:
        assert told(database) == []
    with pytest.raises(StoreError):
        Database(f"sqlite:///{tmp_path}/f.db", host=machine("web1", 1))


@pytest.fixture
def server() -> Iterator[Connection]:
    """A database that several hosts share."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        schema.create(connection)
        yield connection
    engine.dispose()


def claim(server: Connection, host: HostIdentity, adopt: str | None = None) -> int:
    return hosts.claim(server, host, shared=True, name="db", adopt=adopt)


def scanned(server: Connection, number: int) -> None:
    values = {"host_id": number, "trigger": "manual", "status": ScanStatus.FINISHED.value, "started_ns": 1}
    server.execute(schema.scan.insert().values(**values, config_digest="d"))


def test_several_hosts_share_a_server(server: Connection) -> None:
    """A new host begins beside the others. One with the name of another, and another id, is refused."""
    first, second = claim(server, machine("a", 1)), claim(server, machine("b", 2))
    assert first != second and claim(server, machine("a", 1)) == first
    scanned(server, first)
    with pytest.raises(StoreError, match="baseline of another host"):
        claim(server, machine("a", 3))
    assert claim(server, machine("c", 3)) not in (first, second)
    # The name is free again when its host has a new one, although the chains have it for ever.
    assert claim(server, machine("z", 1)) == first
    newcomer = claim(server, machine("a", 4))
    assert newcomer != first and claim(server, machine("a", 4)) == newcomer
    assert claim(server, machine("a", 5), adopt="z") == first


def test_a_reader_without_an_id_gets_no_other_host_of_a_server(server: Connection) -> None:
    """Who cannot read the recorded id is known by name. In a file, which has one host, that may be a former one."""
    reader = HostIdentity(name="b", source=IdSource.RECORDED)
    first = claim(server, machine("a", 1))
    assert hosts.find(server, reader, shared=True, name="db") == hosts.NO_HOST
    assert hosts.find(server, reader, shared=False, name="db") == first
    second = claim(server, machine("b", 2))
    assert hosts.find(server, reader, shared=True, name="db") == second


class OnServer(Database):
    """A file, used as if it were on a server."""

    file = None


class MeanwhileRecorded(OnServer):
    """Another process records an id after this one found none."""

    def _identified(self, host: str | HostIdentity) -> HostIdentity:
        assert isinstance(host, HostIdentity)
        return host


def test_two_containers_of_one_name_share_no_baseline_of_a_server(tmp_path: Path) -> None:
    """The second one is refused, and keeps no id. A file of another process stays."""
    other = HostIdentity(name="web", source=IdSource.RECORDED)
    baseline(tmp_path, other)
    url, directory = f"sqlite:///{tmp_path}/f.db", tmp_path / "state"
    with pytest.raises(StoreError, match="--adopt-host"):
        OnServer(url, host=other, directory=str(directory))
    assert os.listdir(directory) == []
    recorded, _ = record_id(f"{directory}/host-id")
    with pytest.raises(StoreError, match="--adopt-host"):
        MeanwhileRecorded(url, host=other, directory=str(directory))
    assert recorded_id(f"{directory}/host-id") == recorded
    with closing(OnServer(url, host=other, directory=str(directory), adopt="")) as database:
        assert database.identity.id == recorded
        assert os.fsencode(f"{directory}/host-id") in database.own_files


def test_two_machines_with_one_machine_id_are_a_failed_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel of one was seen before and after that of the other, and ran meanwhile. A file is not shared."""
    hour, now_ns, host = 3600 * 10**9, time.time_ns(), machine("web", 1)
    url, config = f"sqlite:///{tmp_path}/f.db", parse_config(f'[[watch]]\npath = "{tmp_path}/w"\n')
    (tmp_path / "w").mkdir()
    shown = []
    with opened(tmp_path, host) as alone, closing(OnServer(url, host=host)) as server:
        for number, name in enumerate(("x", "x", "y", "x")):
            up_ns = ((9 if name == "x" else 1) + number) * hour
            boot = Boot(id=name, time_ns=now_ns + number * hour, up_ns=up_ns)
            monkeypatch.setattr(record, "this_boot", partial(_given, boot))
            record.after_scan(server, config, None, run_scan(alone, config, source=None))
            shown.append(_failed_hosts(server))
        assert shown == [0, 0, 0, 1]
        with server.read() as session:
            assert [boot.id for boot in hosts.last_boots(session, 9)] == ["x", "y", "x"]
        assert problems(alone) == []
        record.after_scan(alone, config, None, run_scan(alone, config, source=None))
        assert _failed_hosts(alone) == 0


def _given(boot: Boot, _time_ns: int) -> Boot:
    return boot


def _failed_hosts(database: Database) -> int:
    with database.read() as session:
        return sum(item.kind is ControlKind.HOST for item in controls.still_open(session))


def test_own_files_are_known_beside_a_link_and_its_target(tmp_path: Path) -> None:
    """SQLite's files are beside the target, fimscan's beside the link."""
    baseline(tmp_path, "h")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "f.db").symlink_to(tmp_path / "f.db")
    with opened(tmp_path / "etc", "h") as database:
        wanted = {f"{tmp_path}/f.db-wal", f"{tmp_path}/etc/f.db.head", f"{tmp_path}/etc/f.db.lock"}
        assert wanted <= set(map(os.fsdecode, database.own_files))


# --------------------------------------------------------------------------------------------------------------------
# The id of this machine


@pytest.fixture
def machine_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "machine-id"
    monkeypatch.setattr(host_module, "_MACHINE_ID", str(path))
    monkeypatch.setattr(host_module, "_CONTAINER_SIGNS", (str(tmp_path / "container"),))
    monkeypatch.setattr(host_module, "_FIRST_ENVIRONMENT", str(tmp_path / "environ"))
    for name in ("KUBERNETES_SERVICE_HOST", "container"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.mark.parametrize("text", [None, "", "uninitialized\n", "0" * 32 + "\n", "F" * 32, "abc"])
def test_a_machine_id_of_no_machine_is_not_used(machine_id: Path, text: str | None) -> None:
    """Missing, empty, not set, or the same on many machines."""
    if text is not None:
        machine_id.write_text(text)
    assert this_host() == HostIdentity(name=os.uname().nodename, source=IdSource.RECORDED)


def test_a_machine_id_is_used_and_not_shown(machine_id: Path, tmp_path: Path) -> None:
    """machine-id(5) wants it derived. In a container, it is that of an image, unless it was mounted there."""
    machine_id.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    found = this_host()
    assert found.source is IdSource.MACHINE and found.id is not None and found.id.startswith("machine:")
    assert "3d1219c7" not in found.id and this_host() == found
    (tmp_path / "container").touch()
    assert this_host().source is IdSource.RECORDED


@pytest.mark.parametrize(
    ("environment", "source"),
    [
        (b"KUBERNETES_SERVICE_HOST=10.0.0.1", IdSource.RECORDED),
        (b"container=podman", IdSource.RECORDED),
        (b"container=lxc", IdSource.MACHINE),
    ],
)
@pytest.mark.parametrize("is_own", [True, False])
def test_a_container_is_known_by_its_environment(
    machine_id: Path, monkeypatch: pytest.MonkeyPatch, environment: bytes, source: IdSource, is_own: bool
) -> None:
    """With Kubernetes and containerd there is no other sign. Under sudo, only the first process has the variable."""
    machine_id.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    name, _, value = environment.decode().partition("=")
    if is_own:
        monkeypatch.setenv(name, value)
    else:
        machine_id.with_name("environ").write_bytes(b"HOME=/\0" + environment + b"\0")
    assert this_host().source is source


def test_a_recorded_id_stays_with_its_database(tmp_path: Path) -> None:
    """A container has another name at each start, and the same volume. A copy elsewhere is another host's."""
    baseline(tmp_path, HostIdentity(name="1a2b", source=IdSource.RECORDED))
    path = tmp_path / "f.db.host-id"
    assert path.stat().st_mode & 0o777 == 0o600
    with opened(tmp_path, HostIdentity(name="3c4d", source=IdSource.RECORDED)) as database:
        assert len(told(database)) == 1 and database.identity.id == recorded_id(str(path))
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "f.db", tmp_path / "elsewhere" / "f.db")
    other = HostIdentity(name="5e6f", source=IdSource.RECORDED)
    with pytest.raises(StoreError, match="baseline of another host"):
        Database(f"sqlite:///{tmp_path}/elsewhere/f.db", host=other)
    # Under the same name, a copy is the same host's: there is nothing else to know it by.
    assert not (tmp_path / "elsewhere" / "f.db.host-id").exists()
    with opened(tmp_path / "elsewhere", HostIdentity(name="3c4d", source=IdSource.RECORDED)) as copy:
        assert copy.identity.id == recorded_id(str(path)) and told(copy) == []


def test_a_recorded_id_is_made_once_and_never_followed_elsewhere(tmp_path: Path) -> None:
    """Two processes that begin together have one id; a link or a damaged file is no id."""
    path = str(tmp_path / "id")
    made, is_new = record_id(path)
    assert is_new and record_id(path) == (made, False) and made == recorded_id(path)
    os.symlink(path, tmp_path / "link")
    with pytest.raises(OSError, match="symbolic"):
        recorded_id(str(tmp_path / "link"))
    Path(path).write_text("recorded:short")
    with pytest.raises(ValueError, match="no host id"):
        recorded_id(path)
    assert sorted(os.listdir(tmp_path)) == ["id", "link"]
