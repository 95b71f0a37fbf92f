"""``make demo``: real processes change files in a scratch directory in several ways; fimscan names each process.

Where audit cannot be used, a log recorded on a real kernel (by ``demo.py --record``) is replayed instead.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from demo.auditd import audit_daemon, rules_loaded, why_not
from demo.replay import record, replay

# (what it shows, the changed file, the command)
CHANGES: tuple[tuple[str, str, list[str]], ...] = (
    ("a new file", "new.conf", ["sh", "-c", "echo created > new.conf"]),
    ("written in place", "settings.conf", ["sh", "-c", "echo changed > settings.conf"]),
    ("appended to", "hosts", ["sh", "-c", "echo 10.0.0.1 rogue >> hosts"]),
    ("sed -i: written beside it, renamed into place", "sshd_config", ["sed", "-i", "s/no/yes/", "sshd_config"]),
    ("moved", "old-name", ["mv", "old-name", "new-name"]),
    ("deleted", "audit-trail", ["rm", "audit-trail"]),
    ("mode changed", "shadow", ["chmod", "0644", "shadow"]),
    ("owner changed", "cron.allow", ["chown", "1", "cron.allow"]),
    ("truncated", "history", ["truncate", "-s", "0", "history"]),
    (
        "content changed, and the time set back to hide it",
        "forged",
        ["perl", "-e", 'open F, ">forged"; print F "evil"; close F; utime 1, 1, "forged"'],
    ),
    ("written by one process ...", "shared", ["sh", "-c", "echo one >> shared"]),
    ("... and by another: both are candidates", "shared", ["sh", "-c", "echo two >> shared"]),
    ("opened for writing, but not changed", "untouched", ["sh", "-c", ": >> untouched"]),
)
BEFORE = (
    "settings.conf",
    "hosts",
    "sshd_config",
    "old-name",
    "audit-trail",
    "shadow",
    "cron.allow",
    "history",
    "forged",
)


def make_changes(directory: Path) -> dict[str, set[int]]:
    """Run each command in a process of its own; return the pids by file."""
    pids: dict[str, set[int]] = {}
    print("What really happened:")
    for what, file, command in CHANGES:
        process = subprocess.Popen(command, cwd=directory)
        process.wait()
        pids.setdefault(file, set()).add(process.pid)
        print(f"  pid {process.pid:<7} {file:<14} {what}")
    return pids


def demonstrate(root: Path, *, recording: bool) -> int:
    """Run the demonstration in a scratch directory: scan, change files, scan, diff."""
    watched = root / "etc"
    watched.mkdir()
    for name in (*BEFORE, "shared", "untouched"):
        (watched / name).write_text(f"{name}: no\n")
    (watched / "shadow").chmod(0o600)

    def fimscan(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fimscan", "--config", str(root / "fimscan.toml"), *arguments]
        return subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE if capture else None)

    with audit_daemon(root) as log:
        (root / "fimscan.toml").write_text(
            f'[database]\nurl = "sqlite:///{root}/demo.db"\n[audit]\nlogs = ["{log}"]\nkey = "fimscan-demo"\n'
            f'[[watch]]\npath = "{watched}"\n'
        )
        with rules_loaded(fimscan("audit", "rules", capture=True).stdout):
            sys.stdout.flush()
            fimscan("scan")
            pids = make_changes(watched)
            fimscan("scan", capture=True)
    print("\nWhat 'fimscan diff --flat' says:")
    sys.stdout.flush()
    fimscan("diff", "--flat")
    document = json.loads(fimscan("diff", "--format", "json", capture=True).stdout)
    if recording:
        record(f"sqlite:///{root}/demo.db", Path(log), Path(__file__).parent / "recorded")
    return compare_with_truth(document, pids)


def compare_with_truth(document: dict[str, object], truth: dict[str, set[int]]) -> int:
    """Compare the named processes with the real ones."""
    rows = [*_list(document["changes"]), *_list(document["opened_unmodified"])]
    right = 0
    for row in rows:
        attribution = row.get("attribution") or row
        assert isinstance(attribution, dict), "a row has actors, or an attribution with actors"
        name = os.path.basename(str(row.get("moved_from") or row["path"]))
        right += {actor["pid"] for actor in _list(attribution["actors"])} == truth.get(name)
    print(f"\nFor {right} of {len(truth)} files, fimscan names exactly the processes that changed them.")
    return 0 if right == len(truth) == len(rows) else 1


def _list(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list), "the document has lists here"
    return value


def main() -> int:
    """Run the demonstration for real if audit is available, else replay it."""
    reason = why_not()
    if reason is not None:
        print(f"This is a replay of a log recorded on a real kernel, because {reason}.\n")
        replay(Path(__file__).parent / "recorded", sys.stdout)
        return 0
    directory = Path(tempfile.mkdtemp(prefix="fimscan-demo-"))
    try:
        return demonstrate(directory, recording="--record" in sys.argv)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    raise SystemExit(main())
