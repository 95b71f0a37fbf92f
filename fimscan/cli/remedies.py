"""Complete the commands of remedies, so that they run as printed in the user's shell.

A remedy is a command, with a comment behind it if there is more to know, or a sentence about something to edit. The
checks name commands as the manual does: ``augenrules --load``. Debian has such programs in /usr/sbin, which is not
on every user's PATH. fimscan itself may be off the PATH, too, and needs the ``--config`` that this run was given.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable

from msgspec.structs import replace

from fimscan.cli.commands import COMMANDS
from fimscan.cli.context import Settings
from fimscan.model import Check
from fimscan.passwords import without_password
from fimscan.pipeline.health.remedies import AT_BOOT, COMMENT, SET_AT_BOOT

_PROGRAMS = ("auditctl", "augenrules", "aureport", "pidof", "systemctl", "sysctl", "timedatectl", "update-grub")
# "echo >>" writes to /etc
_AS_ROOT = (*_PROGRAMS, "sed", "kill", "echo", "chmod", "chown", "fimscan audit rules --install")
_OF_AUDITD = re.compile(r"\b(auditctl|augenrules|aureport|auditd( start)?$|audit rules --install)")
_ROOT_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
# A command: not a part of a path, and followed by arguments (or by the end of a clause).
_COMMAND = re.compile(rf"(?<![\w/.-])({'|'.join(_PROGRAMS)})(?=[ ,;]|$)")
_OURS = re.compile(rf"(?<![\w/.\[-])fimscan (?=(?:{'|'.join(COMMANDS)})(?![\w-]))")
_QUOTED = re.compile(rf"(?<!\w)'{_OURS.pattern}")
_STARTS_AUDITD = re.compile(r"systemctl (?:enable --now|start) auditd$")
_SYSTEMD = "/run/systemd/system"  # there while systemd runs
_BY_SHELL = re.compile(r"&&|>>|\$\(")


def runnable(checks: Iterable[Check], settings: Settings) -> list[Check]:
    """Complete the command of every remedy."""
    ours = own_command(settings)
    return [replace(check, remedy=_complete(check.remedy, ours)) for check in checks]


def complete_quoted(message: str, settings: Settings) -> str:
    """Complete the commands that a message quotes: ``'fimscan scan' records the baseline``."""
    ours = own_command(settings)
    return _QUOTED.sub(lambda _: f"'{ours} ", message)


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
    if not remedy.startswith((*_AS_ROOT, "fimscan ")):
        return remedy  # a sentence
    command, separator, comment = remedy.partition(COMMENT)
    if command.endswith("update-grub") and _find("update-grub") is None:
        command = _set_at_boot()
        if not command:
            return f"add {AT_BOOT} to the kernel's command line, then reboot"
    needs_root = command.startswith(_AS_ROOT)
    if _STARTS_AUDITD.search(command) and not os.path.isdir(_SYSTEMD):
        command = f"{program('service')} auditd start" if _find("service") else "auditd"  # as in a container
    install = install_auditd() if _OF_AUDITD.search(command) else ""
    command, comment = _with_paths(command, ours), _with_paths(comment, ours)
    if install.startswith("install"):
        separator, comment = COMMENT, "; ".join(filter(None, (install, comment)))
    elif install:
        command = f"{install} && {command}"
    if needs_root and os.geteuid() != 0:
        command = _as_root(command)
    return command + separator + comment


def _with_paths(text: str, ours: str) -> str:
    # Functions: in a replacement text, backslashes would be read as escapes.
    return _OURS.sub(lambda _: f"{ours} ", _COMMAND.sub(lambda match: program(match[1]), text))


def _set_at_boot() -> str:
    """The command that adds to the kernel's command line without update-grub, which is Debian's; empty if unknown."""
    if grubby := _find("grubby"):  # Fedora, RHEL
        return f"{grubby} --update-kernel=ALL --args={shlex.quote(AT_BOOT)}"
    if make := _find("grub2-mkconfig"):  # SUSE
        edit, _, _ = SET_AT_BOOT.rpartition(" && ")
        return f"{edit} && {make} -o /boot/grub2/grub.cfg"
    return ""


def _as_root(command: str) -> str:
    if shutil.which("sudo") is None:
        return f"su -c {shlex.quote(command)}"
    return f"sudo sh -c {shlex.quote(command)}" if _BY_SHELL.search(command) else f"sudo {command}"
