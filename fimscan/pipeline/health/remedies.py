"""Write remedies: one line for a shell, with what else there is to know in a comment behind it. Pure."""

from __future__ import annotations

import shlex

#: Separates the command of a remedy from its comment.
COMMENT = "  # "
AT_BOOT = "audit=1 audit_backlog_limit=8192"
#: Adds it to the kernel's command line on Debian; the command line completes it for other distributions.
SET_AT_BOOT = f"sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{AT_BOOT} /' /etc/default/grub && update-grub"
RELOAD_AUDITD = "kill -HUP $(pidof auditd)"
_SETTINGS_FILE = "/etc/audit/rules.d/99-fimscan-settings.rules"  # of several equal options, augenrules takes the last


def commented(command: str, *words: str) -> str:
    """A command with a comment: ``augenrules --load  # after each mount``. It may have a comment already."""
    command, separator, comment = command.partition(COMMENT)
    parts = [*([comment] if separator else []), *filter(None, words)]
    return command + (COMMENT + "; ".join(parts) if parts else "")


def set_in_auditd_conf(path: str, **values: str) -> str:
    """The command that sets values in auditd.conf, in place of older lines, and lets auditd read them."""
    added = [f"$a {key} = {value}" for key, value in values.items()]
    edits = [*added, *(f"/^ *{key} *=/Id" for key in values)]
    script = " ".join(f"-e {shlex.quote(edit)}" for edit in edits)
    return f"sed -i {script} {shlex.quote(path)} && {RELOAD_AUDITD}"


def set_in_rules_file(option: str) -> str:
    """The command that sets an option of auditctl for the next boot."""
    return f"echo {shlex.quote(option)} >> {_SETTINGS_FILE}"
