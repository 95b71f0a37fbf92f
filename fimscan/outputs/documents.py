"""What scans found -> messages: documents of the schema ``fimscan.message/1``, of bounded size."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fimscan.grouping import ChangeSet, Grouping, RankedRow
from fimscan.model import (
    ChangeKind,
    Diff,
    Finding,
    MessageKind,
    NewMessage,
    Scan,
    Severity,
    Unreadable,
    Verdict,
)
from fimscan.report.change_sets import process_in_short, user_in_short
from fimscan.report.differences import differences
from fimscan.report.display import json_text, show, time_text
from fimscan.report.documents.change_sets import rank_document, set_document
from fimscan.report.documents.diff import row_document
from fimscan.report.documents.packages import package_document
from fimscan.report.documents.parts import unreadable_document
from fimscan.report.words import plural

MAX_BYTES = 128 * 1024
"""The most bytes of a message as JSON."""

SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
_UNCOVERED: Severity = "high"  # of a change that no watch covers any more
_TEXT, _ITEMS = 5500, 16  # a path has up to 4,096 bytes, which are 5,464 characters in base64
_SHORT_TEXT, _FEW_ITEMS = 200, 3
_MOST_SETS, _SET_TEXT = 20, 1000
_NAMED = 3


class Wanted(Struct, frozen=True, kw_only=True):
    """Which messages an output gets: the keys of ``[[output]]``. Empty ``verdicts`` and ``kinds`` are all of them."""

    output: str
    per_set: bool = True
    min_severity: Severity = "low"
    verdicts: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    only_look: bool = False
    problems: bool = True
    all_is_well: bool = False
    max_changes: int = 20

    def has(self, finding: Finding) -> bool:
        """Whether the output is to be told of a change."""
        severity = finding.severity or _UNCOVERED
        return (
            SEVERITIES.index(severity) >= SEVERITIES.index(self.min_severity)
            and (not self.verdicts or finding.attribution.verdict.value in self.verdicts)
            and (not self.kinds or finding.change.kind.value in self.kinds)
        )


class Found(Struct, frozen=True, kw_only=True):
    """What scans found: their changes, ranked and grouped; files that could not be read; other problems.

    Each change of each scan is a finding of its own in ``diff``. ``is_first``: the first of the scans is the baseline.
    ``is_complete``: one of them looked at all monitored files. ``standing`` says what is still not as it should be.
    ``selftest`` has the numbers of changes that a selftest made itself, and that were proven to be its own.
    """

    diff: Diff
    grouping: Grouping
    unreadable: tuple[Unreadable, ...] = ()
    problems: tuple[str, ...] = ()
    is_first: bool = False
    is_complete: bool = True
    standing: tuple[str, ...] = ()
    selftest: frozenset[int] = frozenset()


def messages(found: Found, wanted: Wanted, make_id: Callable[..., str]) -> list[NewMessage]:
    """The messages to one output; ``make_id`` makes an id of parts, the same one for the same parts."""
    made = [(document, rows) for document, rows in _documents(found, wanted) if document is not None]
    if not made and wanted.all_is_well and found.is_complete:
        made = [(_all_is_well(found), ())]
    scan = found.diff.end
    result = []
    for number, (document, rows) in enumerate(made):
        document["id"] = make_id(scan.entry, wanted.output, number)
        kind = MessageKind(document["kind"])
        urgent = bool(document["summary"]["look"]) or kind in (MessageKind.PROBLEMS, MessageKind.BASELINE)
        urgent = urgent or bool(document["unreadable"] or document["problems"])
        changes = tuple(row.finding.change.id for row in rows)
        result.append(
            NewMessage(
                id=document["id"], kind=kind, scan=scan.id, urgent=urgent, body=packed(document), changes=changes
            )
        )
    return result


def packed(document: dict[str, Any]) -> bytes:
    """A document as JSON of at most :data:`MAX_BYTES`: changes are left out, then texts are cut."""
    while len(data := json.dumps(document).encode()) > MAX_BYTES:
        if not drop_rows(document):
            return json.dumps(bounded(document, text=_SHORT_TEXT, items=_FEW_ITEMS)).encode()
    return data


def drop_rows(document: dict[str, Any]) -> bool:
    """Leave out half of the listed changes and files, the least urgent ones; ``False`` if there is nothing left."""
    counts = [len(item["listed"]) for item in document["sets"]]
    if sum(counts) > 1:
        keep = sum(counts) // 2
        for item in document["sets"]:
            listed = item["listed"][:keep]
            item["more"] += len(item["listed"]) - len(listed)
            item["listed"] = listed
            keep -= len(listed)
        return True
    if len(document["sets"]) > 1:
        left_out = len(document["sets"]) - len(document["sets"]) // 2
        document["sets"] = document["sets"][:-left_out]
        document["more_sets"] += left_out
        return True
    for key in ("unreadable", "problems", "configuration"):
        if len(document[key]) > 1:
            left_out = len(document[key]) - len(document[key]) // 2
            document[key] = document[key][:-left_out]
            document["more"] += left_out
            return True
    return False


def bounded(value: Any, *, text: int = _TEXT, items: int = _ITEMS) -> Any:
    """A JSON value with texts and lists of bounded length."""
    if isinstance(value, str):
        return value if len(value) <= text else f"{value[: text - 1]}…"
    if isinstance(value, list):
        return [bounded(item, text=text, items=items) for item in value[:items]]
    if isinstance(value, dict):
        return {key: bounded(item, text=text, items=items) for key, item in value.items()}
    return value


def plain_document(
    kind: MessageKind, host: str, subject: str, time_ns: int, scan: Scan | None, signing_key: str | None
) -> dict[str, Any]:
    """A document without changes; the caller adds its ``id``. ``signing_key`` is the fingerprint, if there is a key."""
    return {
        "schema": "fimscan.message/1",
        "id": "",
        "kind": kind.value,
        "host": json_text(host),
        "time": time_text(time_ns),
        "subject": f"{show(host)}: {subject}",
        "severity": None,
        "from_scan": None,
        "to_scan": None if scan is None else scan.id,
        "head": None if scan is None else {"scan": scan.id, "entry": scan.entry},
        "signing_key": signing_key,
        "summary": _summary(()),
        "sets": [],
        "more_sets": 0,
        "unreadable": [],
        "problems": [],
        "configuration": [],
        "more": 0,
    }


def add_problem_lines(document: dict[str, Any], lines: Sequence[str]) -> None:
    """Add lines about problems to a document without changes."""
    document["problems"] = [bounded(json_text(text)) for text in lines[:_ITEMS]]
    document["more"] = len(lines[_ITEMS:])


# --------------------------------------------------------------------------------------------------------------------


def _documents(found: Found, wanted: Wanted) -> Iterator[tuple[dict[str, Any] | None, Sequence[RankedRow]]]:
    """Yield documents with all the rows that they are about, also those that they do not list."""
    chosen = list(_chosen_sets(found.grouping, wanted))
    if found.is_first:
        yield _baseline(found), ()
    if wanted.per_set:
        for item in chosen:
            yield _of_sets(found, [item], wanted, alone=True), item.rows
        if wanted.problems:
            yield _of_problems(found), ()
    else:
        yield _of_sets(found, chosen, wanted, alone=False), [row for item in chosen for row in item.rows]


def _all_is_well(found: Found) -> dict[str, Any]:
    """What is said when there is nothing else to say. All is well only if nothing waits, or is left out."""
    left_out = len(found.grouping.rows) + len(found.unreadable) + len(found.problems)
    words = [*([plural(left_out, "finding") + " not for this output"] if left_out else []), *found.standing]
    if not words:
        return _base(found, MessageKind.ALL_IS_WELL, "all is well")
    document = _base(found, MessageKind.ALL_IS_WELL, f"nothing new; still {', '.join(words)}")
    return {**document, "severity": "low"}


def _chosen_sets(grouping: Grouping, wanted: Wanted) -> Iterator[ChangeSet]:
    for item in grouping.sets:
        rows = tuple(row for row in item.rows if wanted.has(row.finding))
        if rows and (not wanted.only_look or any(row.rank.stands_out for row in rows)):
            yield replace(item, rows=rows)


def _of_sets(found: Found, sets: Sequence[ChangeSet], wanted: Wanted, *, alone: bool) -> dict[str, Any] | None:
    rows = [row for item in sets for row in item.rows]
    problems = _problem_words(found) if wanted.problems and not alone else []
    if not rows and not problems:
        return None
    words = [*_counted(rows), *problems]
    kind = MessageKind.CHANGES if rows else MessageKind.PROBLEMS
    is_selftest = bool(rows) and not problems and all(row.finding.change.id in found.selftest for row in rows)
    document = _base(found, kind, ", ".join(["a selftest"] if is_selftest else words))
    urgent = [row for row in rows if row.rank.stands_out] or rows
    severities = [SEVERITIES.index(row.finding.severity or _UNCOVERED) for row in urgent]
    document["severity"] = "low" if is_selftest else SEVERITIES[max(severities)] if severities else "high"
    document["summary"] = _summary(rows)
    left = wanted.max_changes
    document["more_sets"] = len(sets[_MOST_SETS:])
    for item in sets[:_MOST_SETS]:
        listed = item.rows[:left]
        left -= len(listed)
        document["sets"].append(
            {
                **bounded(set_document(item, found.diff.end.started_ns), text=_SET_TEXT),
                "listed": [_row(row) for row in listed],
                "more": len(item.rows) - len(listed),
            }
        )
    if problems:
        _add_problems(document, found)
    return document


def _of_problems(found: Found) -> dict[str, Any] | None:
    words = _problem_words(found)
    if not words:
        return None
    document = _base(found, MessageKind.PROBLEMS, ", ".join(words))
    document["severity"] = "high"
    _add_problems(document, found)
    return document


def _baseline(found: Found) -> dict[str, Any]:
    files = found.diff.end.counts.get("files", 0)
    return _base(found, MessageKind.BASELINE, f"a new baseline, {plural(files, 'file')}")


def _base(found: Found, kind: MessageKind, words: str) -> dict[str, Any]:
    scan = found.diff.end
    time_ns = scan.finished_ns or scan.started_ns
    subject = f"{words}, {time_text(time_ns)[:10]}"
    document = plain_document(kind, found.diff.host, subject, time_ns, scan, found.diff.signing_key)
    return {**document, "from_scan": None if found.is_first else found.diff.start.id}


def _counted(rows: Sequence[RankedRow]) -> Iterator[str]:
    """``2 to look at``, ``214 package changes``, ``3 other changes``."""
    look = sum(row.rank.stands_out for row in rows)
    packages = sum(_is_of_package(row) for row in rows)
    others = len(rows) - look - packages
    if look:
        yield f"{look:,} to look at"
    if packages:
        yield plural(packages, "package change")
    if others:
        yield plural(others, "other change") if look or packages else plural(others, "change")


def _is_of_package(row: RankedRow) -> bool:
    return not row.rank.stands_out and row.provenance is not None and row.provenance.package is not None


def _problem_words(found: Found) -> list[str]:
    words = []
    if found.unreadable:
        words.append(f"{len(found.unreadable):,} unreadable")
    if any(item.is_weaker for item in found.diff.reconfigurations):
        words.append("configuration weaker")
    elif found.diff.reconfigurations:
        words.append("configuration changed")
    if found.problems:
        words.append(plural(len(found.problems), "problem"))
    return words


def _add_problems(document: dict[str, Any], found: Found) -> None:
    document["unreadable"] = [bounded(unreadable_document(item)) for item in found.unreadable[:_ITEMS]]
    document["problems"] = [bounded(json_text(text)) for text in found.problems[:_ITEMS]]
    changed = [
        {"key": difference.key, "before": difference.before, "after": difference.after, "effect": difference.effect}
        for item in found.diff.reconfigurations
        for difference in item.differences
    ]
    document["configuration"] = [bounded({k: _optional(v) for k, v in item.items()}) for item in changed[:_ITEMS]]
    total = len(found.unreadable) + len(found.problems) + len(changed)
    document["more"] = total - sum(len(document[key]) for key in ("unreadable", "problems", "configuration"))


def _optional(text: str | None) -> str | None:
    return None if text is None else json_text(str(text))


def _summary(rows: Sequence[RankedRow]) -> dict[str, Any]:
    kinds = Counter(row.finding.change.kind for row in rows)
    verdicts = Counter(row.finding.attribution.verdict for row in rows)
    return {
        "changes": len(rows),
        "look": sum(row.rank.stands_out for row in rows),
        "package": sum(map(_is_of_package, rows)),
        **{kind.value: kinds[kind] for kind in ChangeKind},
        **{verdict.value: verdicts[verdict] for verdict in Verdict},
    }


def _row(row: RankedRow) -> dict[str, Any]:
    finding = row.finding
    return bounded(  # type: ignore[no-any-return]  # a dictionary stays one
        {
            **row_document(finding),
            "package": None if finding.package is None else package_document(finding.package),
            "plan": None,
            "set": row.number,
            "rank": rank_document(row.rank),
            "differences": list(differences(finding.change)),
            "answer": _answer(finding),
        }
    )


def _answer(finding: Finding) -> str:
    """``confirmed: vim (pid 12), alice as root``, for people."""
    attribution = finding.attribution
    verdict = attribution.verdict.value + (f" ({attribution.reason})" if attribution.reason else "")
    named = [f"{process_in_short(actor)}, {user_in_short(actor)}" for actor in attribution.actors[:_NAMED]]
    if (more := len(attribution.actors) - len(named)) > 0:
        named.append(f"and {more} more")
    return f"{verdict}: {'; '.join(named) or 'no process named'}"
