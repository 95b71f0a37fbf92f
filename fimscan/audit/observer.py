"""How the kernel's audit system is, asked again and again.

What a rule means is read from auditctl's text, but only when the kernel's rules are not, byte for byte, those that were
read last.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace

from fimscan.audit.auditctl import clock_offset, is_uring_usable, observe, uring_directories
from fimscan.audit.netlink import KernelAudit
from fimscan.audit.targets import with_targets
from fimscan.audit.uring_rules import changes, parse_rule
from fimscan.model import AuditObservation

_LOCKED = 2


class Completion:
    """Completes the rules of one key by those for io_uring (:mod:`fimscan.audit.uring_rules`).

    Args:
        key: that of the rules of ``fimscan audit rules``.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._known: tuple[bytes, ...] | None = None

    def complete(self) -> None:
        """Load what is missing and take away what is left over, where anything changed since the last time.

        Who may not (or finds the rules locked) changes nothing: the observation that follows says what is loaded.
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
                with suppress(OSError):  # where a directory of that name is not there
                    kernel.add_rule(data)
            self._known = kernel.rules() if usable else None


def remove_rules(key: str) -> int:
    """Take away every rule of this key, as the kernel lists them; gives how many there were.

    Raises:
        OSError: rules are locked, or this is not root.
    """
    with closing(KernelAudit()) as kernel:
        found = [
            rule for data in kernel.rules() if (rule := parse_rule(data)) is not None and key.encode() in rule.keys
        ]
        for rule in found:
            kernel.delete_rule(rule.data)
    return len(found)


class Observer:
    """Says, again and again, how the kernel's audit system is.

    Args:
        ask: what reads the rules' meaning, and all where the kernel does not answer: :func:`observe`.
    """

    def __init__(self, ask: Callable[[int], AuditObservation] = observe) -> None:
        self._ask = ask
        self._kernel: KernelAudit | None = None
        self._rules: tuple[bytes, ...] | None = None
        self._last: AuditObservation | None = None

    def observe(self, now_ns: int) -> AuditObservation:
        """As :func:`fimscan.audit.auditctl.observe`, but for the backlog, in a fraction of the time."""
        try:
            if self._kernel is None:
                self._kernel = KernelAudit()
            status, rules = self._kernel.status(), self._kernel.rules()
        except OSError:
            self.close()
            return self._ask(now_ns)
        if self._last is None or rules != self._rules:
            self._last = self._ask(now_ns)
            # Only a text that was made while nothing changed is known to be that of these bytes.
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
        """Give the socket back; the next question takes a new one."""
        if self._kernel is not None:
            self._kernel.close()
        self._kernel, self._rules = None, None
