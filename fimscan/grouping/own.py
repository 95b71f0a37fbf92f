"""Whether a reviewer may have made a change: who decides should be somebody else. Pure."""

from __future__ import annotations

from fimscan.model import Actor, Finding, LoginSource, Reviewer


def is_own(finding: Finding, reviewer: Reviewer) -> bool:
    """Whether the reviewer is the user of any process that is named for a change or one of its steps.

    The user of a process is its login user. If there is none, or the process set it itself, it is the user that it ran
    as.
    """
    parts = (finding, *finding.steps)
    return any(is_by(actor, reviewer) for part in parts for actor in part.attribution.actors)


def is_by(actor: Actor, reviewer: Reviewer) -> bool:
    """Whether the reviewer is the user of a process."""
    is_proven = actor.login is None or actor.login.source is not LoginSource.USER
    if actor.auid is not None and _is(reviewer, actor.auid, actor.login_user):
        return True
    return (actor.auid is None or not is_proven) and _is(reviewer, actor.uid, actor.user)


def _is(reviewer: Reviewer, number: int | None, name: str | None) -> bool:
    """By number, or by name: the log may have the name that a number had when the record was written."""
    return (number is not None and number == reviewer.number) or (name is not None and name == reviewer.name)
