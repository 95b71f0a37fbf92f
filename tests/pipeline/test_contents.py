"""What changed in a text, from a scan to a report: by the program itself."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import sqlite3
import subprocess
import zipfile
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Cli

PASSWD = "root:x:0:0:root:/root:/bin/bash\n"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret-of-root\n-----END OPENSSH PRIVATE KEY-----\n"
KEEP = "keep_content = true"


def contents(cli: Cli) -> set[bytes]:
    with closing(sqlite3.connect(f"{cli.database}.contents")) as connection:
        return {zlib.decompress(data) for (data,) in connection.execute("SELECT data FROM content WHERE refused = ''")}


def everything_kept(cli: Cli) -> bytes:
    """All that is in the file, compressed or not."""
    return b"".join([Path(f"{cli.database}.contents").read_bytes(), *contents(cli)])


@pytest.fixture
def etc(cli: Cli) -> Path:
    """A small /etc below a watch that keeps content; a first scan has been made."""
    cli.write_config(watch=KEEP)
    etc = cli.watched / "etc"
    (etc / "ssh").mkdir(parents=True)
    (etc / "passwd").write_text(PASSWD)
    (etc / "shadow").write_text("root:$6$salt$hash:19000:0:99999:7:::\n")
    (etc / "ssh" / "sshd_config").write_text("Port 22\nPermitRootLogin no\n")
    (etc / "ssh" / "mine").write_text(KEY)
    (etc / "app.conf").write_text("".join(f"setting {number}\n" for number in range(60)))
    cli.scan()
    return etc


def change(etc: Path) -> None:
    with (etc / "passwd").open("a") as file:
        file.write("eve:x:0:0::/:/bin/sh\n")
    (etc / "shadow").write_text("root:$6$salt$other:19000:0:99999:7:::\n")
    (etc / "ssh" / "sshd_config").write_text("Port 22\nPermitRootLogin yes\n")
    (etc / "ssh" / "mine").write_text(KEY.replace("secret", "other"))
    (etc / "app.conf").write_text("".join(f"SETTING {number}\n" for number in range(60)))


@pytest.fixture
def changed(cli: Cli, etc: Path) -> Cli:
    change(etc)
    cli.scan(4)
    return cli


def on_terminal(cli: Cli, *arguments: str, lines: int = 24) -> str:
    """What a command prints on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cli.command("--no-pager", *arguments),
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        cwd=cli.root,
        env={**os.environ, "COLUMNS": "80", "LINES": str(lines), "NO_COLOR": "1"},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how a terminal says that nobody writes to it any more
        pass
    process.wait(30)
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def texts(cli: Cli, *arguments: str) -> dict[str, dict[str, object] | None]:
    return {os.path.basename(row["path"]): row.get("text") for row in cli.diff(*arguments)["changes"]}


def test_the_baseline_has_its_content_and_no_secret(cli: Cli, etc: Path) -> None:
    """By the first scan; keys and hashes are in no form in the file."""
    assert (etc / "app.conf").read_bytes() in contents(cli)
    assert PASSWD.encode() in contents(cli)
    kept = everything_kept(cli)
    assert b"secret-of-root" not in kept
    assert b"$6$" not in kept


def test_without_keep_content_there_is_no_file(cli: Cli) -> None:
    """Nor a trace of it in any output."""
    cli.scan()
    (cli.watched / "a").write_text("other\n")
    cli.scan(4)
    assert not os.path.lexists(f"{cli.database}.contents")
    assert "text" not in cli("diff", "--text").stdout.replace(str(cli.root), "")
    assert "contents" not in cli("doctor").stdout
    assert json.loads(cli("status", "--format", "json").stdout)["contents"] is None


def test_facts_are_told_everywhere(changed: Cli) -> None:
    """In the reports of scan and diff, without asking; the changes stand out."""
    shown = changed("diff").stdout
    assert "text: user eve added, uid 0\n" in shown
    assert "text: PermitRootLogin no -> yes\n" in shown
    ranks = {os.path.basename(row["path"]): row["rank"] for row in changed.diff()["changes"]}
    assert ranks["passwd"]["level"] == ranks["sshd_config"]["level"] == "look"
    assert ranks["passwd"]["reasons"][0] == "superuser-account"
    assert "eve" in ranks["passwd"]["words"]
    assert ranks["sshd_config"]["reasons"][0] == "root-login"
    assert ranks["app.conf"]["level"] == "wave"


def test_content_is_shown_only_if_asked(changed: Cli) -> None:
    """Not in pipes, files, JSON, CSV, HTML or evidence: of content, there are only the facts."""
    outputs = [changed("diff", "--format", form).stdout for form in ("text", "json", "ndjson", "csv", "html")]
    outputs += [changed("diff", "--flat").stdout, changed("explain", str(changed.watched / "etc/app.conf")).stdout]
    outputs += [changed("scan", "--no-audit", "--full", "-v").stdout, changed("status").stdout]
    assert all("SETTING" not in output and "setting 1" not in output for output in outputs)
    assert "lines: " in outputs[0] and "--text" in outputs[0]
    changed("export", "pci-dss", "--from", "2020-01-01", "--to", "2099-01-01", "--out", "e.zip", code=0)
    with zipfile.ZipFile(changed.root / "e.zip") as archive:
        for name in archive.namelist():
            assert b"SETTING" not in archive.read(name), name
    (changed.root / "out").write_text("")
    changed("diff", "--out", "out")
    assert "SETTING" not in (changed.root / "out").read_text()


def test_text_shows_the_whole_diff(changed: Cli) -> None:
    """As text and as JSON; a secret has a reason instead."""
    shown = changed("diff", "--text").stdout
    assert shown.count("      +SETTING") == shown.count("      -setting") == 60
    assert "more line" not in shown
    assert "text: not kept: its name is that of a file with secrets" in shown
    assert "text: not kept: there seems to be a key, a password or a token in it" in shown
    assert "secret-of-root" not in shown and "$6$" not in shown
    found = texts(changed, "--text")
    app = found["app.conf"]
    assert app is not None and isinstance(app["unified"], list)
    assert app["unified"][:2] == ["@@ -1,60 +1,60 @@", "-setting 0"]
    assert found["shadow"] == {
        "facts": [], "omitted": 0, "unified": None, "cut": False, "before": "secret-name", "after": "secret-name"
    }  # fmt: skip
    assert all(text is None for text in texts(changed).values())
    changed("diff", "--text", "--format", "csv", code=15)


def test_a_terminal_has_twenty_lines_of_a_text(changed: Cli) -> None:
    """Then the command that shows the rest; of several rows fewer, so that the report stays on the screen."""
    path = str(changed.watched / "etc/app.conf")
    for shown in (on_terminal(changed, "diff", "--path", path), on_terminal(changed, "explain", path)):
        assert shown.count("\n      -setting") == 19
        (more,) = [line for line in shown.splitlines() if "more lines: " in line]
        assert more.strip().startswith("... 101 more lines: ") and more.endswith("--text")
    command = more.partition("lines: ")[2].replace("fimscan ", "", 1).split()
    assert changed(*command[command.index("explain") :]).stdout.count("\n      -setting") == 60
    assert on_terminal(changed, "diff", lines=60).count("\n      -setting") in (9, 5, 3)


def test_the_first_screen_keeps_its_size(cli: Cli, etc: Path) -> None:
    """Facts are reasons there; lines come only where there is room."""
    change(etc)
    for number in range(40):
        (cli.watched / f"n{number}").write_text(f"{number}\n")
    cli.scan(5)
    shown = on_terminal(cli, "diff", "--no-packages")
    assert len(shown.splitlines()) <= 24
    assert "new account with uid 0: eve" in shown
    assert "PermitRootLogin no -> yes" in shown


def test_explain_shows_the_text_of_one_step(changed: Cli) -> None:
    """Between two scans, while diff compares with the baseline."""
    path = changed.watched / "etc/app.conf"
    path.write_text(path.read_text().replace("SETTING 7\n", "SETTING seven\n"))
    changed.scan(4)
    (text,) = [json.loads(changed("explain", str(path), "--text", "--format", "json").stdout)["change"]["text"]]
    assert [line for line in text["unified"] if line[0] in "+-"] == ["-SETTING 7", "+SETTING seven"]
    whole = texts(changed, "--text")["app.conf"]
    assert whole is not None and "-setting 7" in whole["unified"]  # type: ignore[operator]


@pytest.mark.usefixtures("etc")
def test_all_of_a_text_is_escaped(cli: Cli) -> None:
    """ESC, bidirectional controls, invalid UTF-8, carriage returns; long lines are cut unless asked for."""
    (cli.watched / "b").write_bytes(b"\x1b[2J\xe2\x80\xae\xff\r\n" + b"x" * 5000)
    cli.scan(4)
    path = str(cli.watched / "b")
    for shown in (on_terminal(cli, "diff", "--path", path), cli("diff", "--text").stdout):
        assert "\x1b" not in shown and "\u202e" not in shown
        assert "+\\x1b[2J\\u202e\\xff\\x0d" in shown
    assert max(map(len, on_terminal(cli, "diff", "--flat").splitlines())) < 5000
    assert "x" * 5000 in cli("diff", "--text").stdout
    assert "\\ No newline at end of file" in cli("diff", "--text").stdout


def test_a_file_that_is_not_read_keeps_its_content(cli: Cli, etc: Path) -> None:
    """ctime vouches for it: its old content is there when it changes."""
    cli.write_config(watch=f'{KEEP}\nreread = "ctime"')
    old = (etc / "app.conf").stat()
    cli.scan()
    assert old.st_ctime_ns == (etc / "app.conf").stat().st_ctime_ns
    change(etc)
    cli.scan(4)
    text = texts(cli, "--text")["app.conf"]
    assert text is not None and text["before"] is None and text["unified"]


def test_content_that_was_not_kept_is_not_invented(cli: Cli) -> None:
    """Content is kept from now on: an earlier state has none, and the report says so."""
    cli.scan()
    (cli.watched / "a").write_text("second\n")
    cli.scan(4)
    cli.write_config(watch=KEEP)
    cli.scan()
    text = texts(cli, "--text")["a"]
    assert text is not None and text["before"] == "not-kept" and text["unified"] is None
    assert "text: old content not kept when it was read" in cli("diff", "--text").stdout
    (cli.watched / "a").write_text("third\n")
    cli.scan(4)
    (text,) = [
        json.loads(cli("explain", str(cli.watched / "a"), "--text", "--format", "json").stdout)["change"]["text"]
    ]
    assert [line for line in text["unified"] if line[0] in "+-"] == ["-second", "+third"]


def test_new_and_removed_files_have_their_whole_text(cli: Cli, etc: Path) -> None:
    """As insertions and removals."""
    (etc / "app.conf").unlink()
    (etc / "sudoers.d").mkdir()
    (etc / "sudoers.d" / "eve").write_text("eve ALL=(ALL) NOPASSWD: ALL\n")
    cli.scan(3)
    found = texts(cli, "--text")
    assert found["eve"] is not None and found["eve"]["unified"] == ["@@ -0,0 +1 @@", "+eve ALL=(ALL) NOPASSWD: ALL"]
    assert found["app.conf"] is not None and len(found["app.conf"]["unified"]) == 61  # type: ignore[arg-type]
    assert "sudo rule added: eve ALL=(ALL) NOPASSWD: ALL" in cli("diff").stdout


def test_an_exception_names_one_file(cli: Cli, etc: Path) -> None:
    """Its content is kept and shown; taken back, it is dropped and no longer shown."""
    exact = etc / "ssh" / "mine"
    cli.write_config(watch=f'{KEEP}\nkeep_content_of_secrets = ["{exact}"]')
    cli.scan()
    assert KEY.encode() in contents(cli)
    exact.write_text(KEY.replace("secret", "other"))
    cli.scan(4)
    assert "-secret-of-root" in cli("diff", "--text").stdout
    cli.write_config(watch=KEEP)
    assert "secret-of-root" not in cli("diff", "--text").stdout  # at once
    cli.scan()
    assert b"of-root" not in everything_kept(cli)
    for wrong in (f"{etc}/*", "/elsewhere", "relative"):
        cli.write_config(watch=f'{KEEP}\nkeep_content_of_secrets = ["{wrong}"]')
        cli("scan", "--no-audit", code=17)


def test_the_same_content_under_a_secret_name_is_not_shown(cli: Cli, etc: Path) -> None:
    """It is kept for the other file, whose name says nothing."""
    (etc / "harmless").write_text("first\n")
    (etc / "server.key").write_text("first\n")
    cli.scan(1)
    (etc / "harmless").write_text("second\n")
    (etc / "server.key").write_text("second\n")
    cli.scan(4)
    found = {}
    for row in json.loads(cli("diff", "--from", "2", "--text", "--format", "json").stdout)["changes"]:
        found[os.path.basename(row["path"])] = row["text"]
    assert found["harmless"]["unified"]
    assert found["server.key"]["unified"] is None and found["server.key"]["after"] == "secret-name"


def test_a_failure_of_the_file_does_not_stop_a_scan(changed: Cli, etc: Path) -> None:
    """Nor a report. Both say so, doctor says what to do, and verify fails."""
    path = Path(f"{changed.database}.contents")
    path.write_bytes(b"nonsense" * 1000)
    (etc / "app.conf").write_text("x\n")
    assert "no content is kept" in changed("scan", "--no-audit", code=4).stderr
    assert "unknown" in changed("diff", code=4).stderr
    assert "remove " in changed("doctor").stdout
    assert "FAIL  contents" in changed("verify", "--db", code=25).stdout
    path.unlink()
    assert "there is no" in changed("doctor").stdout
    assert "FAIL  contents: " in changed("verify", "--db", code=25).stdout
    changed.scan()
    assert b"x\n" in contents(changed)
    assert "ok    contents: " in changed("verify", "--db", code=0).stdout


def test_status_doctor_and_verify_say_how_much_is_kept(changed: Cli) -> None:
    """And what is wrong with its mode."""
    count = len(contents(changed))
    assert f"Contents: {count} contents kept, " in changed("status").stdout
    assert json.loads(changed("status", "--format", "json").stdout)["contents"]["kept"] == count
    assert f"{count} contents kept" in changed("doctor").stdout
    assert f"ok    contents: {count} kept contents match" in changed("verify", "--db", code=0).stdout
    os.chmod(f"{changed.database}.contents", 0o644)
    assert "has mode 0644" in changed("doctor").stdout
    assert "chmod 600" in changed("status").stdout
    changed("verify", "--db", code=25)
    with closing(sqlite3.connect(f"{changed.database}.contents")) as connection, connection:
        connection.execute("UPDATE content SET data = x'00' WHERE id = 1")
    os.chmod(f"{changed.database}.contents", 0o600)
    assert "does not match its digest" in changed("verify", "--db", code=25).stdout


def test_the_quota_drops_what_nobody_needs_first(cli: Cli, etc: Path) -> None:
    """Old states between the baseline and the last scan; then the scan says that it is too small."""
    states = [os.urandom(3000).hex().encode() for _ in range(4)]
    (etc / "random").write_bytes(states[0])
    cli.write_config(watch=KEEP, extra='[contents]\nquota = "10k"')
    cli.scan(1)
    cli("accept", "--all", "--even-outstanding", code=0)
    for state in states[1:]:
        (etc / "random").write_bytes(state)
        assert "quota" not in cli("scan", "--no-audit", code=4).stderr
    assert states[0] in contents(cli) and states[3] in contents(cli)
    assert not {states[1], states[2]} & contents(cli)
    cli.write_config(watch=KEEP, extra='[contents]\nquota = "4k"')
    assert "[contents] quota" in cli("scan", "--no-audit").stderr
    assert "WARN contents the quota of kept contents is too small" in " ".join(cli("doctor").stdout.split())
    assert states[0] not in contents(cli) and states[3] in contents(cli)
    assert "dropped" in cli("status").stdout


def test_a_place_below_a_watched_directory_is_told(cli: Cli) -> None:
    """It is no file of the scan, and the administrator learns of it."""
    cli.write_config(watch=KEEP, extra=f'[contents]\nfile = "{cli.watched}/kept"')
    assert "below the watched directory" in cli("scan", "--no-audit", code=0).stderr
    assert "below the watched directory" in cli("doctor").stdout
    assert (cli.watched / "kept").stat().st_mode & 0o777 == 0o600
    (cli.watched / "a").write_text("other\n")
    cli.scan(4)
    assert [os.path.basename(row["path"]) for row in cli.diff()["changes"]] == ["a"]


def test_what_is_kept_has_the_recorded_digest(changed: Cli) -> None:
    """The content is found by the SHA-256 that the database has of the file."""
    with closing(sqlite3.connect(changed.database)) as connection:
        recorded = {row[0] for row in connection.execute("SELECT sha256 FROM file_version")}
    kept = {hashlib.sha256(content).digest() for content in contents(changed)}
    assert kept and kept <= recorded


@pytest.mark.parametrize("settings", ['policy = "append-only"', 'policy = "attributes"', 'digests = ["xxh3_128"]'])
def test_what_cannot_keep_content_is_an_error(cli: Cli, settings: str) -> None:
    """Logs, and watches without SHA-256."""
    cli.write_config(watch=f"{KEEP}\n{settings}")
    assert "keep_content" in cli("scan", "--no-audit", code=17).stderr


@pytest.mark.parametrize("count", [2, 6])
def test_more_rows_have_shorter_texts(cli: Cli, count: int) -> None:
    """A few rows have the changed lines alone; with more, what would have fitted still fits."""
    cli.write_config(watch=KEEP)
    names = [f"n{number}" for number in range(count)]
    for name in names:
        (cli.watched / name).write_text("".join(f"{line}\n" for line in range(9)))
    cli.scan()
    for name in names:
        (cli.watched / name).write_text("".join(f"{line}\n" for line in range(9)).replace("5", "five"))
    cli.scan(4)
    shown = on_terminal(cli, "diff", "--no-packages", lines=24 if count == 2 else 55)
    if count == 2:
        assert shown.count("\n      -5\n      +five\n") == count
    else:
        assert len(shown.splitlines()) <= 55
