"""Compute the observations from the tables of a bundle: pure functions of their rows and the scope.

They read what the files say, cell by cell. So the report cannot say anything else than the files, each exception has
its row, and whoever has the bundle can compute the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import TypeAlias

from fimscan.evidence.assessment.observation import Deviations, Observation, Rows
from fimscan.evidence.assessment.scope import Scope
from fimscan.report.display import show, time_text
from fimscan.timing.timetable import interval_seconds

Tables: TypeAlias = Callable[[str], Rows]
"""Gives the rows of the CSV file with this name."""

# The programs that RHEL-09-651025 and the CIS benchmarks name, by the names that they have in /sbin or /usr/sbin.
AUDIT_TOOLS = ("auditctl", "auditd", "augenrules", "aureport", "ausearch", "autrace")

_YEAR_S = 365 * 86400
_RANK = {"critical": 0, "high": 1, "medium": 2, "low": 3}
_UNSEEN = "No comparison was finished in the period, so that the file is empty shows nothing."


def observe(tables: Tables, scope: Scope) -> dict[str, Observation]:
    """All observations, by id."""
    delivered = _delivered_changes(tables("10-alerts.csv"))
    pruned = next((row["removed_before_utc"] for _, row in tables("15-retention.csv") if row["kind"] == "outbox"), "")
    found = (
        *_schedule(tables("04-policy/schedule.csv")),
        *_settings(tables("04-policy/changes.csv"), scope),
        *_alert_routes(tables("04-policy/alert-routes.csv")),
        *_critical_files(tables("05-critical-files.csv")),
        *_monitored_files(tables("06-monitored-files.csv")),
        *_scans(tables("07-scans.csv"), scope),
        *_comparisons(tables("08-continuity.csv")),
        *_missed_runs(tables("08-missed-runs.csv")),
        *_not_compared(tables("08-not-compared.csv"), scope),
        *_audit_coverage(tables("08-audit-coverage.csv"), scope),
        *_changes(tables("09-changes.csv"), delivered, pruned, scope),
        *_alerts(tables("10-alerts.csv"), scope),
        *_decisions(tables("11-dispositions.csv")),
        *_control_failures(tables("12-control-failures.csv")),
        *_logs(tables("13-log-integrity.csv")),
        *_audit_events(tables("13-audit-events.csv")),
        *_clock(tables("14-time-sync.csv"), scope),
        *_retention(tables("15-retention.csv"), scope),
        *_selftests(tables("16-selftest.csv")),
        _records(scope),
    )
    return {item.id: item for item in found}


# --------------------------------------------------------------------------------------------------------------------
# Settings and files


def _schedule(rows: Rows) -> Iterator[Observation]:
    jobs = [f"{row['job']} ({row['runs_at']})" for _, row in rows]
    wrong = Deviations()
    if not jobs:
        wrong.add(None, "", "no job is scheduled in the configuration; cron or a timer may start scans")
    yield _observation(
        *("schedule", "Configured schedule", "04-policy/schedule.csv"),
        f"Scheduled: {'; '.join(jobs)}." if jobs else "No job is scheduled in the configuration.",
        wrong,
        "the file as a whole",
    )


def _settings(rows: Rows, scope: Scope) -> Iterator[Observation]:
    wrong, effects = Deviations(), Counter[str]()
    for number, row in rows:
        effects[row["effect"]] += 1
        if row["effect"] == "weaker":
            wrong.add(number, row["setting"], f"less is monitored since scan {row['scan']}: {_change_text(row)}")
    yield _observation(
        *("settings", "Changes of settings", "04-policy/changes.csv"),
        f"{_count(effects.total(), 'setting')} changed between scans of the period: {_parts(effects)}."
        if effects
        else "No setting changed between scans of the period."
        if scope.comparisons
        else _UNSEEN,
        wrong,
        "rows with the effect weaker",
    )


def _change_text(row: Mapping[str, str]) -> str:
    return f"{row['before'] or '(nothing)'} became {row['after'] or '(nothing)'}"


def _alert_routes(rows: Rows) -> Iterator[Observation]:
    wrong, routes = Deviations(), []
    for number, row in rows:
        routes.append(f"{row['output']} ({row['type']}, severity {row['min_severity']} and above)")
        if row["problems"] != "yes":
            wrong.add(number, row["output"], "this receiver is not told of problems, such as files that are unreadable")
    if not routes:
        wrong.add(None, "", "no receiver of alerts is configured: nobody is sent an alert")
    yield _observation(
        *("alert-routes", "Receivers of alerts", "04-policy/alert-routes.csv"),
        f"Configured: {'; '.join(routes)}." if routes else "No receiver is configured.",
        wrong,
        "rows with problems = no, or no row at all",
    )


def _critical_files(rows: Rows) -> Iterator[Observation]:
    wrong, categories = Deviations(), Counter[str]()
    for number, row in rows:
        categories[row["category"] or "without a category"] += 1
        if not row["rationale"]:
            wrong.add(number, row["pattern"], "the configuration does not say why it is critical")
    yield _observation(
        *("critical-files", "What is critical", "05-critical-files.csv"),
        f"{_count(categories.total(), 'directory or file', 'directories and files')} configured, by category:"
        f" {_parts(categories)}.",
        wrong,
        "rows without a rationale",
    )


def _monitored_files(rows: Rows) -> Iterator[Observation]:
    wrong, kinds = Deviations(), Counter[str]()
    missing = set(AUDIT_TOOLS)
    tools, unhashed = 0, Deviations()
    for number, row in rows:
        kinds[row["type"]] += 1
        directory, _, name = row["path"].rpartition("/")
        is_tool = name in AUDIT_TOOLS and directory in ("/sbin", "/usr/sbin")
        if row["type"] == "file" and not row["sha256"]:
            wrong.add(number, row["path"], "its content is not compared by SHA-256: the policy does not ask for it")
            if is_tool:
                unhashed.add(number, row["path"], "its content is not compared by SHA-256")
        if is_tool:
            tools += 1
            missing.discard(name)
    if not kinds:
        wrong.add(None, "", "no file was monitored at the last finished scan")
    yield _observation(
        *("monitored-files", "Monitored files", "06-monitored-files.csv"),
        f"{_count(kinds.total(), 'object')} monitored at the last finished scan, by type: {_parts(kinds)}. Of each,"
        " type, size, owner, mode, access control lists and extended attributes are compared.",
        wrong,
        "rows of the type file without sha256",
    )
    for name in sorted(missing):
        unhashed.add(None, name, "not monitored in /usr/sbin or /sbin: it is not installed there, or not watched")
    yield _observation(
        *("audit-tools", "Programs of audit", "06-monitored-files.csv"),
        f"{tools} of the programs of audit are monitored ({', '.join(AUDIT_TOOLS)} are looked for).",
        unhashed,
        "rows whose path is /usr/sbin/ or /sbin/ with these names",
    )


# --------------------------------------------------------------------------------------------------------------------
# Comparisons


def _scans(rows: Rows, scope: Scope) -> Iterator[Observation]:
    start, end = time_text(scope.start_ns)[:19], time_text(scope.covered_to_ns)[:19]
    wrong, states, total = Deviations(), Counter[str](), 0
    for number, row in rows:
        total += 1
        if not start <= (row["finished_utc"] or row["started_utc"])[:19] <= end:
            continue
        states[row["status"]] += 1
        subject = f"scan {row['scan']}"
        if row["status"] != "finished":
            wrong.add(number, subject, f"did not finish ({row['status']}): it is no comparison")
        elif row["unreadable"] not in ("", "0"):
            wrong.add(number, subject, f"could not read {_count(int(row['unreadable']), 'file')}", rank=1)
    if not scope.comparisons:
        wrong.add(None, "", "no complete comparison was finished in the period")
    yield _observation(
        *("scans", "Scans", "07-scans.csv"),
        f"{_count(states.total(), 'scan')} in the period: {_parts(states) or 'none'}; {scope.comparisons} of them"
        f" compared all monitored files. The file has {total} since monitoring began, or since the records begin.",
        wrong,
        "rows of the period whose status is not finished, or with unreadable files",
    )


def _comparisons(rows: Rows) -> Iterator[Observation]:
    wrong, between, unknown, allowed, has_any = Deviations(), [], 0, "", False
    for number, row in rows:
        allowed = row["expected_max_hours"]
        has_any = has_any or bool(row["from_scan"] or row["to_scan"])
        stretch, hours = f"{row['from_utc']} to {row['to_utc']}", row["actual_hours"]
        length = f"{hours} hours" if hours else "an unknown length"
        if row["status"] in ("ok", "gap"):
            between += [float(hours)] if hours else []
            unknown += not hours
        match row["status"]:
            case "ok":
                continue
            case "gap":
                text = f"{length} without a comparison; {allowed} hours allowed"
            case "not-monitored":
                text = f"{length} of the period before monitoring began: nothing is known of them"
            case _:
                text = f"{length} of the period whose comparisons were pruned: nothing is left of them"
        wrong.add(number, stretch, text, rank=0 if row["status"] == "gap" else 1)
    longest = f"the longest has {max(between):.3f} hours" if between else "none has a known length"
    clock = f", {unknown} of unknown length because the clock was set back" if unknown else ""
    yield _observation(
        *("comparisons", "Time between comparisons", "08-continuity.csv"),
        f"{_count(len(between) + unknown, 'interval')} between two comparisons, or from or to an edge of the period;"
        f" {longest}{clock}. Allowed: {allowed} hours."
        if has_any
        else "No comparison was finished in the period or before it.",
        wrong,
        "rows whose status is not ok",
    )


def _missed_runs(rows: Rows) -> Iterator[Observation]:
    wrong, total = Deviations(), 0
    for number, row in rows:
        total += int(row["runs"])
        due = f"due {row['first_due_utc']} to {row['last_due_utc']}"
        wrong.add(number, f"job {row['job']}", f"{_count(int(row['runs']), 'run')} missed ({row['cause']}), {due}")
    yield _observation(
        *("missed-runs", "Missed runs", "08-missed-runs.csv"),
        f"{_count(total, 'scheduled run')} did not happen."
        if total
        else "No missed run was noted. Only 'fimscan schedule' notes them, not what cron or a timer starts.",
        wrong,
        "every row",
    )


def _not_compared(rows: Rows, scope: Scope) -> Iterator[Observation]:
    wrong = Deviations()
    for number, row in rows:
        since = f"last read {row['last_read_utc']}" if row["last_read_utc"] else "never read"
        wrong.add(number, row["path"], f"could not be read ({row['reason']}); {since}")
    yield _observation(
        *("not-compared", "Files that could not be compared", "08-not-compared.csv"),
        f"{_count(wrong.count, 'file')} could not be read by the last complete scan."
        if wrong.count
        else "The last complete scan read every file."
        if scope.comparisons
        else _UNSEEN,
        wrong,
        "every row",
    )


def _audit_coverage(rows: Rows, scope: Scope) -> Iterator[Observation]:
    wrong, hours = Deviations(), Counter[str]()
    for number, row in rows:
        hours[row["cause"]] += 1
        by = f", caused by {row['exe']} of {row['login_user'] or 'no login user'}" if row["exe"] else ""
        text = f"audit was blind for {row['hours']} hours ({row['cause']}), {row['from_utc']} to {row['to_utc']}{by}"
        wrong.add(number, row["path"], text)
    yield _observation(
        *("audit-coverage", "Coverage of audit", "08-audit-coverage.csv"),
        f"{_count(hours.total(), 'interval')} in which audit missed events at a monitored path: {_parts(hours)}."
        if hours
        else "No interval is known in which audit missed events at a monitored path, from the first to the last scan."
        if scope.comparisons
        else _UNSEEN,
        wrong,
        "every row",
    )


# --------------------------------------------------------------------------------------------------------------------
# Changes


def _changes(rows: Rows, delivered: Container[int], pruned: str, scope: Scope) -> Iterator[Observation]:
    """Who made the changes, and whether they were alerted, reviewed and approved. A change counts once.

    Messages from before ``pruned`` were removed: that there is none about an older change says nothing.
    """
    unknown = 0
    unnamed, unalerted, unreviewed, unapproved = Deviations(), Deviations(), Deviations(), Deviations()
    verdicts, states, alerted, tickets, no_login = Counter[str](), Counter[str](), 0, 0, 0
    for number, row in rows:
        if row["candidate"] not in ("none", "") and not row["candidate"].startswith("1 of"):
            continue  # another candidate for the same change
        rank, subject = _RANK.get(row["severity"], 4), row["object"]
        about = f"change {row['change']} ({row['type']}, severity {row['severity'] or 'unknown'})"
        verdicts[row["verdict"]] += 1
        states[row["status"]] += 1
        no_login += row["verdict"] == "confirmed" and not row["login_user"]
        if row["verdict"] in ("contested", "unattributed"):
            unnamed.add(number, subject, f"{about}: {row['verdict']}, {row['reason'] or 'no reason'}", rank=rank)
        if int(row["change"] or -1) in delivered:
            alerted += 1
        elif row["window_before_utc"][:19] < pruned[:19]:
            unknown += 1
        else:
            unalerted.add(number, subject, f"{about}: no delivered alert of the period is about it", rank=rank)
        if row["status"] == "pending":
            unreviewed.add(number, subject, f"{about}: nothing was decided", rank=rank)
        elif row["status"] == "violation":
            found = f"found to be a violation by {row['reviewer']}, ticket {row['ticket'] or '(none)'}: follow it up"
            unreviewed.add(number, subject, f"{about}: {found}", rank=-1)
        elif row["own"] == "yes":
            unreviewed.add(number, subject, f"{about}: the reviewer was among its users ({row['reviewer']})", rank=rank)
        tickets += bool(row["ticket"])
        if problem := _approval_problem(row):
            unapproved.add(number, subject, f"{about}: {problem}", rank=rank)
    total = verdicts.total()
    was_pruned = (
        f", and {unknown} from before {pruned}, whose messages were pruned (15-retention.csv)" if unknown else ""
    )
    changes = _count(total, "change") + " found in the period"
    none = "No change was found in the period." if scope.comparisons else _UNSEEN
    yield _observation(
        *("named", "Who made each change", "09-changes.csv"),
        f"{changes}: {_parts(verdicts)}. Each row has user, type, time, outcome, origin and object. Confirmed changes"
        f" without a login user, such as those of daemons: {no_login}."
        if total
        else none,
        unnamed,
        "rows with the verdict contested or unattributed",
    )
    yield _observation(
        *("alerted", "Alerts about changes", "09-changes.csv"),
        f"{changes}: {alerted} of them in a delivered alert of the period (10-alerts.csv),"
        f" {unalerted.count} in none{was_pruned}. A"
        " receiver may be sent only some severities, verdicts or kinds (04-policy/alert-routes.csv)."
        if total
        else none,
        unalerted,
        "rows whose change is in no delivered message of 10-alerts.csv (column changes)"
        + (f", and that are not from before {pruned}" if pruned else ""),
    )
    yield _observation(
        *("reviewed", "Review of changes", "09-changes.csv"),
        f"{changes}: {_parts(states)}." if total else none,
        unreviewed,
        "rows whose status is not approved, or with own = yes",
    )
    yield _observation(
        *("approved", "Approval of changes", "09-changes.csv"),
        f"{changes}: {states['approved']} approved, {tickets} with a ticket." if total else none,
        unapproved,
        "rows whose status is not approved, without ticket or decision_reason, or with own = yes",
    )


def _approval_problem(row: Mapping[str, str]) -> str:
    """Why the approval of a change is no complete one; empty if it is."""
    if row["status"] != "approved":
        return "not approved (" + row["status"] + (f", ticket {row['ticket']})" if row["ticket"] else ")")
    if not row["ticket"]:
        return f"approved by {row['reviewer']} without a ticket"
    if not row["decision_reason"]:
        return f"approved by {row['reviewer']} without a reason"
    return f"approved by a user who made it ({row['reviewer']})" if row["own"] == "yes" else ""


def _delivered_changes(rows: Rows) -> frozenset[int]:
    """The numbers of the changes that a delivered message is about."""
    return frozenset(
        change
        for _, row in rows
        if row["state"] == "delivered"
        for text in row["changes"].split()
        for change in _numbers(text)
    )


def _numbers(text: str) -> Iterable[int]:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _decisions(rows: Rows) -> Iterator[Observation]:
    wrong, states = Deviations(), Counter[str]()
    for number, row in rows:
        states[row["status"]] += 1
        who = f"decision {row['decision']} of {row['reviewer']}"
        if row["own"] == "yes":
            wrong.add(number, row["path"], f"{who} is about a change that this user made")
        elif row["taken_back"] == "yes":
            wrong.add(number, row["path"], f"{who} was taken back", rank=1)
    yield _observation(
        *("decisions", "Decisions", "11-dispositions.csv"),
        f"{_count(states.total(), 'decision')} made since the beginning of the period, by path: {_parts(states)}."
        if states
        else "Nothing was decided since the beginning of the period.",
        wrong,
        "rows with own = yes or taken_back = yes",
    )


# --------------------------------------------------------------------------------------------------------------------
# Alerts and controls


def _alerts(rows: Rows, scope: Scope) -> Iterator[Observation]:
    wrong, states, longest = Deviations(), Counter[str](), 0.0
    for number, row in rows:
        states[row["state"]] += 1
        # A clock that was set back gives a negative number, which has an apostrophe in front.
        longest = max(longest, float(row["seconds"].lstrip("'") or 0))
        if row["state"] != "delivered":
            text = f"message {row['message']} ({row['kind']}) of {row['made_utc']}: {row['state']}, not acknowledged"
            wrong.add(number, row["output"], text, rank=0 if row["urgent"] == "yes" else 1)
    if not states and not scope.has_outputs:
        wrong.add(None, "", "no alert was sent: no receiver is configured")
    yield _observation(
        *("alerts", "Alerts and their delivery", "10-alerts.csv"),
        f"{_count(states.total(), 'message')} made in the period: {_parts(states)}. The longest time until a receiver"
        f" acknowledged: {longest:.3f} s."
        if states
        else "No message was made in the period.",
        wrong,
        "rows whose state is not delivered",
    )


def _control_failures(rows: Rows) -> Iterator[Observation]:
    wrong, kinds, lasting, noted = Deviations(), Counter[str](), 0, 0
    for number, row in rows:
        kinds[row["kind"]] += 1
        lasting += not row["end_utc"]
        noted += row["notes"] != "0"
        end = f"to {row['end_utc']}" if row["end_utc"] else "and still lasting"
        text = f"{row['kind']}: {row['cause']}; from {row['start_utc']} {end}; detected {row['detected_utc']}"
        rank = 0 if not row["end_utc"] else 1 if row["notes"] == "0" else 2
        wrong.add(number, row["subject"], f"{text}; {_remediation_text(row)}", rank=rank)
    yield _observation(
        *("control-failures", "Failures of change detection and audit", "12-control-failures.csv"),
        f"{_count(kinds.total(), 'failure')} in the period, {lasting} still lasting: {_parts(kinds)}. Of {noted},"
        " people noted what they did."
        if kinds
        else "No failure was detected. They are looked for at scans and when the audit log is read.",
        wrong,
        "every row",
    )


def _remediation_text(row: Mapping[str, str]) -> str:
    if row["notes"] == "0":
        return "no remediation by people is recorded"
    ticket = f", {row['ticket']}" if row["ticket"] else ""
    cause = f"; root cause: {row['root_cause']}" if row["root_cause"] else ""
    return f"remediation ({row['noted_by']}{ticket}): {row['remediation']}{cause}"


def _logs(rows: Rows) -> Iterator[Observation]:
    wrong, states = Deviations(), Counter[str]()
    for number, row in rows:
        states[row["status"]] += 1
        if row["status"] == "breached":
            wrong.add(number, row["path"], f"verified content was altered ({row['breaches']})")
        elif row["status"] != "ok":
            wrong.add(number, row["path"], f"{row['status']}: the log is not there at the end of the period", rank=1)
    if not states:
        wrong.add(None, "", "no log is monitored as one that may only grow: this bundle is no evidence for 10.3.4")
    yield _observation(
        *("logs", "Logs that may only grow", "13-log-integrity.csv"),
        f"{_count(states.total(), 'log')} monitored: {_parts(states)}. Growth and rotation raise no alert."
        if states
        else "No log has the policy append-only.",
        wrong,
        "rows whose status is not ok",
    )


_STOPS = {
    "disabled": "audit was disabled",
    "daemon-end": "the audit daemon ended",
    "rule-removed": "an audit rule was removed",
    "uring-removed": "an audit rule for io_uring was removed",
}
_STOP_RANK = {kind: rank for rank, kind in enumerate(_STOPS)}


def _audit_events(rows: Rows) -> Iterator[Observation]:
    wrong, kinds = Deviations(), Counter[str]()
    for number, row in rows:
        kinds[row["kind"]] += 1
        if row["kind"] in _STOPS:
            key = f" (key {row['rule_key']})" if row["rule_key"] else ""
            user = f", login user {row['login_user']}" if row["login_user"] else ""
            text = f"{_STOPS[row['kind']]}{key}{user}, {row['time_utc']}"
            wrong.add(number, row["exe"], text, rank=_STOP_RANK[row["kind"]])
    yield _observation(
        *("audit-events", "Stops and starts of audit", "13-audit-events.csv"),
        f"{_count(kinds.total(), 'event')} in the audit logs: {_parts(kinds)}."
        if kinds
        else "The audit logs that fimscan read have no such event, or it read none.",
        wrong,
        "rows of the kinds " + ", ".join(_STOPS),
    )


def _clock(rows: Rows, scope: Scope) -> Iterator[Observation]:
    wrong, states = Deviations(), Counter[str]()
    for number, row in rows:
        state = {"yes": "synchronized", "no": "not synchronized"}.get(row["synchronized"], "unknown")
        states[state] += 1
        if state != "synchronized":
            by = f" (service {row['service']})" if row["service"] else ""
            wrong.add(number, f"scan {row['scan']}", f"clock {state} at {row['started_utc']}{by}")
    if (unrecorded := scope.comparisons - states.total()) > 0:
        wrong.add(None, "", f"of {_count(unrecorded, 'complete scan')} of the period, the clock is not recorded")
    yield _observation(
        *("clock", "The clock at each scan", "14-time-sync.csv"),
        f"{_count(states.total(), 'scan')} with a look at the clock: {_parts(states)}."
        if states
        else "No scan of the period recorded whether the clock was synchronized.",
        wrong,
        "rows with synchronized not yes",
    )


def _retention(rows: Rows, scope: Scope) -> Iterator[Observation]:
    wrong, kept, oldest = Deviations(), [], []
    year_ago = time_text(max(scope.covered_to_ns - _YEAR_S * 10**9, 0))[:19]
    for number, row in rows:
        schedule = row["pruned_by_schedule"]
        kept.append(f"{row['kind']} {row['kept_for']}" + ("" if schedule != "off" else " (not removed by itself)"))
        oldest += [row["oldest_utc"]] if row["oldest_utc"] else []
        age = interval_seconds(row["kept_for"])
        if row["kind"] == "contents":
            continue  # no record of an event
        if schedule != "off" and age is not None and age < _YEAR_S:
            wrong.add(number, row["kind"], f"{row['what']}: kept for {row['kept_for']}, less than 12 months")
        if row["removed_before_utc"][:19] > year_ago:
            wrong.add(number, row["kind"], f"{row['what']}: those before {row['removed_before_utc']} were removed")
    if not oldest:
        wrong.add(None, "", "no record is there", rank=1)
    elif min(oldest)[:19] > year_ago:
        wrong.add(None, "", f"there are no 12 months of history: the oldest record is from {min(oldest)}", rank=1)
    first = f" The oldest record is from {min(oldest)}." if oldest else ""
    yield _observation(
        *("retention", "Retention", "15-retention.csv"),
        f"Kept: {'; '.join(kept)}.{first}" if kept else "Nothing is recorded.",
        wrong,
        "rows with kept_for below 365d, or removed_before_utc in the last 12 months; the earliest oldest_utc",
    )


def _selftests(rows: Rows) -> Iterator[Observation]:
    wrong, passed = Deviations(), dict[str, bool]()
    for number, row in rows:
        passed[row["selftest"]] = row["passed"] == "yes"
        if row["state"] == "failed":
            receiver = f" ({row['output']})" if row["output"] else ""
            wrong.add(number, f"selftest {row['selftest']}", f"step {row['step']}{receiver} failed: {row['detail']}")
        elif row["passed"] != "yes" and row["state"] != "passed":
            wrong.add(number, f"selftest {row['selftest']}", f"step {row['step']}: {row['state']}", rank=1)
    yield _observation(
        *("selftests", "Selftests", "16-selftest.csv"),
        f"{_count(len(passed), 'selftest')} made a known change: {sum(passed.values())} passed, up to the receivers."
        if passed
        else "No selftest was run in the period.",
        wrong,
        "rows with passed = no",
    )


def _records(scope: Scope) -> Observation:
    wrong = Deviations()
    for problem in scope.problems:
        wrong.add(None, "", show(problem))
    text = "The records are whole: the chain of scans and the database were checked before this export."
    if scope.problems:
        text = "The records do NOT verify as a whole: see the exceptions."
    return _observation(
        *("records", "fimscan's own records", "00-README.txt"),
        f"{text} The head of the chain is {scope.head or '(none)'}.",
        wrong,
        "the lines Database and Chain of scans of the README",
    )


# --------------------------------------------------------------------------------------------------------------------


def _observation(name: str, title: str, file: str, text: str, wrong: Deviations, where: str) -> Observation:
    return Observation(
        id=name, title=title, file=file, text=text, count=wrong.count, deviations=wrong.first(), where=where
    )


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def _parts(counts: Mapping[str, int]) -> str:
    """``3 confirmed, 1 likely``: the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {name}" for name, number in ordered)
