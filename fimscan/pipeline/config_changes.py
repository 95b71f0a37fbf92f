"""Compare the configurations of two scans, and say of each difference whether it weakens monitoring."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from fimscan.config import Config, Output, ScanSettings, Watch
from fimscan.model import Effect, Reconfiguration, SettingChange
from fimscan.passwords import without_password
from fimscan.paths import innermost
from fimscan.store import scans as scan_store
from fimscan.store.session import Session
from fimscan.timing import interval_seconds

_POLICIES = ("attributes", "append-only", "full")  # weakest first
# Switches: turning one off weakens monitoring.
_SWITCHES = ("audit.enabled", "scan.cross_mounts", "live.enabled", "witness.fanotify")
_SEVERITIES = ("low", "medium", "high", "critical")
_OWN_CHANGES = ("allow", "warn", "refuse")  # weakest first
_INTERVALS = ("schedule.scan", "schedule.full", "schedule.audit", "schedule.selftest", "outbox.late_after")
# Timeouts after which a file counts as unreadable: a shorter one weakens monitoring.
_TIMEOUTS = ("scan.file_timeout", "scan.stall_timeout")


def reconfigurations(session: Session, start: int, end: int) -> tuple[Reconfiguration, ...]:
    """Return what changed in the configuration, for each scan after ``start`` and up to ``end`` where it changed."""
    used = scan_store.config_digests(session, start, end)
    return tuple(
        found
        for (_, before), (scan, after) in pairwise(used)
        if before != after and (found := _between(session, scan, before, after)) is not None
    )


def pending(session: Session, config: Config) -> Reconfiguration | None:
    """Compare the present configuration with that of the last scan; the scan number of the result is 0."""
    last = scan_store.last_finished(session)
    if last is None or last.config_digest == config.digest:
        return None
    return _reconfiguration(0, last.config_digest, config.digest, _load(session, last.config_digest), config)


def _between(session: Session, scan: int, before: str, after: str) -> Reconfiguration | None:
    return _reconfiguration(scan, before, after, _load(session, before), _load(session, after))


def _reconfiguration(
    scan: int, before: str, after: str, old: Config | None, new: Config | None
) -> Reconfiguration | None:
    """Compare two configurations; ``None`` if no setting differs.

    The digests can differ all the same: a later version of fimscan adds settings with their defaults.
    """
    if old is None or new is None:
        unknown = SettingChange(key="configuration", before=before, after=after, effect=Effect.OTHER)
        return Reconfiguration(scan=scan, before=before, after=after, differences=(unknown,))
    found = tuple(differences(old, new))
    return Reconfiguration(scan=scan, before=before, after=after, differences=found) if found else None


def _load(session: Session, digest: str) -> Config | None:
    """Load a configuration; ``None`` if it is not stored, or was written by a version with other settings."""
    text = scan_store.configuration_text(session, digest)
    try:
        return None if text is None else Config.from_canonical(text)
    except ValueError:
        return None


def differences(before: Config, after: Config) -> list[SettingChange]:
    """Return all differences, those that weaken monitoring first."""
    found = [*_sections(before, after), *_watches(before, after), *_outputs(before, after)]
    return sorted(found, key=lambda item: list(Effect).index(item.effect))


# --------------------------------------------------------------------------------------------------------------------
# Sections


def _sections(before: Config, after: Config) -> Iterator[SettingChange]:
    old, new = _flat(before), _flat(after)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            effect = _effect(key, old.get(key), new.get(key))
            yield SettingChange(key=key, before=_shown(old.get(key)), after=_shown(new.get(key)), effect=effect)


def _flat(config: Config) -> dict[str, Any]:
    sections: Mapping[str, Any] = config.model_dump(exclude={"watch", "output"})
    return {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}


def _effect(key: str, old: Any, new: Any) -> Effect:
    if key in _SWITCHES:
        return Effect.STRONGER if new else Effect.WEAKER
    if key in _INTERVALS:
        # "off" and cron expressions are no intervals. Cron expressions are not compared.
        lengths = interval_seconds(str(old)), interval_seconds(str(new))
        if None not in lengths:
            return Effect.WEAKER if lengths[1] > lengths[0] else Effect.STRONGER  # type: ignore[operator]
        return Effect.WEAKER if str(new).strip().lower() in ("", "off", "never") else Effect.OTHER
    if key in _TIMEOUTS:
        return Effect.WEAKER if (interval_seconds(new) or 0) < (interval_seconds(old) or 0) else Effect.STRONGER
    if key == "scan.max_holes":
        was, now = (ScanSettings(max_holes=str(size)).max_hole_bytes or math.inf for size in (old, new))
        return Effect.WEAKER if now < was else Effect.STRONGER
    if key == "review.own_changes":
        is_weaker = _OWN_CHANGES.index(str(new)) < _OWN_CHANGES.index(str(old))
        return Effect.WEAKER if is_weaker else Effect.STRONGER
    if key == "audit.logs":
        return Effect.WEAKER if set(old or ()) - set(new or ()) else Effect.STRONGER
    return Effect.OTHER


# --------------------------------------------------------------------------------------------------------------------
# Outputs


def _outputs(before: Config, after: Config) -> Iterator[SettingChange]:
    """Compare the receivers by name. To take one away, or to tell it less, weakens monitoring."""
    old, new = ({output.name: output for output in config.output} for config in (before, after))
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was is None or now is None:
            effect = Effect.STRONGER if was is None else Effect.WEAKER
            yield SettingChange(key=f"[[output]] {name}", before=_type(was), after=_type(now), effect=effect)
            continue
        for key in type(now).model_fields:
            values = getattr(was, key), getattr(now, key)
            if values[0] != values[1]:
                yield SettingChange(
                    key=f"[[output]] {name}: {key}",
                    before=_shown(values[0]),
                    after=_shown(values[1]),
                    effect=_effect_on_output(key, *values),
                )


def _type(output: Output | None) -> str | None:
    return None if output is None else output.type


def _effect_on_output(key: str, was: Any, now: Any) -> Effect:
    match key:
        case "min_severity":
            is_weaker = _SEVERITIES.index(now) > _SEVERITIES.index(was)
        case "verdicts" | "kinds":  # an empty list is all
            is_weaker = bool(now) and (not was or bool(set(was) - set(now)))
        case "sets":
            is_weaker = now == "look"
        case "problems" | "all_is_well":
            is_weaker = not now
        case _:
            return Effect.OTHER
    return Effect.WEAKER if is_weaker else Effect.STRONGER


# --------------------------------------------------------------------------------------------------------------------


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return without_password(str(value)) or "none"


# --------------------------------------------------------------------------------------------------------------------
# Watches


def _watches(before: Config, after: Config) -> Iterator[SettingChange]:
    """Compare, for each path with a section in one of the configurations, the section that covers it in both."""
    paths = sorted({watch.path for watch in (*before.watch, *after.watch)})
    for path in paths:
        old, new = _innermost(before.watch, path), _innermost(after.watch, path)
        is_named = all(any(watch.path == path for watch in config.watch) for config in (before, after))
        if old is None or new is None:
            effect = Effect.STRONGER if old is None else Effect.WEAKER
            yield SettingChange(key=f"[[watch]] {path}", before=_policy(old), after=_policy(new), effect=effect)
            continue
        if not is_named:
            # In one of the configurations, the section of a directory above covers it.
            yield SettingChange(key=f"[[watch]] {path}", before=old.path, after=new.path, effect=Effect.OTHER)
        yield from _settings(path, old, new)


def _innermost(watches: Iterable[Watch], path: str) -> Watch | None:
    by_path = {os.fsencode(watch.path): watch for watch in watches}
    root = innermost(os.fsencode(path), by_path)
    return None if root is None else by_path[root]


def _policy(watch: Watch | None) -> str | None:
    return None if watch is None else watch.policy


def _settings(path: str, old: Watch, new: Watch) -> Iterator[SettingChange]:
    front = f"[[watch]] {path}: "
    for key in type(new).model_fields:
        was, now = getattr(old, key), getattr(new, key)
        if key == "path" or was == now:
            continue
        if key == "exclude":
            yield from _excludes(front, was, now)
            continue
        match key:
            case "policy":
                effect = Effect.WEAKER if _POLICIES.index(now) < _POLICIES.index(was) else Effect.STRONGER
            case "reread":
                effect = Effect.WEAKER if now == "ctime" else Effect.STRONGER
            case "keep":  # removals of older generations are not reported; 0 keeps all
                effect = Effect.WEAKER if (now or math.inf) < (was or math.inf) else Effect.STRONGER
            case "digests":
                effect = Effect.WEAKER if set(was) - set(now) else Effect.STRONGER
            case _:
                effect = Effect.OTHER
        yield SettingChange(key=front + key, before=_shown(was), after=_shown(now), effect=effect)


def _excludes(front: str, was: tuple[str, ...], now: tuple[str, ...]) -> Iterator[SettingChange]:
    """Compare patterns: a new one weakens, except that one with ``!`` includes again what another one excludes."""
    if set(was) == set(now):
        yield SettingChange(key=f"{front}exclude", before=_shown(was), after=_shown(now), effect=Effect.OTHER)
    for pattern in (*(p for p in now if p not in was), *(p for p in was if p not in now)):
        is_new = pattern in now
        effect = Effect.WEAKER if is_new != pattern.startswith("!") else Effect.STRONGER
        shown = os.fsencode(pattern).decode("utf-8", "backslashreplace")
        yield SettingChange(
            key=f"{front}exclude", before=None if is_new else shown, after=shown if is_new else None, effect=effect
        )
