"""Complete the commands in remedies, so that they run as printed in the user's shell.

The checks name commands as the manual does: ``augenrules --load``. Debian has such programs in /usr/sbin, which is not
on every user's PATH. fimscan itself may be off the PATH, too, and needs the ``--config`` that this run was given.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace

from fimscan.cli.context import Settings
from fimscan.model import Check
from fimscan.passwords import without_password

_PROGRAMS = ("auditctl", "augenrules", "aureport", "pidof", "systemctl", "sysctl", "update-grub")
_OF_AUDITD = ("auditctl", "augenrules", "aureport")
_INSTALL = "install auditd, then "
_ROOT_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
# A command: not a part of a path, and followed by arguments (or by the end of a clause, as in "update-grub, reboot").
_COMMAND = re.compile(rf"(?<![\w/.-])({'|'.join(_PROGRAMS)})(?=[ ,;]|$)")
_OURS = re.compile(r"(?<![\w/.\[-])fimscan (?=(?:audit|diff|init|scan|schedule|status|verify)\b)")


def runnable(checks: Iterable[Check], settings: Settings) -> list[Check]:
    """Complete the commands in every remedy."""
    ours = own_command(settings)
    return [replace(check, remedy=_complete(check.remedy, ours)) for check in checks]


def own_command(settings: Settings) -> str:
    """Name this program as the shell finds it, with the options that come before the command."""
    words = _own_program()
    if settings.config_path is not None:
        words += ["--config", os.path.abspath(settings.config_path)]
    # A password is not printed: who gave it knows it.
    if settings.db_url is not None and without_password(settings.db_url) == settings.db_url:
        words += ["--db", settings.db_url]
    return shlex.join(words)


def install_auditd() -> str:
    """The command that installs auditd, by the package manager that is here; empty if auditd is installed."""
    if _find("augenrules") is not None:
        return ""
    for manager, command in (
        ("apt-get", "apt-get install auditd"),
        ("dnf", "dnf install audit"),
        ("zypper", "zypper install audit"),
    ):
        if shutil.which(manager):
            return command
    return "install the package auditd (audit on Fedora and SUSE)"


def program(name: str) -> str:
    """A program's name if it is on the PATH; else its path, if it is where root has its programs."""
    return name if shutil.which(name) else _find(name) or name


def _own_program() -> list[str]:
    called = sys.argv[0]
    if os.path.basename(called) != "fimscan":
        return [sys.executable, "-m", "fimscan"]
    found = shutil.which("fimscan")
    if found is not None and os.path.realpath(found) == os.path.realpath(called):
        return ["fimscan"]
    return [os.path.abspath(called)]


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=_ROOT_PATH)


def _complete(remedy: str, ours: str) -> str:
    if remedy.startswith(_INSTALL):
        # auditd may be installed and stopped.
        remedy = remedy.removeprefix(_INSTALL)
        return ", then ".join(filter(None, (install_auditd(), _complete(remedy, ours))))
    used = set(_COMMAND.findall(remedy))
    # A function: in a replacement text, backslashes would be read as escapes.
    text = _OURS.sub(lambda _: f"{ours} ", _COMMAND.sub(lambda match: program(match[1]), remedy))
    if "update-grub" in used and _find("update-grub") is None:
        text = text.replace("update-grub", "write the boot configuration again (grub2-mkconfig, see its manual)")
    if used & {*_OF_AUDITD} and (install := install_auditd()):
        text = f"{install}; then {text}"
    return f"as root: {text}" if used and os.geteuid() != 0 else text
