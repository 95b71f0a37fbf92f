"""Talk to the kernel's audit system over netlink: status, rules, adding and deleting a rule.

The answers are those of ``auditctl -s`` and ``auditctl -l``, without starting a program, so that every live look can
afford them. Numbers and structures: ``linux/audit.h``, ``linux/netlink.h``.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping

_NETLINK_AUDIT = 9
_AUDIT_GET, _AUDIT_ADD_RULE, _AUDIT_DEL_RULE, _AUDIT_LIST_RULES = 1000, 1011, 1012, 1013
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_ACK = 0x1 | 0x4  # NLM_F_REQUEST, NLM_F_ACK
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_STATUS = struct.Struct("=8I")  # mask, enabled, failure, pid, rate_limit, backlog_limit, lost, backlog
_TIMEOUT_S = 2.0
_BUFFER = 1 << 20


class KernelAudit:
    """A netlink socket to the kernel's audit system; call ``close`` when done.

    Raises:
        OSError: the kernel has no audit system, or the process is not root.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_AUDIT)
        self._sequence = 0
        self._socket.settimeout(_TIMEOUT_S)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def status(self) -> Mapping[str, int]:
        """``enabled``, ``pid`` (of the daemon), ``lost``, ``backlog``, ``backlog_limit``."""
        for kind, body in self._ask(_AUDIT_GET, 1):
            if kind == _AUDIT_GET and len(body) >= _STATUS.size:
                _, enabled, _, pid, _, limit, lost, backlog = _STATUS.unpack_from(body)
                return {"enabled": enabled, "pid": pid, "lost": lost, "backlog": backlog, "backlog_limit": limit}
        raise OSError("the kernel's audit system returned no status")

    def rules(self) -> tuple[bytes, ...]:
        """All loaded rules, each a ``struct audit_rule_data``: equal bytes are equal rules."""
        return tuple(body for kind, body in self._ask(_AUDIT_LIST_RULES, None) if kind == _AUDIT_LIST_RULES)

    def add_rule(self, data: bytes) -> None:
        """Append a rule to its list.

        Raises:
            OSError: rules are locked (EPERM), it is loaded already (EEXIST), or the kernel rejects it.
        """
        self._ask(_AUDIT_ADD_RULE, 0, data)

    def delete_rule(self, data: bytes) -> None:
        """Delete a rule; raises :class:`OSError` as :meth:`add_rule`, ENOENT where it is not loaded."""
        self._ask(_AUDIT_DEL_RULE, 0, data)

    def _ask(self, question: int, answers: int | None, body: bytes = b"") -> list[tuple[int, bytes]]:
        """Send a request and return its answers as (type, body).

        ``answers`` is how many messages to expect: 0 for an acknowledgement only, ``None`` for all up to the end
        message.
        """
        self._sequence += 1
        size = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(size, question, _REQUEST_ACK, self._sequence, 0) + body)
        found: list[tuple[int, bytes]] = []
        while True:
            data = self._socket.recv(_BUFFER)
            while len(data) >= _HEADER.size:
                length, kind, _, sequence, _ = _HEADER.unpack_from(data)
                content, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
                if sequence != self._sequence:
                    continue  # the answer to an earlier request that timed out
                if kind == _NLMSG_ERROR:
                    (error,) = struct.unpack_from("=i", content)
                    if error:
                        raise OSError(-error, os.strerror(-error))
                    if answers == 0:
                        return found
                elif kind == _NLMSG_DONE:
                    return found
                else:
                    found.append((kind, content))
                    if len(found) == answers:
                        return found
