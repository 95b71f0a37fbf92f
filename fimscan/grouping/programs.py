"""Programs by what they are for: package managers, account tools, shells, programs that start others.

A program is known by its path as the kernel recorded it. Names and command lines can be set by the process itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fimscan.model import PACKAGE_MANAGERS, SCRIPTED_PACKAGE_MANAGERS, Actor, ExeOrigin

_DELETED = b" (deleted)"
_SYSTEM = (b"/usr/bin", b"/usr/sbin", b"/bin", b"/sbin")


def _in_system(*names: bytes) -> frozenset[bytes]:
    return frozenset(b"%b/%b" % (directory, name) for directory in _SYSTEM for name in names)


ACCOUNT_TOOLS = _in_system(
    *(b"useradd", b"usermod", b"userdel", b"groupadd", b"groupmod", b"groupdel", b"groupmems", b"gpasswd", b"passwd"),
    *(b"chpasswd", b"chgpasswd", b"chage", b"chsh", b"chfn", b"newusers", b"pwconv", b"grpconv"),
    b"systemd-sysusers",
)
#: Groups whose members can become root.
ADMIN_GROUPS = frozenset({b"root", b"sudo", b"wheel", b"admin", b"docker", b"lxd", b"disk", b"libvirt"})

#: They log users in, or start what nobody typed: what one child does is no part of what another one does.
_STARTERS = frozenset(
    {
        *(
            b"systemd",
            b"init",
            b"systemd-executor",
            b"sshd",
            b"sshd-session",
            b"sshd-auth",
            b"login",
            b"cron",
            b"crond",
        ),
        *(b"atd", b"anacron", b"agetty", b"getty", b"tmux", b"screen", b"dropbear", b"gdm", b"sddm", b"lightdm"),
        *(b"systemd-run", b"containerd-shim", b"containerd-shim-runc-v2", b"dockerd", b"conmon", b"runc", b"inetd"),
    }
)
SHELLS = frozenset({b"bash", b"dash", b"sh", b"zsh", b"ksh", b"mksh", b"fish", b"tcsh", b"csh", b"busybox", b"rbash"})
#: They run the command that they are given.
WRAPPERS = _in_system(
    *(b"sudo", b"su", b"doas", b"pkexec", b"runuser", b"setpriv", b"env", b"nohup", b"nice", b"ionice", b"time"),
    *(b"timeout", b"setsid", b"stdbuf", b"script", b"flock"),
)


def program(actor: Actor) -> bytes:
    """The path of its program; empty if unknown."""
    return (actor.exe or b"").removesuffix(_DELETED)


def name(actor: Actor) -> bytes:
    """The last component of its program's path; empty if unknown."""
    return program(actor).rpartition(b"/")[2]


def is_of_host(actor: Actor) -> bool:
    """Whether its program's path means a file of this host, as far as is known."""
    view = actor.view
    return view is None or (view.exe_origin is not ExeOrigin.OTHER_ROOT and view.container is None)


def is_package_manager(actor: Actor) -> bool:
    """Whether it is one, by its program."""
    return (actor.exe in PACKAGE_MANAGERS or program(actor) in PACKAGE_MANAGERS) and is_of_host(actor)


def are_package_managers(actors: Iterable[Actor]) -> bool:
    """Whether all of them are some, and there is one at all."""
    found = False
    for actor in actors:
        if not is_package_manager(actor):
            return False
        found = True
    return found


def may_be_package_manager(actor: Actor) -> bool:
    """Whether it is one, or calls itself one of those that are scripts."""
    if is_package_manager(actor):
        return True
    return bool(actor.cmdline) and not SCRIPTED_PACKAGE_MANAGERS.isdisjoint((actor.cmdline or ())[:2])


def is_account_tool(actor: Actor) -> bool:
    """Whether it is a program for changing accounts."""
    return program(actor) in ACCOUNT_TOOLS and is_of_host(actor)


def asks_for_root(actor: Actor) -> bool:
    """Whether an account tool was told to give uid 0, a uid that another account has, or an administrators' group."""
    arguments = (actor.cmdline or ())[1:]
    if name(actor) == b"gpasswd":  # gpasswd -a USER GROUP
        return not ADMIN_GROUPS.isdisjoint(arguments)
    return any(
        _gives_root(letter, value)
        for option, following in zip(arguments, (*arguments[1:], b""), strict=False)
        for letter, value in _options(option, following)
    )


def _options(option: bytes, following: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(letter, value) of each option in one argument: ``-ou0``, ``-aG sudo``, ``--uid=0``."""
    if option.startswith(b"--"):
        long, _, value = option.partition(b"=")
        yield _LONG.get(long, b""), value or following
    elif option.startswith(b"-"):
        for place in range(1, len(option)):
            yield option[place : place + 1], option[place + 1 :] or following


_LONG = {b"--non-unique": b"o", b"--uid": b"u", b"--groups": b"G", b"--gid": b"g"}


def _gives_root(letter: bytes, value: bytes) -> bool:
    match letter:
        case b"o":
            return True
        case b"u":
            return value.isdigit() and int(value) == 0
        case b"G" | b"g":
            return not ADMIN_GROUPS.isdisjoint(value.split(b","))
    return False


def is_starter(actor: Actor) -> bool:
    """Whether its children are things of their own: a login program, a daemon that starts jobs, a shell at a prompt."""
    own = name(actor)
    return own in _STARTERS or (own in SHELLS and _is_at_prompt(actor))


def _is_at_prompt(actor: Actor) -> bool:
    """A shell without a script and without ``-c``; one whose command line is unknown counts as one.

    Unless its name is that of a script: the kernel names a process after the script whose first line names the shell.
    """
    if not actor.cmdline:
        return actor.comm is None or actor.comm.removeprefix(b"-") in (SHELLS | {name(actor)})
    return all(
        argument.startswith(b"-") and (argument.startswith(b"--") or b"c" not in argument)
        for argument in actor.cmdline[1:]
    )
