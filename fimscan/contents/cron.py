"""Facts of crontab(5): jobs with their time, user and program. Arguments are not told: they may hold passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from fimscan.contents.lines import came_and_went
from fimscan.model.texts import TextFact, TextFactKind

_VARIABLE = re.compile(rb"[\"']?([A-Za-z_]\w*)[\"']?\s*=(.*)", re.DOTALL)
_FIELDS = 5


class _Job(NamedTuple):
    when: bytes
    user: bytes
    command: bytes


def _parsed(text: bytes, user: bytes | None) -> tuple[list[_Job], dict[bytes, bytes]]:
    jobs: list[_Job] = []
    variables: dict[bytes, bytes] = {}
    for raw in text.split(b"\n"):
        line = raw.strip()
        if not line or line.startswith(b"#"):
            continue
        if match := _VARIABLE.fullmatch(line):
            variables[match[1]] = match[2].strip()
            continue
        count = 1 if line.startswith(b"@") else _FIELDS
        parts = line.split(None, count if user is not None else count + 1)
        if len(parts) > count + (user is None):
            named = user if user is not None else parts[count]
            jobs.append(_Job(b" ".join(parts[:count]), named, parts[-1]))
    return jobs, variables


def system_facts(_path: bytes, before: bytes, after: bytes) -> Iterator[TextFact]:
    """Jobs of /etc/crontab and /etc/cron.d, which have a user."""
    yield from _facts(_parsed(before, None), _parsed(after, None))


def user_facts(path: bytes, before: bytes, after: bytes) -> Iterator[TextFact]:
    """Jobs of a user's own crontab."""
    user = path.rpartition(b"/")[2]
    yield from _facts(_parsed(before, user), _parsed(after, user))


def _facts(
    before: tuple[list[_Job], dict[bytes, bytes]], after: tuple[list[_Job], dict[bytes, bytes]]
) -> Iterator[TextFact]:
    added, removed = came_and_went(before[0], after[0])
    for job in added:
        yield _fact(TextFactKind.JOB_ADDED, job)
    for job in removed:
        yield _fact(TextFactKind.JOB_REMOVED, job)
    for name in sorted(before[1].keys() | after[1].keys()):
        if before[1].get(name) != after[1].get(name):
            yield TextFact(kind=TextFactKind.VARIABLE_CHANGED, subject=name)


def _fact(kind: TextFactKind, job: _Job) -> TextFact:
    program, *rest = job.command.split(None, 1)
    told = [] if b"=" in program else [program]  # FOO=secret program
    subject = b" ".join([*told, b"..."] if rest or not told else told)
    return TextFact(kind=kind, subject=subject, attribute=job.when, after=job.user)
