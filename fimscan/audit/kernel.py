"""The kernel's audit system, asked directly (netlink): cheap enough to be asked at every look.

The answers are those of ``auditctl -s`` and ``auditctl -l``, without starting a program. What a rule means is still
read from auditctl's text, but only when the kernel's rules are not, byte for byte, those that were read last.
Numbers and structures: ``linux/audit.h``, ``linux/netlink.h``.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from fimscan.audit.health import clock_offset, observe
from fimscan.audit.targets import with_targets
from fimscan.model import AuditObservation

_NETLINK_AUDIT = 9
_AUDIT_GET, _AUDIT_LIST_RULES = 1000, 1013
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_ACK = 0x1 | 0x4  # NLM_F_REQUEST, NLM_F_ACK
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_STATUS = struct.Struct("=8I")  # mask, enabled, failure, pid, rate_limit, backlog_limit, lost, backlog
_TIMEOUT_S = 2.0
_BUFFER = 1 << 20


class KernelAudit:
    """A socket to the kernel's audit system; ``close`` it.

    Raises:
        OSError: it cannot be asked (no audit, or not root).
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_AUDIT)
        self._sequence = 0
        self._socket.settimeout(_TIMEOUT_S)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def status(self) -> Mapping[str, int]:
        """``enabled``, ``pid`` (of the daemon), ``lost``, ``backlog``, ``backlog_limit``."""
        for kind, body in self._ask(_AUDIT_GET, 1):
            if kind == _AUDIT_GET and len(body) >= _STATUS.size:
                _, enabled, _, pid, _, limit, lost, backlog = _STATUS.unpack_from(body)
                return {"enabled": enabled, "pid": pid, "lost": lost, "backlog": backlog, "backlog_limit": limit}
        raise OSError("the kernel's audit system gave no status")

    def rules(self) -> bytes:
        """All loaded rules as the kernel keeps them: equal bytes are equal rules."""
        return b"".join(body for kind, body in self._ask(_AUDIT_LIST_RULES, None) if kind == _AUDIT_LIST_RULES)

    def _ask(self, question: int, answers: int | None) -> list[tuple[int, bytes]]:
        """The messages of the answer: a number of them, or up to the one that ends them."""
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size, question, _REQUEST_ACK, self._sequence, 0))
        found: list[tuple[int, bytes]] = []
        while True:
            data = self._socket.recv(_BUFFER)
            while len(data) >= _HEADER.size:
                length, kind, _, sequence, _ = _HEADER.unpack_from(data)
                body, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
                if sequence != self._sequence:
                    continue  # of an earlier question, that was given up
                if kind == _NLMSG_ERROR:
                    (error,) = struct.unpack_from("=i", body)
                    if error:
                        raise OSError(-error, os.strerror(-error))
                elif kind == _NLMSG_DONE:
                    return found
                else:
                    found.append((kind, body))
                    if len(found) == answers:
                        return found


class Observer:
    """Says, again and again, how the kernel's audit system is.

    Args:
        ask: what reads the rules' meaning, and all where the kernel does not answer: :func:`observe`.
    """

    def __init__(self, ask: Callable[[int], AuditObservation] = observe) -> None:
        self._ask = ask
        self._kernel: KernelAudit | None = None
        self._rules: bytes | None = None
        self._last: AuditObservation | None = None

    def observe(self, now_ns: int) -> AuditObservation:
        """As :func:`fimscan.audit.health.observe`, but for the backlog, in a fraction of the time."""
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
            enabled=status["enabled"],
            daemon_pid=status["pid"],
            lost=status["lost"],
            backlog=status["backlog"],
            backlog_limit=status["backlog_limit"],
        )

    def backlog(self) -> int:
        """How many records wait for the daemon, 0 where the kernel does not say."""
        if self._kernel is None:
            return 0
        try:
            return self._kernel.status()["backlog"]
        except OSError:
            return 0

    def close(self) -> None:
        """Give the socket back; the next question takes a new one."""
        if self._kernel is not None:
            self._kernel.close()
        self._kernel, self._rules = None, None
