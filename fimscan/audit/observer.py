"""Observe the kernel's audit system repeatedly, load missing io_uring rules, and remove rules by key.

Parsing auditctl's text is slow. It is done only if the kernel's rules differ, byte for byte, from those parsed last.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress

from msgspec.structs import replace

from fimscan.audit.auditctl import clock_offset, is_uring_usable, observe, uring_directories
from fimscan.audit.netlink import KernelAudit
from fimscan.audit.targets import with_targets
from fimscan.audit.uring_rules import changes, parse_rule
from fimscan.model import AuditObservation

_LOCKED = 2


class Completion:
    """Loads the io_uring rules that belong to the rules of one key (:mod:`fimscan.audit.uring_rules`).

    Args:
        key: the key of the rules of ``fimscan audit rules``.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._known: tuple[bytes, ...] | None = None

    def complete(self) -> None:
        """Load missing rules and delete superfluous ones, if the rules changed since the last call.

        Without permission, or if the rules are locked, nothing changes: the next observation says what is loaded.
        """
        with suppress(OSError), closing(KernelAudit()) as kernel:
            listed = kernel.rules()
            if listed == self._known or kernel.status()["enabled"] == _LOCKED:
                return
            rules = [rule for data in listed if (rule := parse_rule(data)) is not None]
            added, deleted = changes(rules, self._key)
            for data in deleted:
                with suppress(OSError):
                    kernel.delete_rule(data)
            usable = is_uring_usable()
            for data in added if usable else ():
                with suppress(OSError):  # fails where the directory does not exist
                    kernel.add_rule(data)
            self._known = kernel.rules() if usable else None


def remove_rules(*keys: str) -> int:
    """Delete every loaded rule that has one of these keys; return how many there were.

    Raises:
        OSError: rules are locked, or the process is not root.
    """
    wanted = {key.encode() for key in keys}
    with closing(KernelAudit()) as kernel:
        found = [rule for data in kernel.rules() if (rule := parse_rule(data)) is not None and wanted & rule.keys]
        for rule in found:
            kernel.delete_rule(rule.data)
    return len(found)


class Observer:
    """Observes the state of the kernel's audit system, at little cost while the rules stay the same.

    Args:
        ask: parses the rules, and asks for everything where netlink fails; the default is :func:`observe`.
    """

    def __init__(self, ask: Callable[[int], AuditObservation] = observe) -> None:
        self._ask = ask
        self._kernel: KernelAudit | None = None
        self._rules: tuple[bytes, ...] | None = None
        self._last: AuditObservation | None = None

    def observe(self, now_ns: int) -> AuditObservation:
        """The same as :func:`fimscan.audit.auditctl.observe` in a fraction of the time."""
        try:
            if self._kernel is None:
                self._kernel = KernelAudit()
            status, rules = self._kernel.status(), self._kernel.rules()
        except OSError:
            self.close()
            return self._ask(now_ns)
        if self._last is None or rules != self._rules:
            self._last = self._ask(now_ns)
            # The text belongs to these bytes only if the rules did not change while it was made.
            with suppress(OSError):
                self._rules = rules if self._last.error is None and self._kernel.rules() == rules else None
            return self._last
        return replace(
            self._last,
            time_ns=now_ns,
            boottime_ns=now_ns - clock_offset(),
            rules=with_targets(self._last.rules, now_ns),
            uring=uring_directories(rules),
            enabled=status["enabled"],
            daemon_pid=status["pid"],
            lost=status["lost"],
            backlog=status["backlog"],
            backlog_limit=status["backlog_limit"],
        )

    def close(self) -> None:
        """Close the socket; the next call opens a new one."""
        if self._kernel is not None:
            self._kernel.close()
        self._kernel, self._rules = None, None
