"""Find the processes that belong together: one command with all that it started, within one login session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from fimscan.grouping import programs
from fimscan.grouping.facts import process_key
from fimscan.model import Actor, Attribution, Lineage

#: (login uid, session): processes of different logins never belong together.
_Login = tuple[int | None, int | None]
Node = tuple[object, ...]
_INIT = 1
_MOMENT = attrgetter("moment")


class Top(NamedTuple):
    """The process at the top of a tree, and the programs that it was started through (sudo), outermost first."""

    actor: Actor
    via: tuple[bytes, ...]


class Trees:
    """Joins processes to trees.

    A process belongs to its parent's tree, up to the command that a shell at a prompt, a login program or a service
    manager started. Processes that such a parent started belong together if they ran the same program as the same user.
    The parent is known from ``lineages``, from records of the parent itself, or by its number only. In the last case
    all its children belong together.
    """

    def __init__(self, answers: Iterable[Attribution], lineages: Mapping[object, Lineage]) -> None:
        self._lineages = lineages
        self._processes: dict[Node, Actor] = {}
        self._above: dict[Node, Node] = {}
        self._tops: dict[object, Top] = {}
        self._trees: dict[Node, Node] = {}
        distinct = earliest_calls(answers, _key).values()
        for actor in distinct:
            self._learn(actor)
            for ancestor in self._ancestors(actor):
                self._learn(ancestor)
        for actor in distinct:
            self._join(actor)

    def node(self, actor: Actor) -> Node:
        """What stands for the tree of a process: equal for all processes of one tree."""
        node = _node(actor)
        found = self._trees.get(node)
        if found is None:
            found = self._trees[node] = self._find(node)
        return found

    def has_parent(self, actor: Actor) -> bool:
        """Whether it is known what started a process; nothing but init starts those without a parent."""
        return actor.ppid is None or actor.ppid <= _INIT or self._parent(actor, actor) is not None

    def top(self, actor: Actor) -> Top:
        """The uppermost known process of a tree that did not only start another program."""
        key = _key(actor)
        found = self._tops.get(key)
        if found is None:
            found = self._tops[key] = self._find_top(actor)
        return found

    def _find_top(self, actor: Actor) -> Top:
        chain = [actor, *self._climb(actor)]
        via: list[bytes] = []
        while len(chain) > 1 and programs.program(chain[-1]) in programs.WRAPPERS:
            via.append(programs.name(chain.pop()))
        top = chain[-1]
        if top is actor:
            top = self._processes.get(_node(top), top)
        return Top(_with_login(top, actor), tuple(dict.fromkeys(via)))

    def _learn(self, actor: Actor) -> None:
        """Remember a process; of several records, the earliest."""
        known = self._processes.get(_node(actor))
        if known is None or precedes(actor, known):
            self._processes[_node(actor)] = actor

    def _ancestors(self, actor: Actor) -> tuple[Actor, ...]:
        found = self._lineages.get(process_key(actor))
        return found.ancestors if found is not None else ()

    def _join(self, actor: Actor) -> None:
        chain = [actor, *self._climb(actor)]
        for child, parent in pairwise(chain):
            self._union(_node(child), _node(parent))
        top = chain[-1]
        if top.ppid is None or top.ppid <= _INIT or self._parent(actor, top) is not None:
            # Its parent starts things that do not belong together.
            self._union(_node(top), ("program", _login(top), top.ppid, programs.program(top), top.uid))
        else:
            self._union(_node(top), ("process", _login(top), top.ppid))

    def _climb(self, actor: Actor) -> Iterator[Actor]:
        """The parents of a process that belong to its tree, nearest first."""
        seen = {actor.pid}
        child = actor
        while (parent := self._parent(actor, child)) is not None:
            if parent.pid in seen or _login(parent) != _login(actor) or programs.is_starter(parent):
                return
            yield parent
            seen.add(parent.pid)
            child = parent

    def _parent(self, actor: Actor, child: Actor) -> Actor | None:
        if child.ppid is None or child.ppid <= _INIT:
            return None
        chain = (actor, *self._ancestors(actor))
        for position, ancestor in enumerate(chain[:-1]):
            if ancestor.pid == child.pid:
                return chain[position + 1]
        return self._processes.get(("process", _login(child), child.ppid))

    def _find(self, node: Node) -> Node:
        root = node
        while (above := self._above.get(root, root)) != root:
            root = above
        while (above := self._above.get(node, node)) != root:
            self._above[node] = root
            node = above
        return root

    def _union(self, one: Node, other: Node) -> None:
        one, other = self._find(one), self._find(other)
        if one != other:
            self._above[other] = one


def _with_login(actor: Actor, other: Actor) -> Actor:
    """A process with what is known of the login of another one of the same login, if that of its own is not known.

    Without it, a login uid that a user's process wrote itself would be shown as the name of a user.
    """
    if actor.login is not None or other.login is None or _login(actor) != _login(other):
        return actor
    return actor._replace(login=other.login, login_user=other.login_user)


def earliest_calls(answers: Iterable[Attribution], key_of: Callable[[Actor], object]) -> dict[object, Actor]:
    """The earliest call of each process that answers name, by its key, which depends on no time or event."""
    of_pattern: dict[int, list[Attribution]] = {}
    for answer in answers:
        of_pattern.setdefault(id(answer.pattern), []).append(answer)
    found: dict[object, Actor] = {}
    for same in of_pattern.values():
        # At each place, the answers of a pattern have the same process.
        for calls in zip(*[answer.actors for answer in same], strict=True):
            key = key_of(calls[0])
            first = min(map(_MOMENT, calls))
            for call in calls:
                if call.moment == first and ((known := found.get(key)) is None or precedes(call, known)):
                    found[key] = call
    return found


def precedes(actor: Actor, other: Actor) -> bool:
    """Whether a record is earlier than another one. Those of the same moment have an order as well."""
    mine, theirs = actor.moment, other.moment
    if mine != theirs:
        return mine < theirs
    return actor != other and repr(actor) < repr(other)


def _key(actor: Actor) -> object:
    return process_key(actor), actor.uid


def _login(actor: Actor) -> _Login:
    return actor.auid, actor.session


def _node(actor: Actor) -> Node:
    if actor.pid:
        return "process", _login(actor), actor.pid
    return "program", _login(actor), None, programs.program(actor), actor.uid
