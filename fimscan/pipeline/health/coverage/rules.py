"""Checks of audit rules: loaded rules, rules of the next boot, rules that suppress events, io_uring. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from fimscan.attribution import Need, covers
from fimscan.audit import Rule, excluded_records, suppressing, watched_by
from fimscan.model import AuditRule, Check, CheckSeverity
from fimscan.paths import is_within
from fimscan.pipeline.health.checks import graded, note, ok, warning
from fimscan.pipeline.health.coverage.facts import BootRules, Facts, Watched
from fimscan.pipeline.health.remedies import commented
from fimscan.report.display import minute_text, show
from fimscan.report.words import by_process_text

_ALL = Need(writes=True, attributes=True)
_INSTALL = "fimscan audit rules --install"
_REBOOT = "reboot: rules are locked (-e 2)"
_RULES = "rules"
_BOOT = "next boot"
_IO_URING = "io_uring"


def checks(facts: Facts) -> Iterator[Check]:
    """Check whether rules cover the watched paths, now and after the next boot, and what suppresses events."""
    locked = facts.kernel.status.get("enabled") == 2
    loaded = facts.kernel.rules
    yield from _coverage(facts, locked=locked)
    yield from _beyond_permissions(facts, locked=locked)
    yield from (_suppression(rule, facts, locked=locked) for rule in suppressing(loaded))
    yield from _harmless_never_rules(loaded)
    yield from _at_boot(facts)
    yield from _io_uring(facts, locked=locked)
    yield from _removed(facts)


def _install(*, locked: bool, on_disk: bool = False) -> str:
    if locked:
        return "reboot: the rules files have them" if on_disk else commented(_INSTALL, f"then {_REBOOT}")
    return commented("augenrules --load", "the rules files have them") if on_disk else _INSTALL


def _coverage(facts: Facts, *, locked: bool) -> Iterator[Check]:
    """Check whether the loaded rules cover each path for writes and attributes, on both ABIs."""
    watching, at_boot = _watching(facts.kernel.rules), _watching(facts.boot.rules if facts.boot else ())
    possible = [place for place in facts.watched if place.can_have_rules]
    replaced = [place for place in possible if _lost_its_rules(place, watching)]
    covered = [place for place in possible if covers(watching, place.within, _ALL) and place not in replaced]
    blind = [
        place for place in possible if place in replaced or not any(_reports(rule, place.within) for rule in watching)
    ]
    if covered:
        number = f"{len(covered)} of {len(facts.watched)}"
        yield ok(_RULES, f"watched paths covered: {number} (64 and 32 bit, writes and attributes)")
    if absences := [show(place.path) for place in covered if not place.exists]:
        yield ok(_RULES, f"{_listed(absences)}: absent; its creation will be reported")
    for place in facts.watched:
        if place in covered:
            continue
        shown = show(place.path)
        if place in replaced:
            detail = (
                f"{shown}: is another directory than at scan {place.replaced_since} (replaced, or mounted over),"
                " and rules were not loaded since: they still apply to the old one, whatever auditctl -l shows"
            )
            remedy = _REBOOT if locked else "augenrules --load"
            yield graded(_RULES, _severity(blind, possible), detail, remedy)
        elif not place.can_have_rules:
            detail = f"{shown}: neither it nor its directory exists, so the kernel refuses rules for it"
            later = "after you created or mounted it; or fix path in [[watch]]"
            yield warning(_RULES, detail, commented(_install(locked=locked), later))
        elif not place.usable and place in blind:
            detail = f"{shown}: auditctl accepts no such path (white space, control characters, not UTF-8)"
            yield graded(_RULES, _severity(blind, possible), detail, "watch a directory above it")
        else:
            remedy = _install(locked=locked, on_disk=covers(at_boot, place.within, _ALL))
            absent = "" if place.exists else " (it does not exist; a rule would report its creation)"
            detail = f"{shown}: {_lack(facts.kernel.rules, place.within)}{absent}"
            bad = _severity(blind, possible) if place in blind else CheckSeverity.WARNING
            yield graded(_RULES, bad, detail, remedy)


def _severity(blind: Sequence[Watched], possible: Sequence[Watched]) -> CheckSeverity:
    """Critical if rules report changes of no watched path at all; otherwise a warning."""
    return CheckSeverity.CRITICAL if len(blind) == len(possible) else CheckSeverity.WARNING


def _watching(rules: Iterable[Rule]) -> list[AuditRule]:
    return [found for rule in rules if (found := watched_by(rule)) is not None]


def _reports(rule: AuditRule, path: bytes) -> bool:
    return _reaches(rule, path) and (rule.writes or rule.attributes)


def _lack(rules: Iterable[Rule], path: bytes) -> str:
    """Explain why loaded rules do not cover a path."""
    near = [(rule, found) for rule in rules if (found := watched_by(rule)) and _reaches(found, path)]
    reporting = [found for _, found in near if _reports(found, path)]
    if not near:
        return "no loaded rule watches it"
    if not reporting:
        narrow = next((rule.text for rule, _ in near if rule.narrowing), near[0][0].text)
        return f"the only rule for it does not report every process and system call: {narrow}"
    lacks = []
    arches = {abi: [rule for rule in reporting if abi in rule.arches] for abi in ("b64", "b32")}
    for abi, bits in (("b64", "64-bit"), ("b32", "32-bit")):
        if not arches[abi]:
            lacks.append(f"{bits} programs are not reported (no rule with arch={abi})")
        elif not any(rule.writes for rule in arches[abi]):
            lacks.append(f"writes of {bits} programs are not reported (perm without w, or calls missing)")
        elif not any(rule.attributes for rule in arches[abi]):
            lacks.append(f"mode, owner and attributes set by {bits} programs are not reported (perm without a)")
    return "; ".join(lacks)


def _reaches(rule: AuditRule, path: bytes) -> bool:
    return path == rule.scope or (rule.recursive and is_within(path, rule.scope))


def _lost_its_rules(place: Watched, watching: Sequence[AuditRule]) -> bool:
    """Whether a directory was replaced and rules apply to the old one; a rule for a parent covers the new one, too."""
    from_above = any(_reports(rule, place.path) and rule.scope != place.path for rule in watching)
    return place.replaced_since is not None and not from_above


def _beyond_permissions(facts: Facts, *, locked: bool) -> Iterator[Check]:
    """Check whether fimscan's rules for what perm=wa leaves out are loaded."""
    watching = _watching(facts.kernel.rules)
    lacking = []
    for place in facts.watched:
        mine = [rule for rule in facts.expected if rule.scope and _contains(rule.scope, place.path)]
        if place.can_have_rules and covers(watching, place.within, _ALL) and not _all_in(mine, facts.kernel.rules):
            lacking.append(show(place.path))
    if lacking:
        detail = (
            f"{_listed(lacking)}: not all rules that 'fimscan audit rules' prints are loaded: calls that set times,"
            " or that empty a file by a read-only open, may not be reported"
        )
        on_disk = facts.boot is not None and _all_in(facts.expected, facts.boot.rules)
        yield warning(_RULES, detail, _install(locked=locked, on_disk=on_disk))


def _contains(scope: tuple[bytes, bool], path: bytes) -> bool:
    return path == scope[0] or (scope[1] and is_within(path, scope[0]))


def _all_in(wanted: Iterable[Rule], rules: Sequence[Rule]) -> bool:
    return all(any(rule.includes(wanted_rule) for rule in rules) for wanted_rule in wanted)


def _suppression(rule: Rule, facts: Facts, *, locked: bool) -> Check:
    """The check of a rule that suppresses events; the severity depends on its filter and its conditions."""
    condition = [field for field in rule.fields if field[0] not in ("msgtype", "arch", "dir", "path", "perm")]
    bad, what = CheckSeverity.WARNING, "suppresses events before fimscan's rules apply"
    if rule.filter == "task":
        what = "processes started since it was loaded leave no record"
        bad = CheckSeverity.WARNING if condition else CheckSeverity.CRITICAL
    elif rule.filter == "exclude":
        records = excluded_records(rule)
        what = f"excludes record types that every answer needs ({', '.join(sorted(records))})"
        bad = CheckSeverity.WARNING if condition or records <= {"CWD"} else CheckSeverity.CRITICAL
    elif rule.filter == "exit" and not condition and rule.calls is None:
        there = [place for place in facts.watched if place.exists]
        hidden = [place for place in there if rule.scope is None or _contains(rule.scope, place.path)]
        if there and len(hidden) == len(there):
            bad, what = CheckSeverity.CRITICAL, "suppresses every event before fimscan's rules apply"
    remedy = commented(_deletion(rule), "also remove it from /etc/audit/rules.d")
    if locked:
        remedy = f"remove it from /etc/audit/rules.d, then {_REBOOT}"
    elif rule.filter == "task":
        remedy = commented(remedy, "and restart the processes that were started meanwhile")
    return graded("suppressed", bad, f"{what}: {rule.text}", remedy)


def _deletion(rule: Rule) -> str:
    """The command that deletes a rule, quoted for a shell: fields may contain >, < and &."""
    return shlex.join(["auditctl", "-d", *rule.text.split()[1:]])


def _harmless_never_rules(loaded: Sequence[Rule]) -> Iterator[Check]:
    effective = suppressing(loaded)
    for rule in loaded:
        if rule.filter == "exit" and rule.action == "never" and rule not in effective and suppressing([rule]):
            detail = f"comes after the rules that watch files, so it suppresses none of their events: {rule.text}"
            yield note("suppressed", detail)


def _at_boot(facts: Facts) -> Iterator[Check]:
    """Check where the rules files and the loaded rules differ."""
    boot = facts.boot
    if boot is None:
        return
    if boot.error:
        yield note(_BOOT, boot.error, "run this as root")
        return
    loaded = [rule for rule in facts.kernel.rules if _matters(rule, facts.watched)]
    written = [rule for rule in boot.rules if _matters(rule, facts.watched)]
    unsaved = [rule for rule in loaded if not any(other.includes(rule) for other in boot.rules)]
    lacking = [rule for rule in written if not any(other.includes(rule) for other in facts.kernel.rules)]
    refused = [rule for rule in lacking if rule.scope is not None and rule.scope[0] in boot.refused]
    waiting = [rule for rule in lacking if rule not in refused]
    if unsaved:
        detail = f"{_counted(unsaved, 'loaded rule')} not in {boot.source}, so lost at the next boot: {_first(unsaved)}"
        others = "writes fimscan's rules; write others to another file of /etc/audit/rules.d"
        yield warning(_BOOT, detail, commented(_INSTALL, others))
    if refused:
        gone = sorted({show(rule.scope[0]) for rule in refused if rule.scope is not None})
        detail = f"the kernel refuses {_counted(refused, 'rule')} in {boot.source}: {_listed(gone)} does not exist"
        yield warning(_BOOT, detail, commented("augenrules --load", "after you created or mounted it"))
    if waiting:
        detail = f"{_counted(waiting, 'rule')} in {boot.source} not loaded now: {_first(waiting)}"
        locked = facts.kernel.status.get("enabled") == 2
        yield warning(_BOOT, detail, _REBOOT if locked else "augenrules --load")
    if loaded and not unsaved and not waiting:
        yield ok(_BOOT, f"{boot.source} has the same rules for the watched paths")
    yield from _suppressed_at_boot(boot, facts.kernel.rules)


def _suppressed_at_boot(boot: BootRules, loaded: Sequence[Rule]) -> Iterator[Check]:
    now = {rule.identity for rule in loaded}
    for rule in suppressing(boot.rules):
        if rule.identity not in now:
            detail = f"a rule that suppresses events will be loaded: {rule.text}"
            yield warning(_BOOT, detail, f"remove it from {boot.source}")


def _io_uring(facts: Facts, *, locked: bool) -> Iterator[Check]:
    """Check the rules for io_uring: through it, programs change files without the calls that other rules report."""
    if not facts.io_uring or facts.uring is None:
        return
    possible = [place for place in facts.watched if place.can_have_rules]
    uncovered = [place for place in possible if not any(is_within(place.path, directory) for directory in facts.uring)]
    if not uncovered:
        yield ok(_IO_URING, "changes that programs make through it are reported")
        return
    shown = _listed([show(place.path) for place in uncovered])
    detail = f"{shown}: changes through io_uring leave no record there, so no answer is better than 'likely'"
    disable = commented("sysctl kernel.io_uring_disabled=2", "if no program needs it (since Linux 6.6)")
    if locked:
        yield warning(_IO_URING, detail, commented(disable, "rules are locked (-e 2) until a reboot"))
    elif not facts.completes:
        yield warning(_IO_URING, detail, commented(disable, "or set io_uring_rule = true in [audit]"))
    else:
        yield note(_IO_URING, f"{shown}: the rule for io_uring is not loaded; the next scan loads it", disable)


def _removed(facts: Facts) -> Iterator[Check]:
    """Report who removed fimscan's rules lately."""
    if facts.removals:
        last = facts.removals[-1]
        by = "" if last.actor is None else f", {by_process_text(last.actor)}"
        rules = "1 rule" if len(facts.removals) == 1 else f"{len(facts.removals)} rules"
        yield note(
            "removed rules",
            f"removed in the last 7 days: {rules} with key {last.key}, most recently at"
            f" {minute_text(last.event.time_ns)}{by}",
            "nothing, if that was augenrules --load (it removes and reloads all rules); otherwise find out why",
        )


def _matters(rule: Rule, watched: Iterable[Watched]) -> bool:
    """Whether a rule watches any part of the watched paths."""
    if watched_by(rule) is None or rule.scope is None:
        return False
    scope = rule.scope
    return any(_contains(scope, place.path) or is_within(scope[0], place.path) for place in watched)


def _counted(rules: Sequence[Rule], noun: str) -> str:
    return f"1 {noun}" if len(rules) == 1 else f"{len(rules)} {noun}s"


def _first(rules: Sequence[Rule]) -> str:
    return rules[0].text if len(rules) == 1 else f"the first is {rules[0].text}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
