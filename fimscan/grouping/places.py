"""Places where a changed file lets somebody stay, return or hide: a table with the technique of MITRE ATT&CK.

``is_packaged`` says that packages ordinarily put files there. A package manager's own work there is then ordinary.
"""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

from fimscan.paths import parent, upwards


class Place(Struct, frozen=True, kw_only=True):
    """One kind of place.

    ``files`` are single paths, ``below`` directories with all that is in them, ``homes`` names below any user's home
    directory (compared with the end of the path), ``endings`` ends of file names anywhere. With ``any_change``, a
    removal counts as well: the place protects, and is not only a way in.
    """

    name: str
    technique: str
    files: tuple[bytes, ...] = ()
    below: tuple[bytes, ...] = ()
    homes: tuple[bytes, ...] = ()
    endings: tuple[bytes, ...] = ()
    is_packaged: bool = False
    any_change: bool = False


ACCOUNTS = Place(
    name="account database",
    technique="T1136.001",
    files=(b"/etc/passwd", b"/etc/shadow", b"/etc/group", b"/etc/gshadow"),
)

PLACES: tuple[Place, ...] = (
    ACCOUNTS,
    Place(
        name="sudo rules",
        technique="T1548.003",
        files=(b"/etc/sudoers", b"/etc/doas.conf"),
        below=(b"/etc/sudoers.d", b"/etc/polkit-1"),
    ),
    Place(
        name="SSH keys",
        technique="T1098.004",
        files=(b"/etc/ssh/sshrc", b"/etc/ssh/sshd_config"),
        below=(b"/etc/ssh/sshd_config.d", b"/etc/ssh/authorized_keys", b"/etc/ssh/authorized_keys.d"),
        homes=(b"/.ssh/authorized_keys", b"/.ssh/authorized_keys2", b"/.ssh/rc"),
    ),
    Place(name="preloaded libraries", technique="T1574.006", files=(b"/etc/ld.so.preload",)),
    Place(
        name="library search path",
        technique="T1574.006",
        files=(b"/etc/ld.so.conf",),
        below=(b"/etc/ld.so.conf.d",),
        is_packaged=True,
    ),
    Place(
        name="audit rules",
        technique="T1562.012",
        below=(b"/etc/audit",),
        any_change=True,
    ),
    Place(
        name="file-integrity monitoring",
        technique="T1562.001",
        files=(b"/etc/cron.d/fimscan", b"/etc/aide.conf"),
        below=(b"/etc/fimscan", b"/etc/aide"),
        any_change=True,
        is_packaged=True,
    ),
    Place(
        name="cron jobs",
        technique="T1053.003",
        files=(b"/etc/crontab", b"/etc/anacrontab"),
        below=(
            *(b"/etc/cron.d", b"/etc/cron.hourly", b"/etc/cron.daily", b"/etc/cron.weekly", b"/etc/cron.monthly"),
            *(b"/etc/cron.yearly", b"/var/spool/cron"),
        ),
        is_packaged=True,
    ),
    Place(name="at jobs", technique="T1053.002", below=(b"/var/spool/at", b"/var/spool/cron/atjobs")),
    Place(
        name="systemd units",
        technique="T1543.002",
        below=(
            *(b"/etc/systemd/system", b"/etc/systemd/user", b"/etc/systemd/system-generators", b"/run/systemd/system"),
            *(b"/usr/lib/systemd", b"/lib/systemd", b"/usr/local/lib/systemd"),
        ),
        endings=(b".service", b".timer", b".socket"),
        is_packaged=True,
    ),
    Place(
        name="PAM",
        technique="T1556.003",
        files=(b"/etc/pam.conf",),
        below=(
            *(b"/etc/pam.d", b"/etc/security", b"/lib/security", b"/usr/lib/security", b"/lib64/security"),
            *(b"/usr/lib64/security", b"/lib/x86_64-linux-gnu/security", b"/usr/lib/x86_64-linux-gnu/security"),
            *(b"/lib/aarch64-linux-gnu/security", b"/usr/lib/aarch64-linux-gnu/security", b"/usr/share/pam-configs"),
        ),
        is_packaged=True,
    ),
    Place(name="name service", technique="T1556", files=(b"/etc/nsswitch.conf",)),
    Place(
        name="kernel modules",
        technique="T1547.006",
        files=(b"/etc/modules",),
        below=(
            *(b"/lib/modules", b"/usr/lib/modules", b"/etc/modules-load.d", b"/etc/modprobe.d"),
            *(b"/usr/lib/modules-load.d", b"/usr/lib/modprobe.d", b"/lib/modprobe.d"),
        ),
        endings=(b".ko", b".ko.gz", b".ko.xz", b".ko.zst"),
        is_packaged=True,
    ),
    Place(
        name="boot files", technique="T1542", files=(b"/etc/default/grub",), below=(b"/boot", b"/efi"), is_packaged=True
    ),
    Place(
        name="shell profiles",
        technique="T1546.004",
        files=(b"/etc/profile", b"/etc/bash.bashrc", b"/etc/bashrc", b"/etc/environment", b"/etc/csh.cshrc"),
        below=(b"/etc/profile.d", b"/etc/zsh", b"/etc/skel", b"/etc/fish"),
        homes=(
            *(b"/.bashrc", b"/.bash_profile", b"/.bash_login", b"/.bash_logout", b"/.profile", b"/.zshrc"),
            *(b"/.zshenv", b"/.zprofile", b"/.zlogin", b"/.config/fish/config.fish"),
        ),
        is_packaged=True,
    ),
    Place(
        name="init scripts",
        technique="T1037.004",
        files=(b"/etc/rc.local", b"/etc/rc.d/rc.local", b"/etc/inittab"),
        below=(
            *(b"/etc/init.d", b"/etc/rc.d", b"/etc/init", b"/etc/rc0.d", b"/etc/rc1.d", b"/etc/rc2.d", b"/etc/rc3.d"),
            *(b"/etc/rc4.d", b"/etc/rc5.d", b"/etc/rc6.d", b"/etc/rcS.d"),
        ),
        is_packaged=True,
    ),
    Place(
        name="udev rules",
        technique="T1546.017",
        below=(b"/etc/udev", b"/run/udev/rules.d", b"/usr/lib/udev", b"/lib/udev"),
        is_packaged=True,
    ),
    Place(
        name="package manager hooks",
        technique="T1546.016",
        files=(b"/etc/apt/apt.conf", b"/etc/dpkg/dpkg.cfg"),
        below=(
            *(b"/etc/apt/apt.conf.d", b"/etc/dpkg/dpkg.cfg.d", b"/etc/dnf/plugins", b"/etc/yum/pluginconf.d"),
            *(b"/etc/kernel", b"/usr/lib/dnf/plugins"),
        ),
        is_packaged=True,
    ),
    Place(name="login messages", technique="T1037", below=(b"/etc/update-motd.d",), is_packaged=True),
    Place(
        name="network scripts",
        technique="T1546",
        below=(
            *(
                b"/etc/NetworkManager/dispatcher.d",
                b"/usr/lib/NetworkManager/dispatcher.d",
                b"/etc/networkd-dispatcher",
            ),
            *(b"/etc/network/if-up.d", b"/etc/network/if-down.d", b"/etc/network/if-pre-up.d", b"/etc/dhcp"),
        ),
        is_packaged=True,
    ),
    Place(
        name="desktop autostart",
        technique="T1547.013",
        below=(b"/etc/xdg/autostart",),
        homes=(b"/.xinitrc", b"/.xprofile", b"/.xsession"),
        is_packaged=True,
    ),
    Place(
        name="Python startup",
        technique="T1546.018",
        endings=(b"sitecustomize.py", b"usercustomize.py", b".pth"),
        is_packaged=True,
    ),
    Place(
        name="trusted certificates",
        technique="T1553.004",
        below=(b"/usr/local/share/ca-certificates", b"/etc/pki/ca-trust", b"/usr/share/ca-certificates"),
        is_packaged=True,
    ),
)

#: Copies that account tools make of a file before they change it, and the file.
BACKUPS = {
    path + b"-": path
    for path in (b"/etc/passwd", b"/etc/shadow", b"/etc/group", b"/etc/gshadow", b"/etc/subuid", b"/etc/subgid")
}

_FILES = {path: place for place in PLACES for path in place.files}
_BELOW = {path: place for place in PLACES for path in place.below}
_HOMES = {ending: place for place in PLACES for ending in place.homes}
_ENDINGS = {ending: place for place in PLACES for ending in place.endings}
_ALL_ENDINGS = (*_HOMES, *_ENDINGS)
# Directories in homes, which are anywhere.
_INNER = ((b"/.config/systemd/user/", b"systemd units"), (b"/.config/autostart/", b"desktop autostart"))
_BY_NAME = {place.name.encode(): place for place in PLACES}


def place_of(path: bytes) -> Place | None:
    """The place that a file is in; ``None`` for an ordinary one. A single file comes before the nearest directory."""
    found = _FILES.get(path) or _below(parent(path))
    if found is not None:
        return found
    if path.endswith(_ALL_ENDINGS):
        return next(
            (place for ending, place in (*_HOMES.items(), *_ENDINGS.items()) if path.endswith(ending)),
            None,
        )
    for part, name in _INNER:
        if part in path:
            return _BY_NAME[name]
    return None


@lru_cache(maxsize=4096)  # most files share their directory with others
def _below(directory: bytes) -> Place | None:
    return next((_BELOW[above] for above in upwards(directory) if above in _BELOW), None)
