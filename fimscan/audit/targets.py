"""Detect stale rules: a rule watches the directory that was at its path when the rule was loaded.

For ``dir=``, the kernel keeps the directory's tree, and lists a path (kernel/audit_tree.c). A moved directory keeps the
rule, and nothing in its replacement is reported (tried on 6.18).

For ``path=``, the kernel keeps the name in its directory (kernel/audit_watch.c). It reports what is created under the
name, whether or not a file was there before, and goes on watching (``op=updated_rules``). If that directory is moved or
removed, the kernel deletes the rule.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from msgspec.structs import replace

from fimscan.model import AuditNotice, AuditObservation, AuditRule, NoticeKind


def with_targets(rules: Iterable[AuditRule], now_ns: int) -> tuple[AuditRule, ...]:
    """The rules, each with the identity of what is at its path now."""
    found: dict[bytes, tuple[int, int] | None] = {}
    for rule in rules:
        if rule.scope not in found:
            found[rule.scope] = _identity(rule.scope)
    return tuple(replace(rule, target=found[rule.scope], since_ns=now_ns, stale=False) for rule in rules)


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def keep_rule_targets(
    earlier: AuditObservation | None, now: AuditObservation, notices: Iterable[AuditNotice]
) -> AuditObservation:
    """Carry over from the earlier observation which directory each rule was loaded for.

    ``notices`` are those since the earlier observation. A rule that was loaded again meanwhile watches what is there
    now. Unread notices can make a fresh rule look stale once, but never a stale rule fresh.
    """
    if earlier is None or earlier.boot_id != now.boot_id:
        return now
    known = {rule.text: rule for rule in earlier.rules if rule.target is not None}
    loaded = [(n.event.time_ns, n.key) for n in notices if n.kind is NoticeKind.RULE_ADDED]

    def kept(rule: AuditRule) -> AuditRule:
        before = known.get(rule.text)
        if before is None or any(at > before.since_ns and key in (None, rule.key) for at, key in loaded):
            return rule
        if not rule.recursive:
            return replace(rule, since_ns=before.since_ns)
        stale = rule.target != before.target
        return replace(rule, target=before.target, since_ns=before.since_ns, stale=stale)

    return replace(now, rules=tuple(kept(rule) for rule in now.rules))
