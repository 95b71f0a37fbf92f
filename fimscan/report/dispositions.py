"""Sentences about dispositions: what was decided about a change, by whom, and why."""

from __future__ import annotations

from fimscan.model import AcceptanceRecord, Disposition, DispositionStatus
from fimscan.report.display import minute_text, show


def disposition_facts(item: Disposition) -> tuple[str, ...]:
    """What was decided about a change, in short texts: ``violation``, ``INC-9``, ``by alice``, the time ..."""
    record = item.record
    facts = [record.status.value, *_about(record)]
    if record.is_own:
        facts.append("a change of their own")
    if record.is_undone:
        facts.append("taken back since")
    if record.status is DispositionStatus.VIOLATION and not item.is_current:
        facts.append("the file changed again since")
    return tuple(facts)


def record_text(record: AcceptanceRecord) -> str:
    """One event, for a list: ``violation 2026-11-30 08:30 UTC  /etc/hosts as of scan 7, by alice (INC-9)``."""
    when = minute_text(record.approval.accepted_ns)
    if record.undoes is not None:
        what = f"decision {record.undoes} taken back"
    else:
        path = "everything" if record.path is None else show(record.path)
        what = f"{path} as of scan {record.scan}"
    why = ", ".join(_why(record))
    verb = "accepted" if record.status is DispositionStatus.APPROVED else record.status.value
    marks = [f"decision {record.act}"] if record.act is not None else []
    marks += ["taken back since"] if record.is_undone else []
    marks += ["own change"] if record.is_own else []
    return (
        f"{verb:<9} {when}  {what}, by {show(record.approval.user)}"
        + (f" ({why})" if why else "")
        + (f"; {', '.join(marks)}" if marks else "")
    )


def _about(record: AcceptanceRecord) -> tuple[str, ...]:
    facts = [*_why(record), f"by {show(record.approval.user)}", minute_text(record.approval.accepted_ns)]
    if record.act is not None:
        facts.append(f"decision {record.act}")
    return tuple(facts)


def _why(record: AcceptanceRecord) -> tuple[str, ...]:
    approval = record.approval
    plan = f"plan {record.plan}" if record.plan is not None else ""
    category = "" if approval.category is None else approval.category.value
    return tuple(filter(None, (show(approval.ticket), plan, category, show(approval.reason))))
