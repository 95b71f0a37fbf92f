"""Who reviews, and the rule about a reviewer's own changes. Shared by accept, reject, undo, review and plan."""

from __future__ import annotations

import os
import pwd
import time

from fimscan.cli.context import note
from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.model import Approval, DispositionCategory, Reviewer
from fimscan.report.display import show
from fimscan.report.words import plural

_UNSET = 0xFFFFFFFF


def current_reviewer() -> Reviewer:
    """The login user, which sudo does not change; without one, the real user."""
    number = own_number("loginuid")
    number = os.getuid() if number is None else number
    try:
        return Reviewer(pwd.getpwuid(number).pw_name, number)
    except KeyError:
        return Reviewer(str(number), number)


def own_number(name: str) -> int | None:
    """``loginuid`` or ``sessionid`` of this process; ``None`` if unset or unknown."""
    try:
        with open(f"/proc/self/{name}", encoding="ascii") as file:
            number = int(file.read())
    except (OSError, ValueError):
        return None
    return None if number == _UNSET else number


def approval_now(reviewer: Reviewer, ticket: str, reason: str, category: str | None) -> Approval:
    """A decision of this moment."""
    return Approval(
        accepted_ns=time.time_ns(),
        user=reviewer.name,
        ticket=printable(ticket),
        reason=printable(reason),
        category=None if category is None else DispositionCategory(category),
    )


def printable(text: str) -> str:
    """Escape the bytes of an argument that are not UTF-8, so that it can be stored as text."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def own_changes_rule(config: Config | None) -> str:
    """``warn``, ``refuse`` or ``allow``."""
    return "warn" if config is None else config.review.own_changes


def check_own(
    own: int, of: int, reviewer: Reviewer, rule: str, opener: Reviewer | None = None, *, is_dry_run: bool = False
) -> None:
    """Warn of changes that the reviewer, or the ``opener`` of their plan, may have made; or refuse them.

    Raises:
        UsageError: the rule is ``refuse``, there are any, and it is not only a dry run.
    """
    if not own or rule == "allow":
        return
    whose = "your own" if opener in (None, reviewer) else "your own, or of who opened the plan"
    people = " or ".join(dict.fromkeys(show(person.name) for person in (reviewer, opener) if person is not None))
    what = f"{plural(own, 'change')} of {of:,} may be {whose}: {people} is the user of a process that is named for it"
    if rule == "refuse":
        refused = f'{what}, and [review] own_changes is "refuse". Another person has to decide'
        if not is_dry_run:
            raise UsageError(f"nothing was stored: {refused}")
        note(refused)
        return
    note(f"{what}. Another person should review it")
