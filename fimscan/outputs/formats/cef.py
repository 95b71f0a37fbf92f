"""ArcSight's Common Event Format: one line for each message, with the most urgent change in its fields."""

from __future__ import annotations

from fimscan import __version__
from fimscan.outputs.rows import (
    Document,
    directory_and_name,
    epoch_ms,
    lead_of,
    left_out,
    named_actor,
    path_text,
    signing_key,
)
from fimscan.report.display import show

_SEVERITIES = {None: 1, "low": 3, "medium": 5, "high": 8, "critical": 10}
_LONGEST = 1023  # characters that ArcSight keeps of most fields


def cef(message: Document) -> str:
    """The line of a message."""
    head = (
        *("CEF:0", "fimscan", "fimscan", __version__, message["kind"]),
        *(_header(message["subject"]), str(_SEVERITIES[message["severity"]])),
    )
    return "|".join(head) + "|" + " ".join(f"{key}={_value(text)}" for key, text in _fields(message) if text)


def _fields(message: Document) -> list[tuple[str, str | None]]:
    lead = lead_of(message)
    fields: list[tuple[str, str | None]] = [
        ("externalId", message["id"]),
        ("rt", str(epoch_ms(message["time"]))),
        ("dvchost", message["host"]),
        ("cnt", str(message["summary"]["changes"])),
        ("msg", "; ".join(item["title"] for item in message["sets"]) or "; ".join(message["problems"])),
        *_labelled("cn1", "scan", message["to_scan"]),
        *_labelled("cn2", "toLookAt", message["summary"]["look"]),
        *_labelled("cn3", "notListed", left_out(message)),
        *_labelled("cs6", "ledgerHead", message["head"]["entry"] if message["head"] is not None else None),
        *_labelled("flexString1", "signingKey", signing_key(message)),
    ]
    return fields + (_of_change(lead) if lead is not None else [])


def _of_change(row: Document) -> list[tuple[str, str | None]]:
    answer, actor = row["attribution"], named_actor(row)
    path = path_text(row) or ""
    before, after = row["before"] or {}, row["after"] or {}
    fields = [
        ("act", row["kind"]),
        ("filePath", path),
        ("fname", directory_and_name(path)[1]),
        ("oldFilePath", path_text(row, "moved_from")),
        ("fileHash", after.get("sha256")),
        ("oldFileHash", before.get("sha256")),
        ("fsize", _text(after.get("size"))),
        ("filePermission", after.get("mode")),
        *_labelled("cs1", "verdict", answer["verdict"]),
        *_labelled("cs2", "reason", answer["reason"]),
        *_labelled("cs3", "differences", ", ".join(row["differences"])),
        *_labelled("cs4", "answer", row["answer"]),
        *_labelled("cs5", "rank", row["rank"]["words"]),
    ]
    if actor is not None:
        fields += [
            ("sproc", actor["exe"] or actor["comm"]),
            ("spid", _text(actor["pid"])),
            ("suid", _text(actor["uid"])),
            ("suser", actor["user"]),
        ]
    return fields


def _labelled(key: str, label: str, value: object) -> list[tuple[str, str | None]]:
    return [] if value is None or value == "" else [(f"{key}Label", label), (key, str(value))]


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _header(text: str) -> str:
    return text[:_LONGEST].replace("\\", "\\\\").replace("|", "\\|")


def _value(text: str) -> str:
    # A control character, such as the end of a line, would begin another record.
    clean = "".join(c if c.isprintable() else show(c) for c in text[:_LONGEST])
    return clean.replace("\\", "\\\\").replace("=", "\\=")
