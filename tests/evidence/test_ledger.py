"""The chain of scans and the digests of states."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from fimscan.evidence.inputs import BundleInput
from fimscan.model import Digest, FileKind, FileState, Prefix, Scan, Xattr
from fimscan.state_row import ALGORITHMS
from fimscan.store.ledger import (
    GENESIS,
    StateDigest,
    entry,
    ledger_lines,
    replay,
    replay_lines,
    state_digest,
    summary_line,
)

OTHER: dict[str, object] = {
    "path": b"/other",
    "kind": FileKind.FIFO,
    "dev": 1,
    "inode": 2,
    "nlink": 3,
    "mode": 0o4755,
    "uid": 5,
    "gid": 6,
    "size": 7,
    "mtime_ns": -1,
    "ctime_ns": 1 << 70,
    "digests": (Digest(algorithm="xxh3_128", value=b"1"),),
    "link_target": b"",
    "xattr_digest": b"",
    "xattrs": (Xattr(name=b"user.a", size=1, data=b"1"),),
    "flags": 0,
    "read_start_ns": 9,
    "read_end_ns": 9,
    "prefix": Prefix(size=1, digests=()),
}
NOT_RECORDED = {"read_start_ns", "read_end_ns", "prefix"}


@pytest.mark.parametrize("name", sorted(field.name for field in fields(FileState)))
def test_every_field_counts_that_is_recorded(state_of: Callable[..., FileState], name: str) -> None:
    """A state digest depends on every recorded field, but not on the reading time."""
    state = state_of(b"/a")
    changed = state_of(**{"path": b"/a", name: OTHER[name]})
    assert (state_digest(state) == state_digest(changed)) == (name in NOT_RECORDED)


texts = st.binary(max_size=6)
digests = st.dictionaries(st.sampled_from(ALGORITHMS), texts).map(
    lambda taken: [Digest(algorithm=name, value=taken[name]) for name in ALGORITHMS if name in taken]
)
parts = st.tuples(texts, st.none() | texts, st.none() | texts, digests.map(tuple))


@given(parts, parts, st.tuples(st.integers(), st.integers()), st.tuples(st.integers(), st.integers()))
def test_no_two_states_share_an_encoding(
    one: tuple[bytes, bytes | None, bytes | None, tuple[Digest, ...]],
    other: tuple[bytes, bytes | None, bytes | None, tuple[Digest, ...]],
    numbers: tuple[int, int],
    other_numbers: tuple[int, int],
) -> None:
    """Moving bytes from one field to the next changes the digest."""
    states = []
    for (path, target, xattr, taken), (size, mtime) in ((one, numbers), (other, other_numbers)):
        known: dict[str, Any] = {"dev": 1, "inode": 1, "nlink": 1, "mode": 0, "uid": 0, "gid": 0, "ctime_ns": 0}
        times: dict[str, Any] = {"read_start_ns": 0, "read_end_ns": 0, "mtime_ns": mtime, "size": size}
        states.append(
            FileState(
                path=path, kind=FileKind.FILE, link_target=target, xattr_digest=xattr, digests=taken, **known, **times
            )
        )
    assert (states[0] == states[1]) == (state_digest(states[0]) == state_digest(states[1]))


def test_the_documented_encoding(state_of: Callable[..., FileState]) -> None:
    """The encoding is what the documentation says: others can compute it, and old ledgers stay valid."""
    state = state_of(b"/a", b"x", digests=(Digest(algorithm="blake3", value=b"\1\2"),), link_target=b"to")
    text = b"fimscan.state/1 file 65024 7 1 420 0 42 1 %d %d 2:/a,2:to,-,6:blake3,2:\1\2," % ((state.mtime_ns,) * 2)
    assert state_digest(state) == hashlib.sha256(text).digest()


def test_the_documented_encoding_of_what_came_later(state_of: Callable[..., FileState]) -> None:
    """States with attributes and flags have a second encoding, so older states keep their digests."""
    xattrs = (Xattr(name=b"user.a", size=70, data=b"\3"), Xattr(name=b"user.b", size=0, data=b""))
    state = state_of(b"/a", b"x", digests=(), xattr_digest=b"\1", xattrs=xattrs, flags=16)
    fields = b"file 65024 7 1 420 0 42 1 %d %d 2:/a,-,1:\1," % ((state.mtime_ns,) * 2)
    inner = b"6:user.a,70 1:\3,6:user.b,0 0:,"
    text = b"fimscan.state/2 %b16 %d:%b," % (fields, len(inner), inner)
    assert state_digest(state) == hashlib.sha256(text).digest()
    unknown = replace(state, xattrs=None, flags=None)
    assert state_digest(unknown) == hashlib.sha256(b"fimscan.state/1 " + fields).digest()


def test_a_complete_state_is_digested_in_order() -> None:
    """The digest of a complete state is SHA-256 over the files' digests one after the other."""
    running = StateDigest()
    running.add(b"a" * 32)
    running.add(b"b" * 32)
    assert running.hexdigest() == hashlib.sha256(b"a" * 32 + b"b" * 32).hexdigest()


def test_an_entry_by_hand(bundle_input: Callable[..., BundleInput]) -> None:
    """printf and sha256sum make the same entry, for a host name with quotes, backslashes and tabs too."""
    scan = replace(bundle_input().scans[0], host="a\\n\t'\"%s$(x)é\udcff")
    summary, state = summary_line(scan), "5" * 64
    command = ["sh", "-c", r"""printf '%s\n%s\n%s\n' "$1" "$2" "$3" | sha256sum""", "sh", GENESIS, summary, state]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    assert entry(GENESIS, summary, state) == printed


def test_a_summary_is_canonical(scan_at: Callable[..., Scan]) -> None:
    """One line of ASCII, independent of the order of the counts."""
    scan = replace(scan_at(7, 12, host="hé\n"), counts={"b": 2, "a": 1}, config_digest="c")
    assert summary_line(scan) == summary_line(replace(scan, counts={"a": 1, "b": 2}))
    assert summary_line(scan) == (
        '{"config_digest":"c","counts":{"a":1,"b":2},"finished_ns":12,"host":"h\\u00e9\\n","id":7,'
        '"started_ns":-999999988,"trigger":"schedule"}'
    )


def test_a_whole_chain_has_no_problems(bundle_input: Callable[..., BundleInput]) -> None:
    """A chain with an interrupted scan in it holds; that scan has no line in it."""
    scans = bundle_input().scans
    assert replay(scans) == []
    assert [line.scan for line in ledger_lines(scans)] == [1, 2, 4]


@pytest.mark.parametrize(
    "change",
    [
        {"host": "other"},
        {"trigger": "manual"},
        {"started_ns": 1},
        {"finished_ns": 2},
        {"counts": {"files": 2}},
        {"config_digest": "0" * 64},
        {"state_digest": "0" * 64},
        {"previous": "1" * 64},
        {"entry": "2" * 64},
        {"id": 40},
    ],
)
@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_altered_scan_is_named(bundle_input: Callable[..., BundleInput], change: dict[str, object], at: int) -> None:
    """An alteration of any field of any scan is detected, and a scan is named."""
    scans = list(bundle_input().scans)
    scans[at] = replace(scans[at], **change)
    assert any("scan" in problem for problem in replay(scans))


def test_a_missing_scan_is_noticed(bundle_input: Callable[..., BundleInput]) -> None:
    """Removing a scan at the beginning or in the middle breaks the chain at that point."""
    scans = list(bundle_input().scans)
    assert replay(scans[1:]) == ["scan 2 does not follow the start of the chain: a scan is missing, or was altered"]
    assert replay([scans[0], scans[3]]) == [
        "scan 4 does not follow the entry of scan 1: a scan is missing, or was altered"
    ]


def test_a_scan_twice_is_noticed(bundle_input: Callable[..., BundleInput]) -> None:
    """One scan listed twice is a problem, not a longer chain."""
    scans = list(bundle_input().scans)
    assert replay([*scans, scans[-1]])


def test_lines_out_of_order_are_noticed(
    scan_at: Callable[..., Scan], chained: Callable[[list[Scan], list[str]], list[Scan]]
) -> None:
    """Scans whose numbers go back are a problem even where the digests follow each other."""
    scans = chained([scan_at(2, 1), scan_at(1, 2)], ["0" * 64, "1" * 64])
    assert replay_lines(ledger_lines(scans)) == ["scan 1 comes after scan 2 in the ledger"]
