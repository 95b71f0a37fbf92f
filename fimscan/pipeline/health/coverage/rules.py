"""The rules: those that are loaded, those that the next boot will load, and those that take events away. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fimscan.attribution import Need, covers
from fimscan.audit import Rule, excluded_records, suppressing, watched_by
from fimscan.model import AuditRule, Check, CheckSeverity
from fimscan.paths import is_within
from fimscan.pipeline.health.checks import note, ok, warning
from fimscan.pipeline.health.coverage.facts import BootRules, Facts, Watched
from fimscan.report.display import minute_text, show
from fimscan.report.words import process_text, user_text

_ALL = Need(writes=True, attributes=True)
_FILE = "/etc/audit/rules.d/50-fimscan.rules"
_SAVE = f"fimscan audit rules > {_FILE}"
_RULES = "rules"
_BOOT = "next boot"
_IO_URING = "io_uring"


def checks(facts: Facts) -> Iterator[Check]:
    """What is watched, what is not, and what is taken away again."""
    locked = facts.kernel.status.get("enabled") == 2
    loaded = facts.kernel.rules
    yield from _coverage(facts, locked=locked)
    yield from _beyond_permissions(facts, locked=locked)
    yield from (_suppression(rule, facts, locked=locked) for rule in suppressing(loaded))
    yield from _behind_ours(loaded)
    yield from _at_boot(facts)
    yield from _io_uring(facts, locked=locked)
    yield from _removed(facts)


def _install(*, locked: bool, on_disk: bool = False) -> str:
    if locked:
        return "reboot: the rules files have them" if on_disk else f"{_SAVE}, then reboot: rules are locked (-e 2)"
    return "augenrules --load: the rules files have them" if on_disk else f"{_SAVE} && augenrules --load"


def _coverage(facts: Facts, *, locked: bool) -> Iterator[Check]:
    """Whether the loaded rules watch each place for writes and attributes, on both ABIs."""
    watching, at_boot = _watching(facts.kernel.rules), _watching(facts.boot.rules if facts.boot else ())
    there = [place for place in facts.watched if place.can_have_rules]
    left = [place for place in there if _is_left(place, watching)]
    whole = [place for place in there if covers(watching, place.within, _ALL) and place not in left]
    blind = [place for place in there if place in left or not any(_sees(rule, place.within) for rule in watching)]
    if whole:
        number = f"{len(whole)} of {len(facts.watched)}"
        yield ok(_RULES, f"{number} watched places are covered (64 and 32 bit, writes and attributes)")
    if absences := [show(place.path) for place in whole if not place.exists]:
        yield ok(_RULES, f"{_listed(absences)}: absent; that it appears is reported")
    for place in facts.watched:
        if place in whole:
            continue
        shown = show(place.path)
        if place in left:
            yield Check(
                name=_RULES,
                severity=_badness(blind, there),
                detail=f"{shown}: is another directory than at scan {place.replaced_since} (replaced, or mounted over),"
                " and no rule was loaded since: rules stay with the old one, whatever auditctl -l says",
                remedy="reboot: rules are locked (-e 2)" if locked else "augenrules --load",
            )
        elif not place.can_have_rules:
            detail = f"{shown}: neither it nor its directory exists, so the kernel refuses rules for it"
            yield warning(
                _RULES, detail, f"make or mount it, then {_install(locked=locked)}; or mend path in [[watch]]"
            )
        elif not place.usable and place in blind:
            detail = f"{shown}: auditctl takes no such path (white space, control characters, not UTF-8)"
            yield Check(
                name=_RULES, severity=_badness(blind, there), detail=detail, remedy="watch a directory above it"
            )
        else:
            remedy = _install(locked=locked, on_disk=covers(at_boot, place.within, _ALL))
            absent = "" if place.exists else " (it does not exist; a rule would report its creation)"
            detail = f"{shown}: {_lack(facts.kernel.rules, place.within)}{absent}"
            yield Check(
                name=_RULES,
                severity=_badness(blind, there) if place in blind else CheckSeverity.WARNING,
                detail=detail,
                remedy=remedy,
            )


def _badness(blind: Sequence[Watched], there: Sequence[Watched]) -> CheckSeverity:
    """Nothing is seen at all only where no place is: one that is seen makes the others a weakness."""
    return CheckSeverity.CRITICAL if len(blind) == len(there) else CheckSeverity.WARNING


def _watching(rules: Iterable[Rule]) -> list[AuditRule]:
    return [found for rule in rules if (found := watched_by(rule)) is not None]


def _sees(rule: AuditRule, path: bytes) -> bool:
    inside = path == rule.scope or (rule.recursive and is_within(path, rule.scope))
    return inside and (rule.writes or rule.attributes)


def _lack(rules: Iterable[Rule], path: bytes) -> str:
    """What keeps loaded rules from covering a path."""
    near = [(rule, found) for rule in rules if (found := watched_by(rule)) and _reaches(found, path)]
    seeing = [found for _, found in near if _sees(found, path)]
    if not near:
        return "no loaded rule watches it"
    if not seeing:
        narrow = next((rule.text for rule, _ in near if rule.narrowing), near[0][0].text)
        return f"the only rule for it does not see every process and call: {narrow}"
    lacks = []
    arches = {abi: [rule for rule in seeing if abi in rule.arches] for abi in ("b64", "b32")}
    for abi, who in (("b64", "64-bit"), ("b32", "32-bit")):
        if not arches[abi]:
            lacks.append(f"{who} programs are not seen (no rule with arch={abi})")
        elif not any(rule.writes for rule in arches[abi]):
            lacks.append(f"writes of {who} programs are not seen (perm without w, or calls missing)")
        elif not any(rule.attributes for rule in arches[abi]):
            lacks.append(f"mode, owner and attributes set by {who} programs are not seen (perm without a)")
    return "; ".join(lacks)


def _reaches(rule: AuditRule, path: bytes) -> bool:
    return path == rule.scope or (rule.recursive and is_within(path, rule.scope))


def _is_left(place: Watched, watching: Sequence[AuditRule]) -> bool:
    """Whether rules stayed with a directory that is not there any more; one for a directory above sees the new one."""
    from_above = any(_sees(rule, place.path) and rule.scope != place.path for rule in watching)
    return place.replaced_since is not None and not from_above


def _beyond_permissions(facts: Facts, *, locked: bool) -> Iterator[Check]:
    """Of what 'fimscan audit rules' prints, the rules for what perm=wa leaves out."""
    watching = _watching(facts.kernel.rules)
    lacking = []
    for place in facts.watched:
        mine = [rule for rule in facts.expected if rule.scope and _contains(rule.scope, place.path)]
        if place.can_have_rules and covers(watching, place.within, _ALL) and not _all_in(mine, facts.kernel.rules):
            lacking.append(show(place.path))
    if lacking:
        detail = (
            f"{_listed(lacking)}: not all that 'fimscan audit rules' prints is loaded: times that are set, or files"
            " that are emptied by a read-only open, may not be seen"
        )
        on_disk = facts.boot is not None and _all_in(facts.expected, facts.boot.rules)
        yield warning(_RULES, detail, _install(locked=locked, on_disk=on_disk))


def _contains(scope: tuple[bytes, bool], path: bytes) -> bool:
    return path == scope[0] or (scope[1] and is_within(path, scope[0]))


def _all_in(wanted: Iterable[Rule], rules: Sequence[Rule]) -> bool:
    return all(any(rule.includes(one) for rule in rules) for one in wanted)


def _suppression(rule: Rule, facts: Facts, *, locked: bool) -> Check:
    """How bad a rule is that takes events away: by what, and of whom."""
    condition = [field for field in rule.fields if field[0] not in ("msgtype", "arch", "dir", "path", "perm")]
    bad, what = CheckSeverity.WARNING, "takes events away before our rules are asked"
    if rule.filter == "task":
        what = "processes started since leave no record"
        bad = CheckSeverity.WARNING if condition else CheckSeverity.CRITICAL
    elif rule.filter == "exclude":
        records = excluded_records(rule)
        what = f"records that every answer needs are left out ({', '.join(sorted(records))})"
        bad = CheckSeverity.WARNING if condition or records <= {"CWD"} else CheckSeverity.CRITICAL
    elif rule.filter == "exit" and not condition and rule.calls is None:
        there = [place for place in facts.watched if place.exists]
        hidden = [place for place in there if rule.scope is None or _contains(rule.scope, place.path)]
        if there and len(hidden) == len(there):
            bad, what = CheckSeverity.CRITICAL, "takes every event away before our rules are asked"
    remedy = f"{_deletion(rule)}, and take it out of /etc/audit/rules.d"
    if locked:
        remedy = "take it out of /etc/audit/rules.d, then reboot: rules are locked (-e 2)"
    elif rule.filter == "task":
        remedy += "; what was started meanwhile stays unseen until it is restarted"
    return Check(name="suppressed", severity=bad, detail=f"{what}: {rule.text}", remedy=remedy)


def _deletion(rule: Rule) -> str:
    return "auditctl -d " + rule.text.partition(" ")[2]


def _behind_ours(loaded: Sequence[Rule]) -> Iterator[Check]:
    taking = suppressing(loaded)
    for rule in loaded:
        if rule.filter == "exit" and rule.action == "never" and rule not in taking and suppressing([rule]):
            detail = f"stands behind the rules that watch files, and takes nothing from them: {rule.text}"
            yield note("suppressed", detail)


def _at_boot(facts: Facts) -> Iterator[Check]:
    """What the rules files and the kernel do not agree on."""
    boot = facts.boot
    if boot is None:
        return
    if boot.error:
        yield note(_BOOT, boot.error, "run this as root")
        return
    loaded = [rule for rule in facts.kernel.rules if _matters(rule, facts.watched)]
    written = [rule for rule in boot.rules if _matters(rule, facts.watched)]
    forgotten = [rule for rule in loaded if not any(one.includes(rule) for one in boot.rules)]
    lacking = [rule for rule in written if not any(one.includes(rule) for one in facts.kernel.rules)]
    refused = [rule for rule in lacking if rule.scope is not None and rule.scope[0] in boot.refused]
    waiting = [rule for rule in lacking if rule not in refused]
    if forgotten:
        detail = f"{_counted(forgotten, 'loaded rule')} will be gone, not being in {boot.source}: {_first(forgotten)}"
        yield warning(_BOOT, detail, f"{_SAVE} (for other rules than ours: write them to a file there)")
    if refused:
        gone = sorted({show(rule.scope[0]) for rule in refused if rule.scope is not None})
        detail = f"the kernel refuses {_counted(refused, 'rule')} in {boot.source}: {_listed(gone)} does not exist"
        yield warning(_BOOT, detail, "make or mount it, then augenrules --load; or make the rules again without it")
    if waiting:
        detail = f"{_counted(waiting, 'rule')} in {boot.source} not loaded now: {_first(waiting)}"
        locked = facts.kernel.status.get("enabled") == 2
        yield warning(_BOOT, detail, "reboot: rules are locked (-e 2)" if locked else "augenrules --load")
    if loaded and not forgotten and not waiting:
        yield ok(_BOOT, f"the same rules for the watched places are in {boot.source}")
    yield from _suppressed_at_boot(boot, facts.kernel.rules)


def _suppressed_at_boot(boot: BootRules, loaded: Sequence[Rule]) -> Iterator[Check]:
    now = {rule.identity for rule in loaded}
    for rule in suppressing(boot.rules):
        if rule.identity not in now:
            detail = f"a rule that takes events away will be loaded: {rule.text}"
            yield warning(_BOOT, detail, f"take it out of {boot.source}")


def _io_uring(facts: Facts, *, locked: bool) -> Iterator[Check]:
    """Programs change files through io_uring without the calls that the other rules report."""
    if not facts.io_uring or facts.uring is None:
        return
    there = [place for place in facts.watched if place.can_have_rules]
    open_to_it = [place for place in there if not any(is_within(place.path, directory) for directory in facts.uring)]
    if not open_to_it:
        yield ok(_IO_URING, "what programs do to files through it is reported")
        return
    shown = _listed([show(place.path) for place in open_to_it])
    detail = f"{shown}: what programs do there through io_uring leaves no record, so nobody is more than 'likely'"
    disable = "sysctl kernel.io_uring_disabled=2 where nothing needs it"
    if locked:
        yield warning(_IO_URING, detail, f"{disable}; rules are locked (-e 2), so none can be loaded before the reboot")
    elif not facts.completes:
        yield warning(_IO_URING, detail, f"{disable}; or io_uring_rule = true in [audit]")
    else:
        yield note(_IO_URING, f"{shown}: the rule for io_uring is not loaded; the next scan loads it", disable)


def _removed(facts: Facts) -> Iterator[Check]:
    """Who took rules of ours away lately."""
    if facts.removals:
        last = facts.removals[-1]
        by = "" if last.actor is None else f", by {process_text(last.actor)}, {user_text(last.actor)}"
        rules = "1 rule" if len(facts.removals) == 1 else f"{len(facts.removals)} rules"
        yield note(
            "removed rules",
            f"{rules} of the key {last.key} were removed in the last 7 days, the last one at"
            f" {minute_text(last.event.time_ns)}{by}",
            "augenrules --load removes all rules and loads them again; otherwise ask why",
        )


def _matters(rule: Rule, watched: Iterable[Watched]) -> bool:
    """Whether a rule watches some of what we watch."""
    if watched_by(rule) is None or rule.scope is None:
        return False
    scope = rule.scope
    return any(_contains(scope, place.path) or is_within(scope[0], place.path) for place in watched)


def _counted(rules: Sequence[Rule], noun: str) -> str:
    return f"1 {noun}" if len(rules) == 1 else f"{len(rules)} {noun}s"


def _first(rules: Sequence[Rule]) -> str:
    return rules[0].text if len(rules) == 1 else f"first, {rules[0].text}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
