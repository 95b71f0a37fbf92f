"""The HTML report: one self-contained file without scripts, to mail, print, or add to evidence."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from typing import TextIO

from jinja2 import Environment, StrictUndefined

from fimscan.model import Diff, FileState, Finding, Verdict, device_text
from fimscan.report.actor_text import ActorText, actor_texts
from fimscan.report.attributes import NAMED, flags_text, named_text, other_texts
from fimscan.report.configuration import configuration_lines
from fimscan.report.differences import differences
from fimscan.report.display import minute_text, mode_octal, owner_text, show, time_text
from fimscan.report.packages import is_alarming, package_words
from fimscan.report.words import (
    RANK_WORDS,
    by_rank,
    doubts,
    headline,
    introduction,
    log_lines,
    number_text,
    plural,
    rank,
    unmodified_heading,
    unreadable_groups,
    unreadable_text,
    verdict_code,
    verdict_counts,
    vouched_text,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """One change and its attribution as text. ``scan`` found it; ``number`` is empty if it is not stored."""

    scan: int
    kind: str
    number: str
    differences: tuple[str, ...]
    verdict: str
    code: str
    introduction: str | None
    actor_texts: tuple[ActorText, ...]
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One changed path: its answer, the answers of its steps, and (name, before, after) of every recorded field.

    ``severity`` is empty if no watch covers the path. ``package`` says whether the file is what its package shipped;
    it is empty if that is unknown; ``is_loud`` says that it deserves attention.
    """

    path: str
    severity: str
    package: str
    is_loud: bool
    answer: _Answer
    steps: tuple[_Answer, ...]
    details: tuple[tuple[str, str, str], ...]


def write_html(diff: Diff, out: TextIO) -> None:
    """Write a diff as one HTML 5 page, UTF-8, most alarming rows first."""
    # Every value is escaped twice: by show() against characters that reorder or hide text, and by autoescape.
    source = resources.files("fimscan.report").joinpath("diff.html.j2").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    sections = [
        (f"{RANK_WORDS[place]} ({plural(len(rows), 'row')})", rows)
        for place, rows in ((place, [_row(row) for row in found]) for place, found in groupby(by_rank(diff), key=rank))
    ]
    page = environment.from_string(source).stream(
        host=show(diff.host),
        headline=headline(diff),
        seen=", ".join(
            filter(None, (f"as of scan {diff.end.id} ({minute_text(diff.end.started_ns)})", vouched_text(diff.end)))
        ),
        counts=verdict_counts(diff),
        logs=log_lines(diff),
        configuration=[list(configuration_lines(item)) for item in diff.reconfigurations],
        sections=sections,
        unreadable=[
            (heading, [(show(item.path), unreadable_text(item)) for item in items])
            for heading, items in unreadable_groups(diff)
        ],
        opened_heading=unmodified_heading(diff),
        opened=[
            (show(item.path), actor_texts(item.actors, Verdict.CONFIRMED, None)) for item in diff.opened_unmodified
        ],
    )
    out.writelines(page)
    out.write("\n")


def _row(finding: Finding) -> _Row:
    return _Row(
        path=show(finding.change.path),
        severity=finding.severity or "",
        package=", ".join(package_words(finding.package)),
        is_loud=is_alarming(finding.package),
        answer=_answer(finding),
        steps=tuple(map(_answer, finding.steps)) if len(finding.steps) > 1 else (),
        details=_details(finding.change.before, finding.change.after),
    )


def _answer(finding: Finding) -> _Answer:
    attribution = finding.attribution
    done = actor_texts(attribution.actors, attribution.verdict, finding.change)
    return _Answer(
        scan=finding.scan,
        kind=finding.change.kind,
        number=number_text(finding.change),
        differences=differences(finding.change),
        verdict=attribution.verdict,
        code=verdict_code(attribution),
        introduction=introduction(attribution, len(done)),
        actor_texts=done,
        doubts=doubts(attribution, finding.change),
    )


def _details(before: FileState | None, after: FileState | None) -> tuple[tuple[str, str, str], ...]:
    old, new = _recorded(before), _recorded(after)
    return tuple((name, old.get(name, ""), new.get(name, "")) for name in old | new)


_HTML_NAMES = {
    "uid": "owner",
    "inode": "device, inode",
    "nlink": "links",
    "mtime_ns": "mtime",
    "ctime_ns": "ctime",
}


def _recorded(state: FileState | None) -> dict[str, str]:
    if state is None:
        return {}
    xattr = {} if state.xattr_digest is None else {"xattr_sha256": state.xattr_digest.hex()}
    target = {} if state.link_target is None else {"link_target": show(state.link_target)}
    unknown = {_HTML_NAMES.get(name, name) for name in state.unknown}
    found = {
        "path": show(state.path),
        "kind": state.kind,
        "size": str(state.size),
        "mode": mode_octal(state.mode),
        "owner": owner_text(state.uid, state.gid),
        "device, inode": f"{device_text(state.dev)}, {state.inode}",
        "links": str(state.nlink),
        "mtime": time_text(state.mtime_ns),
        "ctime": time_text(state.ctime_ns),
        "read": f"{time_text(state.read_start_ns)} to {time_text(state.read_end_ns)}",
        **{digest.algorithm: digest.value.hex() for digest in state.known_digests},
        **xattr,
        **{field: text for field in NAMED if (text := named_text(state, field)) is not None},
        **(other_texts(state) or {}),
        **({"flags": text} if (text := flags_text(state)) else {}),
        **target,
    }
    return {name: text for name, text in found.items() if name not in unknown}
