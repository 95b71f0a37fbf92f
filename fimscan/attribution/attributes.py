"""Find who set a file's mode, owner, extended attributes, flags, link count or times. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fimscan.attribution.case import Case, Ruled, sift
from fimscan.attribution.claims import NOBODY, UNSEEN, Claim, as_actor, decide, latest, named, one_each
from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.history import earlier_changers
from fimscan.attribution.index import WRITES, in_order
from fimscan.model import Action, Actor, FileAccess, FileState, Reason, Role, Verdict, Why

_SETUID_BITS = 0o6000
_OF_CONTENT = frozenset({"kind", "content", "link_target", "inode", "dev"})
_OF_XATTRS = frozenset({"acl", "capabilities", "selinux", "xattr"})
_CLAIMED = frozenset({"mode", "uid", "gid"}) | _OF_XATTRS
#: The calls that set an attribute of a file that was put into place.
_SETTING = {"mode": Action.CHMOD, "uid": Action.CHOWN, "gid": Action.CHOWN} | dict.fromkeys(_OF_XATTRS, Action.SETXATTR)
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20  # ioctl_iflags(2)


def who_changed(case: Case) -> list[Claim]:
    """Claim who set the mode, owner, extended attributes and flags; links and times only if nothing else differs."""
    before, after = case.change.before, case.change.after
    if before is None or after is None:
        return []
    fields = set(case.change.changed)
    if fields & _OF_CONTENT and not fields & (_CLAIMED | {"flags"}):
        return []  # link count and times follow from the content's change
    life = case.life_of(after.identity)
    in_time = [a for a in (*life.doubtful, *life.accesses) if case.is_inside(a)]
    done, late = sift(in_time, (Why.AFTER_LAST_CHANGE, case.is_too_late))
    claims: list[Claim] = []
    if "mode" in fields:
        claims.append(_who_set_mode(before, after, done))
    if fields & {"uid", "gid"}:
        claims.append(_all_changers(done, (Action.CHOWN,)))
    if fields & _OF_XATTRS:
        # Writing to a file, chown and chmod can each drop or rewrite attributes (capabilities, ACLs).
        claims.append(_first_all(done, (Action.SETXATTR,), (Action.CHOWN, Action.CHMOD), tuple(WRITES)))
    if "flags" in fields:
        claims.append(who_set_flags(done))
        fields -= {"flags", "ctime"}
    if not fields & _CLAIMED and fields and not fields & _OF_CONTENT:
        claims.append(_who_touched(fields, done))
    return [claim._replace(ruled=(*claim.ruled, *late, *life.rulings)) for claim in claims]


def who_changed_placed(case: Case, placed: FileAccess) -> tuple[list[Actor], list[Ruled], list[Ruled]]:
    """Return (changers, rulings about them, earlier changers) for a file that was put into place as a whole.

    Attributes that no such call explains came with the file, from its writer and placer. Or an editor copied them from
    an earlier file of the path, so whoever set them there is listed as an earlier changer.
    """
    after = case.change.after
    assert after is not None, "only an existing file was placed"
    wanted = frozenset([_SETTING[name] for name in case.change.changed if name in _SETTING])
    if not wanted:
        return [], [], []
    done = [a for a in case.life_of(after.identity).accesses if a.action in wanted and case.is_inside(a)]
    earlier = named(earlier_changers(case, placed, wanted), Why.EARLIER_CHANGER)
    return one_each(as_actor(a, Role.CHANGER) for a in done), named(done, Why.SET), earlier


def has_unseen_flags(before: FileState | None, after: FileState) -> bool:
    """Whether a file that was put into place was made immutable or append-only: these flags are never inherited."""
    old = before.flags if before is not None else None
    return bool((after.flags or 0) & ~(old or 0) & (_IMMUTABLE | _APPEND_ONLY))


def who_set_flags(done: Sequence[FileAccess]) -> Claim:
    """Claim who called file_setattr. Likely at best: chattr's older call, an ioctl, leaves no record."""
    claim = _all_changers(done, (Action.SETFLAGS,))
    if claim.names_nobody:
        return UNSEEN
    if claim.verdict is Verdict.CONFIRMED:
        return claim._replace(verdict=Verdict.LIKELY, reason=Reason.COVERAGE_GAP)
    return claim


def _who_set_mode(before: FileState, after: FileState, done: Sequence[FileAccess]) -> Claim:
    exact = [a for a in done if a.action is Action.CHMOD and a.argument == after.mode]
    # A chmod to the mode that the file had already changed nothing.
    exact = [a for a in exact if a.mode is None or a.mode & 0o7777 != a.argument] or exact
    if exact and (undoing := _chmods_after(exact, done)):
        # The mode was another one after that. Something set it again: an ACL without more than a mode in it, or what
        # makes the kernel clear setuid and setgid.
        is_cleared = undoing[-1].argument is not None and undoing[-1].argument & ~_SETUID_BITS == after.mode
        clearing = (Action.CHOWN, *WRITES) if is_cleared else ()
        since = in_order(undoing[0])
        later = _all_changers([a for a in done if in_order(a) > since], (Action.SETXATTR, *clearing))
        rulings = (*named(exact, Why.UNDONE), *named(undoing, Why.OVERRULED))
        return later._replace(ruled=(*later.ruled, *rulings))
    if exact:
        claim = _last_changer(exact, (Action.CHMOD,))
        setting = {id(a) for a in exact}
        others = [a for a in done if a.action is Action.CHMOD and id(a) not in setting]
        return claim._replace(ruled=(*claim.ruled, *named(others, Why.OVERRULED)))
    if before.mode & ~_SETUID_BITS == after.mode and before.mode != after.mode:
        # The kernel itself clears setuid and setgid when a file is written or changes its owner.
        return _first_answer(done, (Action.CHOWN,), tuple(WRITES), (Action.CHMOD,))
    return _all_changers(done, (Action.SETXATTR, Action.CHMOD))


def _who_touched(fields: set[str], done: Sequence[FileAccess]) -> Claim:
    if "nlink" in fields:
        return _all_changers(done, (Action.LINK, Action.UNLINK, Action.RENAME))
    if "mtime" in fields or "size" in fields:
        opened = [a for a in done if a.action in WRITES]
        writers = decide([as_actor(a, Role.WRITER) for a in opened], ())
        writers = writers._replace(ruled=tuple(named(opened, Why.WRITE_ACCESS)))
        changers = _last_changer(done, (Action.UTIME,))
        if changers.names_nobody:
            return writers
        return changers if writers.names_nobody else _contest(changers, writers)
    return _first_answer(done, tuple(Action))


def _contest(*claims: Claim) -> Claim:
    actors = tuple(actor for claim in claims for actor in claim.actors)
    ruled = tuple(item for claim in claims for item in claim.ruled)
    single = len({actor.process for actor in actors}) == 1
    return Claim(verdict=Verdict.CONFIRMED if single else Verdict.CONTESTED, actors=actors, ruled=ruled)


def _first_answer(done: Sequence[FileAccess], *choices: tuple[Action, ...]) -> Claim:
    return next((c for c in (_last_changer(done, choice) for choice in choices) if c.actors), NOBODY)


def _first_all(done: Sequence[FileAccess], *choices: tuple[Action, ...]) -> Claim:
    return next((c for c in (_all_changers(done, choice) for choice in choices) if c.actors), NOBODY)


def _chmods_after(exact: Sequence[FileAccess], done: Sequence[FileAccess]) -> list[FileAccess]:
    """List the calls of chmod to another mode that came after the last of those to the present one, in order."""
    last = max(exact, key=in_order)
    until_ns, ended = last.event.time_ns + SLACK_NS, last.event.serial
    others = [a for a in done if a.action is Action.CHMOD and a.argument is not None and a.argument != last.argument]
    return sorted([a for a in others if a.event.time_ns > until_ns and a.event.serial > ended], key=in_order)


def _all_changers(done: Sequence[FileAccess], actions: tuple[Action, ...]) -> Claim:
    """Name everyone who made such a call: the last need not be the decisive one (chgrp after chown, two xattrs)."""
    matching = [a for a in done if a.action in actions]
    actors = one_each(as_actor(a, _role_of(a)) for a in matching)
    if not actors:
        return NOBODY
    verdict = Verdict.CONFIRMED if len(actors) == 1 else Verdict.CONTESTED
    return Claim(verdict=verdict, actors=tuple(actors), ruled=tuple(named(matching, Why.SET)))


def _last_changer(done: Sequence[FileAccess], actions: tuple[Action, ...]) -> Claim:
    """Name the last caller, whose call decides the value; calls too close together to be ordered are contested."""
    matching = [a for a in done if a.action in actions]
    last = latest(matching)
    if last is None:
        return NOBODY
    decisive, ended = last.event.time_ns - SLACK_NS, last.event.serial
    # A call that began before the last one and ended after it (serials follow the ends) may have acted last.
    rivals, overruled = sift(
        matching, (Why.OVERRULED, lambda a: a.event.time_ns < decisive and a.event.serial <= ended)
    )
    actors = one_each(as_actor(a, _role_of(a)) for a in rivals)
    verdict = Verdict.CONFIRMED if len({a.process for a in actors}) == 1 else Verdict.CONTESTED
    return Claim(verdict=verdict, actors=tuple(actors), ruled=(*named(rivals, Why.SET), *overruled))


def _role_of(access: FileAccess) -> Role:
    return Role.WRITER if access.action in WRITES else Role.CHANGER
