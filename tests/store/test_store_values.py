"""Stored values load unchanged: every byte, every unknown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.model import (
    Action,
    Actor,
    Attribution,
    AuditObservation,
    AuditRule,
    Coverage,
    Digest,
    Doubt,
    EventId,
    ExeOrigin,
    FileKind,
    FileState,
    Gap,
    GapReason,
    Holders,
    LoginOrigin,
    LoginSource,
    ProcessView,
    Reason,
    Reasoning,
    Rights,
    Role,
    Ruling,
    Unseen,
    Verdict,
    Why,
    Xattr,
)
from fimscan.state_row import pack
from fimscan.store import codec, files, row_digests, scans, version_writer
from fimscan.store.database import Database
from fimscan.store.registry import Subject
from fimscan.store.session import Session
from tests.support import rule

octets = st.binary(max_size=12)
unknown_or = st.none() | octets
numbers = st.none() | st.integers(0, 2**32 - 1)
names = st.none() | st.text(max_size=8)
events = st.builds(EventId, st.integers(0, 2**53), st.integers(0, 2**32), st.text(max_size=5))
logins = st.builds(
    LoginOrigin, st.sampled_from(LoginSource), numbers, names, numbers, unknown_or, names, st.none() | events
)
views = st.builds(
    ProcessView,
    st.sampled_from(ExeOrigin),
    st.none() | st.tuples(st.integers(0, 2**32), st.integers(0, 2**63)),
    names,
    numbers,
    unknown_or,
    st.integers(0, 2**62),
)
actors = st.builds(
    Actor,
    pid=st.integers(0, 2**22),
    ppid=numbers,
    exe=unknown_or,
    comm=unknown_or,
    cmdline=st.none() | st.lists(octets, max_size=3).map(tuple),
    cwd=unknown_or,
    auid=numbers,
    login_user=names,
    uid=numbers,
    user=names,
    euid=numbers,
    session=numbers,
    tty=names,
    syscall=names,
    flags=st.lists(st.sampled_from(["O_WRONLY", "O_CREAT"]), max_size=2).map(tuple),
    time_ns=numbers,
    event=st.none() | events,
    key=names,
    role=st.none() | st.sampled_from(Role),
    since_ns=numbers,
    login=st.none() | logins,
    view=st.none() | views,
)
gaps = st.builds(
    Gap,
    start_ns=st.integers(0, 2**62),
    end_ns=st.integers(0, 2**62),
    reason=st.sampled_from(GapReason),
    lost=numbers,
)


@given(st.lists(actors, max_size=3).map(tuple))
def test_actors_survive(some: tuple[Actor, ...]) -> None:
    """Command lines of any bytes, unset logins, processes without an event."""
    assert codec.load_actors(codec.dump_actors(some)) == some


rulings = st.builds(
    Ruling,
    actor=actors,
    action=st.none() | st.sampled_from(Action),
    why=st.sampled_from(Why),
    calls=st.integers(1, 10**6),
    first_ns=numbers,
    events=st.lists(events, max_size=3).map(tuple),
)


attributions = st.builds(
    Attribution,
    verdict=st.sampled_from(Verdict),
    reason=st.none() | st.sampled_from(Reason),
    actors=st.lists(actors, max_size=2).map(tuple),
    coverage=st.builds(Coverage, complete=st.booleans(), gaps=st.lists(gaps, max_size=2).map(tuple)),
    notes=st.lists(st.text(max_size=9), max_size=2).map(tuple),
    reasoning=st.none()
    | st.builds(
        Reasoning,
        rulings=st.lists(rulings, max_size=2).map(tuple),
        omitted=st.integers(0, 9),
        last_change_ns=numbers,
    ),
)


@given(attributions)
def test_attributions_survive(attribution: Attribution) -> None:
    """The stored answer is the one that is shown later."""
    assert codec.load_attribution(codec.dump_attribution(attribution)) == attribution


_CALL = Actor(pid=7, exe=b"/usr/bin/dpkg", time_ns=1, event=EventId(1, 2, "web1"))
_FINAL = Actor(pid=7, exe=b"/usr/bin/dpkg", time_ns=3, event=EventId(3, 4, "web1"), role=Role.PLACER)
_OTHER = Actor(pid=8, comm=b'"time_ns":5,"event":[5,6,', time_ns=7, event=EventId(7, 8, ""))


def _answer(shift: int, *, omitted: int = 0, last_change_ns: int | None = 9, calls: int = 1) -> Attribution:
    """One of many answers that differ in their times and events only, ``shift`` apart."""
    first, final, other = (
        one._replace(
            time_ns=one.time_ns + shift, event=EventId(one.event[0] + shift, one.event[1] + shift, one.event[2])
        )
        for one in (_CALL, _FINAL, _OTHER)
        if one.time_ns is not None and one.event is not None
    )
    considered = (
        _ruling(final, Action.RENAME, Why.PLACED),
        _ruling(first, Action.CREATE, Why.WRITE_ACCESS),
        _ruling(other, Action.CHMOD, Why.NO_PART, calls),
    )
    reasoning = Reasoning(considered, omitted, None if last_change_ns is None else last_change_ns + shift)
    return Attribution(Verdict.CONFIRMED, None, (first, final), Coverage(complete=True), (), reasoning)


def _ruling(actor: Actor, action: Action, why: Why, calls: int = 1) -> Ruling:
    assert actor.event is not None
    return Ruling(actor, action, why, calls, actor.time_ns, (actor.event,))


@settings(max_examples=20)
@given(st.lists(attributions, max_size=3))
def test_many_attributions_are_loaded_as_each_by_itself(others: list[Attribution]) -> None:
    """What is shared between answers is never a time, an event, or anything else that differs."""
    lone = Attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT)
    answers = [
        *(_answer(shift) for shift in (0, 100, 200)),
        *(_answer(shift, last_change_ns=None) for shift in (0, 100)),
        *(_answer(shift, omitted=shift) for shift in (1, 2, 1)),
        *(_answer(shift, calls=2) for shift in (0, 100)),
        *(_answer(shift)._replace(reasoning=None) for shift in (0, 100)),
        *(_answer(shift)._replace(coverage=Coverage(False, (_gap(shift),))) for shift in (0, 100)),
        *(_answer(0)._replace(coverage=Coverage(False, gaps)) for gaps in _pairs_of_gaps()),
        *(_answer(0)._replace(notes=(text,)) for text in ("one", 'and ,"reasoning":[1,')),
        lone,
        lone,
        *others,
    ]
    reader = codec.AttributionReader()
    texts = [codec.dump_attribution(answer) for answer in answers]
    loaded = [reader.load(text) for text in (*texts, *texts)]
    assert loaded == [*answers, *answers]
    brief = codec.AttributionReader(with_reasoning=False)
    assert [brief.load(text) for text in (*texts, *texts)] == [
        answer._replace(reasoning=None) for answer in (*answers, *answers)
    ]
    for one in (*loaded, *map(brief.load, texts)):
        assert _without_moments(one.pattern) == _without_moments(one)
        altered = one._replace(actors=())
        assert altered.pattern is altered


def _without_moments(answer: Attribution) -> Attribution:
    """An answer without what may differ between those of one pattern."""
    actors = tuple(actor._replace(time_ns=None, event=None) for actor in answer.actors)
    return answer._replace(actors=actors, coverage=Coverage(answer.coverage.complete), reasoning=None)


def test_answers_by_one_process_have_one_pattern() -> None:
    """Whatever is asked once for a pattern is then asked once for thousands of answers."""
    reader = codec.AttributionReader()
    loaded = [reader.load(codec.dump_attribution(_answer(shift))) for shift in (0, 100, 200)]
    assert len({id(one.pattern) for one in loaded}) == 1
    assert len({one.actors for one in loaded}) == 3


def _gap(shift: int) -> Gap:
    actor = _CALL._replace(time_ns=shift, event=EventId(shift, 1, ""))
    return Gap(start_ns=1, end_ns=2, reason=GapReason.RULE_REMOVED, actor=actor)


def _pairs_of_gaps() -> Iterator[tuple[Gap, Gap]]:
    for shift in (0, 100, 200):
        yield replace(_gap(0), start_ns=shift), _gap(7)
        yield _gap(7), replace(_gap(0), end_ns=shift)


doubts = st.builds(Doubt, why=st.sampled_from(Unseen), actor=st.none() | actors, rights=st.none())
pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=2).map(tuple)
ids = st.lists(st.integers(0, 2**32), max_size=2).map(tuple)
rights = st.builds(Rights, uids=ids, gids=st.none() | ids, any_file=st.booleans(), owned=pairs)


@given(st.lists(st.builds(Doubt, why=st.sampled_from(Unseen), actor=st.none() | actors, rights=rights), max_size=3))
def test_doubts_survive(found: list[Doubt]) -> None:
    """The rights of a doubtful process are stored with the doubt."""
    assert codec.load_doubts(codec.dump_doubts(found)) == tuple(found)


@given(
    st.none()
    | st.builds(
        Holders,
        as_of_ns=st.integers(0, 2**63),
        actors=st.lists(actors, max_size=2).map(tuple),
        later_ns=st.integers(1, 2**63),
        later=st.lists(actors, max_size=2).map(tuple),
        earlier=st.lists(actors, max_size=1).map(tuple),
        doubts=st.lists(doubts, max_size=2).map(tuple),
        earlier_doubts=st.lists(doubts, max_size=1).map(tuple),
    )
)
def test_holders_survive(holders: Holders | None) -> None:
    """Holders are stored with their change; "not inspected" differs from "no holder"."""
    assert codec.load_holders(codec.dump_holders(holders)) == holders


@given(octets, numbers, st.none() | st.text(max_size=5))
def test_observations_survive(scope: bytes, lost: int | None, error: str | None) -> None:
    """Rules for any path, and failed observations."""
    rules: tuple[AuditRule, ...] = (rule(scope), rule(scope, key=None, arches=frozenset()))
    seen = AuditObservation(
        time_ns=5, boot_id="b", boottime_ns=3, lost=lost, rules=rules, suppressed=("never",), error=error
    )
    assert codec.load_observation(5, codec.dump_observation(seen)) == seen


xattrs = st.builds(Xattr, name=octets, size=st.integers(0, 65536), data=octets)
# (digest, attributes): those of a file without any, with some, and of one that was recorded when nothing else was.
extended = st.just((None, ())) | st.tuples(octets, st.none() | st.lists(xattrs, min_size=1, max_size=3).map(tuple))


@st.composite
def with_xattrs(draw: st.DrawFn, plain: st.SearchStrategy[FileState]) -> FileState:
    digest, found = draw(extended)
    return replace(draw(plain), xattr_digest=digest, xattrs=found)


states = st.builds(
    FileState,
    path=octets.map(lambda name: b"/" + name),
    kind=st.sampled_from(FileKind),
    dev=st.integers(0, 2**64 - 1),
    inode=st.integers(0, 2**64 - 1),
    nlink=st.integers(0, 2**32),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    size=st.integers(0, 2**62),
    mtime_ns=st.integers(-(2**70), 2**70),
    ctime_ns=st.integers(-(2**70), 2**70),
    digests=st.just(()) | octets.map(lambda v: (Digest(algorithm="xxh3_128", value=v),)),
    link_target=unknown_or,
    flags=st.none() | st.integers(0, 2**31 - 1),
    read_start_ns=st.integers(0, 2**62),
    read_end_ns=st.integers(0, 2**62),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some=st.lists(with_xattrs(states), max_size=8, unique_by=lambda s: s.path),
    parameters=st.sampled_from([30, 60, 999]),
)
def test_file_states_survive_the_database(tmp_path: Path, some: list[FileState], parameters: int) -> None:
    """64-bit inodes, times before 1970 and after 2262, paths of any bytes: they load equal, in order of path.

    The number of rows per statement does not matter. The digest given to the journal is that of the stored rows.
    """
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    with database.engine.connect() as connection:
        transaction = connection.begin()
        session = Session(connection, database.host_id)
        scan_id = scans.begin(session, trigger="manual", started_ns=1, config_digest="d", config_text="{}")
        begun = version_writer.NewVersions(scan_id)
        with patch.object(version_writer, "_PARAMETERS", parameters):
            for part, adopted in ((some[::2], True), (some[1::2], False)):
                begun.add(map(pack, part), adopted=adopted)
                begun.write(session)
        read = {item.subject: item.digest for item in row_digests.of_scan(session, scan_id)}
        assert read.get(Subject.BEGUN) == begun.digest
        found = [version.state for version in files.as_of(session, scan_id)]
        transaction.rollback()
    database.close()
    assert found == sorted(some, key=lambda s: s.path)
