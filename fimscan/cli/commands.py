"""The names of all commands, where each is, and its line in the help."""

from __future__ import annotations

# command -> (module:function, its line in 'fimscan --help')
COMMANDS = {
    "init": ("init:init", "Write a configuration and create the database."),
    "scan": ("scan:scan", "Compare with the last scan; say what changed and who did it."),
    "diff": ("diff:diff", "Show what differs from the baseline, and who changed it."),
    "explain": ("explain:explain", "Explain the verdict of a change."),
    "explain-path": ("explain_path:explain_path_command", "Say whether a path is monitored, and why."),
    "accept": ("accept:accept", "Accept changes into the baseline."),
    "review": ("review:review", "Decide about all changes, set by set, on a terminal."),
    "reject": ("accept:reject", "Mark changes as violations."),
    "undo": ("accept:undo", "Take a decision back."),
    "plan": ("plan:plan", "Say which changes are expected, and see what came of it."),
    "control": ("control:control", "List failures of controls, and record what was done."),
    "audit": ("audit:audit", "Print audit rules, recorded accesses, and the state of audit."),
    "packages": ("packages:packages", "Say whether files are what their packages shipped."),
    "import": ("importing:import_group", "Import the baseline of another program."),
    "schedule": ("schedule:schedule", "Run scans and read the audit log until stopped."),
    "notify": ("notify:notify", "Deliver what waits for receivers, and show it."),
    "selftest": ("selftest:selftest", "Change a file, and see whether that is noticed and told."),
    "export": ("evidence:export", "Write a signed evidence bundle, or a log of file hashes."),
    "key": ("key:key", "Show, rotate and publish the key that signs evidence."),
    "verify": ("evidence:verify", "Check an evidence bundle, or the database."),
    "db": ("db:db", "Back up, restore, check, upgrade and prune the database."),
    "status": ("status:status", "Show the last scans and what waits for acceptance."),
    "schema": ("schema:schema", "Print the JSON Schemas of --format json."),
    "doctor": ("doctor:doctor", "Find problems, and say how to fix them."),
}
