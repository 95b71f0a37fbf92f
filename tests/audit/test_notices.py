"""What the log says about the audit system itself."""

from __future__ import annotations

import io

import pytest

from fimscan.audit import read_stream
from fimscan.model import NoticeKind

AT = b"msg=audit(1795408513.814:4): "


@pytest.mark.parametrize(
    ("line", "kind", "key"),
    [
        (b"type=DAEMON_START " + AT + b"op=start ver=3.0.9 auid=0 res=success", NoticeKind.DAEMON_START, None),
        (b"type=DAEMON_END " + AT + b"op=terminate auid=0 pid=1 res=success", NoticeKind.DAEMON_END, None),
        (b"type=DAEMON_ABORT " + AT + b"op=start-failed res=failed", NoticeKind.DAEMON_END, None),
        (b"type=SYSTEM_BOOT " + AT + b"pid=1 uid=0 msg='comm=\"systemd-update-utmp\"'", NoticeKind.BOOT, None),
        (b"type=KERNEL " + AT + b"state=initialized audit_enabled=0 res=1", NoticeKind.BOOT, None),
        (b"audit: type=2000 audit(1.200:1): state=initialized audit_enabled=0 res=1", NoticeKind.BOOT, None),
        (
            b"type=CONFIG_CHANGE " + AT + b'auid=1 ses=1 op=add_rule key="fimx" list=4 res=1\x1dAUID="unset"',
            NoticeKind.RULE_ADDED,
            "fimx",
        ),
        (
            b"type=CONFIG_CHANGE " + AT + b"auid=1 op=remove_rule key=66696D0178 list=4 res=1",
            NoticeKind.RULE_REMOVED,
            "fim,x",
        ),
        (b"type=CONFIG_CHANGE " + AT + b'auid=1 op="remove rule" key="k" list=4 res=1', NoticeKind.RULE_REMOVED, "k"),
        (b"type=CONFIG_CHANGE " + AT + b"op=set audit_enabled=0 old=1 auid=1 res=1", NoticeKind.DISABLED, None),
        (b"type=CONFIG_CHANGE " + AT + b"op=set audit_enabled=2 old=0 auid=1 res=1", NoticeKind.ENABLED, None),
        (b"type=CONFIG_CHANGE " + AT + b"op=set audit_enabled=0 old=1 auid=1 res=0", None, None),
        (b"type=CONFIG_CHANGE " + AT + b"op=set audit_backlog_limit=8192 old=64 res=1", None, None),
        (b"type=DAEMON_START " + AT + b"op=start ver=3.0.9 res=failed", None, None),
        (b"type=USER_CMD " + AT + b'op=remove_rule key="x" res=1', None, None),
    ],
)
def test_what_changes_the_coverage_is_noticed(line: bytes, kind: NoticeKind | None, key: str | None) -> None:
    """Starts, ends, rule changes and switches are told; failed attempts and other settings are not."""
    found = [notice for batch in read_stream(io.BytesIO(line + b"\n")) for notice in batch.notices]
    assert [(notice.kind, notice.key) for notice in found] == ([] if kind is None else [(kind, key)])
