"""A unified diff is correct for any two texts, and is made in bounded time."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.contents.unified import NO_NEWLINE, unified


def applied(old: bytes, lines: tuple[bytes, ...]) -> bytes:
    """What patch(1) makes of the old text."""
    source = old.split(b"\n")
    source = [line + b"\n" for line in source[:-1]] + ([source[-1]] if source[-1] else [])
    result: list[bytes] = []
    at = 0
    for number, line in enumerate(lines):
        body = line[1:]
        ends = b"" if lines[number + 1 : number + 2] == (NO_NEWLINE,) else b"\n"
        if line.startswith(b"@@"):
            begin, _, count = line.split()[1][1:].partition(b",")
            start = int(begin) - (count != b"0")
            result += source[at:start]
            at = start
        elif line.startswith((b" ", b"-")):
            assert source[at] == body + ends, "context and removals are lines of the old text"
            result += [source[at]] if line.startswith(b" ") else []
            at += 1
        elif line.startswith(b"+"):
            result.append(body + ends)
        else:
            assert line == NO_NEWLINE
    return b"".join([*result, *source[at:]])


few_lines = st.lists(st.sampled_from([b"a", b"b", b"", b"c\r", b"\xff", b"@@ -1 +1 @@", b"-x", b"\\ No"]), max_size=30)
texts = st.one_of(st.binary(max_size=200), few_lines.map(b"\n".join))


@given(texts, texts, st.sampled_from([0, 10, 300_000]))
def test_the_diff_applied_to_the_old_text_gives_the_new_one(old: bytes, new: bytes, budget: int) -> None:
    """For any bytes, line ends and budget."""
    found = unified(old, new, budget)
    assert applied(old, found.lines) == new
    assert bool(found.lines) == (old != new)


@given(few_lines, few_lines)
def test_a_diff_is_no_longer_than_the_texts(old: list[bytes], new: list[bytes]) -> None:
    """No line is both removed and added at the same place."""
    found = unified(b"\n".join(old), b"\n".join(new))
    changed = [line for line in found.lines if line[:1] in (b"+", b"-")]
    assert len(changed) <= len(old) + len(new)


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (b"a\nb\nc\n", b"a\nB\nc\n", (b"@@ -1,3 +1,3 @@", b" a", b"-b", b"+B", b" c")),
        (b"", b"x\n", (b"@@ -0,0 +1 @@", b"+x")),
        (b"x\n", b"", (b"@@ -1 +0,0 @@", b"-x")),
        (b"x", b"x\n", (b"@@ -1 +1 @@", b"-x", NO_NEWLINE, b"+x")),
        (b"x\r\n", b"x\n", (b"@@ -1 +1 @@", b"-x\r", b"+x")),
    ],
)
def test_it_is_written_as_diff_does(old: bytes, new: bytes, lines: tuple[bytes, ...]) -> None:
    """Hunks, missing newlines, empty texts, line ends."""
    assert unified(old, new).lines == lines


def test_what_lies_apart_is_in_hunks_of_its_own() -> None:
    """With three lines around each."""
    old = b"".join(b"%d\n" % number for number in range(40))
    new = old.replace(b"\n5\n", b"\nfive\n").replace(b"\n30\n", b"\n")
    heads = [line for line in unified(old, new).lines if line.startswith(b"@@")]
    assert heads == [b"@@ -3,7 +3,7 @@", b"@@ -28,7 +28,6 @@"]


@pytest.mark.parametrize("kinds", [2, 3, 50])
def test_the_time_of_a_comparison_is_bounded(kinds: int) -> None:
    """Many lines that all occur often: difflib takes minutes for them. The diff then says that it is longer."""
    chosen = random.Random(1)
    old, new = (b"".join(b"%d\n" % chosen.randrange(kinds) for _ in range(100_000)) for _ in range(2))
    begun = time.process_time()
    found = unified(old, new)
    assert time.process_time() - begun < 5
    assert found.is_cut
    assert applied(old, found.lines) == new


def test_an_ordinary_large_change_is_short() -> None:
    """Unique lines are found without a budget."""
    lines = [b"setting %d\n" % number for number in range(20_000)]
    new = [line for number, line in enumerate(lines) if number % 100]
    found = unified(b"".join(lines), b"".join(new), budget=1000)
    assert not found.is_cut
    assert sum(line.startswith(b"-") for line in found.lines) == 200
    assert not any(line.startswith(b"+") for line in found.lines)
