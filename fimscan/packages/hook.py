"""Parse what apt tells a command of DPkg::Pre-Install-Pkgs, in protocol version 1, 2 or 3 (apt.conf(5)). Pure."""

from __future__ import annotations

from fimscan.errors import InputError

_FIELDS = {2: 5, 3: 9}


def parse_hook(text: bytes) -> list[bytes]:
    """The names of the .deb files that apt is about to unpack, in order.

    Version 1 is one name on each line. The others begin with ``VERSION N``, then have apt's configuration up to an
    empty line, then one line for each action, whose last field is the name, ``**CONFIGURE**`` or ``**REMOVE**``.

    Raises:
        InputError: it has another form.
    """
    lines = text.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines or not lines[0].startswith(b"VERSION "):
        _check_names(lines)
        return lines
    number = lines[0].removeprefix(b"VERSION ").strip()
    version = int(number) if number in (b"2", b"3") else 0
    if version not in _FIELDS:
        raise InputError(f"apt speaks version {number.decode('latin-1')!a} of the hook's protocol, not 1, 2 or 3")
    if b"" not in lines:
        raise InputError("the input is truncated: apt's configuration has no end")
    found = []
    for line in lines[lines.index(b"") + 1 :]:
        # A name of a file may have blanks; none of the other fields does.
        fields = line.split(b" ", _FIELDS[version] - 1)
        if len(fields) != _FIELDS[version]:
            raise InputError("the input is damaged: an action has too few fields")
        if not (fields[-1].startswith(b"**") and fields[-1].endswith(b"**")):
            found.append(fields[-1])
    _check_names(found)
    return found


def _check_names(names: list[bytes]) -> None:
    if not all(name.startswith(b"/") and b"\0" not in name for name in names):
        raise InputError("the input is damaged: a name of a .deb file is not absolute")
