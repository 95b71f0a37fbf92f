"""Facts of passwd(5) and group(5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from fimscan.contents.lines import logical_lines
from fimscan.model.texts import TextFact, TextFactKind, TextSign

ADMIN_GROUPS = frozenset(
    (b"root", b"wheel", b"sudo", b"admin", b"adm", b"docker", b"lxd", b"disk", b"shadow", b"libvirt", b"incus-admin")
)
_ROOT = b"root"
_NAME, _PASSWORD, _NUMBER, _GID, _HOME, _SHELL = 0, 1, 2, 3, 5, 6
_MEMBERS = 3
_MOST_DIGITS = 20
_NIS = (b"+", b"-")

_Key = tuple[bytes, int]


def _entries(text: bytes, fields: int) -> dict[_Key, list[bytes]]:
    """Entries by name, and by how many of this name were before: the first one counts for most programs."""
    seen: Counter[bytes] = Counter()
    found: dict[_Key, list[bytes]] = {}
    for line in logical_lines(text):
        parts = line.split(b":")
        if not line or line.startswith(b"#") or len(parts) < fields:
            continue
        found[parts[_NAME], seen[parts[_NAME]]] = parts
        seen[parts[_NAME]] += 1
    return found


def _is_zero(number: bytes) -> bool:
    """Whether any library takes it for 0: atoi(3) does that to what is no number, and 32 bits to 2**32."""
    digits = number.strip().lstrip(b"+-")
    if not digits.isdigit():
        return not digits[:1].isdigit() or not digits.lstrip(b"0")[:1].isdigit()
    return len(digits) > _MOST_DIGITS or int(digits) % 2**32 == 0


def account_facts(_path: bytes, before: bytes, after: bytes) -> Iterator[TextFact]:
    """Accounts that were added, removed or changed. A whole new file is not alarming because of root itself."""
    old, new = _entries(before, _GID), _entries(after, _GID)
    for key in sorted(new.keys() - old.keys()):
        yield from _added(new[key], is_ordinary=not old and key == (_ROOT, 0))
    for name, _ in sorted(old.keys() - new.keys()):
        yield TextFact(kind=TextFactKind.ACCOUNT_REMOVED, subject=name)
    for key in sorted(old.keys() & new.keys()):
        yield from _changed(old[key], new[key])


def _added(entry: list[bytes], *, is_ordinary: bool) -> Iterator[TextFact]:
    name = entry[_NAME]
    is_alarming = _is_zero(entry[_NUMBER]) and not is_ordinary and not name.startswith(_NIS)
    sign = TextSign.SUPERUSER if is_alarming else None
    yield TextFact(kind=TextFactKind.ACCOUNT_ADDED, subject=name, attribute=b"uid", after=entry[_NUMBER], sign=sign)
    if not entry[_PASSWORD] and not name.startswith(_NIS):
        yield TextFact(kind=TextFactKind.NO_PASSWORD, subject=name, sign=TextSign.NO_PASSWORD)


def _changed(old: list[bytes], new: list[bytes]) -> Iterator[TextFact]:
    name = new[_NAME]
    for field, attribute in ((_NUMBER, b"uid"), (_GID, b"gid"), (_HOME, b"home"), (_SHELL, b"shell")):
        was, now = (part[field] if field < len(part) else b"" for part in (old, new))
        if was != now:
            became = attribute == b"uid" and _is_zero(now) and not _is_zero(was)
            yield TextFact(
                kind=TextFactKind.ACCOUNT_CHANGED,
                subject=name,
                attribute=attribute,
                before=was,
                after=now,
                sign=TextSign.SUPERUSER if became else None,
            )
    if old[_PASSWORD] != new[_PASSWORD]:
        if new[_PASSWORD]:
            yield TextFact(kind=TextFactKind.ACCOUNT_CHANGED, subject=name, attribute=b"password field")
        else:
            yield TextFact(kind=TextFactKind.NO_PASSWORD, subject=name, sign=TextSign.NO_PASSWORD)


def group_facts(_path: bytes, before: bytes, after: bytes) -> Iterator[TextFact]:
    """Groups and members that were added or removed."""
    old, new = _entries(before, _MEMBERS), _entries(after, _MEMBERS)
    for key in sorted(new.keys() - old.keys()):
        yield TextFact(kind=TextFactKind.GROUP_ADDED, subject=key[0], attribute=b"gid", after=new[key][_NUMBER])
    for key in sorted(old.keys() - new.keys()):
        yield TextFact(kind=TextFactKind.GROUP_REMOVED, subject=key[0])
    for key in sorted(old.keys() & new.keys()):
        was, now = old[key][_NUMBER], new[key][_NUMBER]
        if was != now:
            yield TextFact(kind=TextFactKind.GROUP_CHANGED, subject=key[0], attribute=b"gid", before=was, after=now)
    yield from _member_facts(old, new)


def _member_facts(old: Mapping[_Key, list[bytes]], new: Mapping[_Key, list[bytes]]) -> Iterator[TextFact]:
    for key in sorted(old.keys() | new.keys()):
        was, now = _members(old.get(key)), _members(new.get(key))
        for member in sorted(now - was):
            is_alarming = key[0] in ADMIN_GROUPS and bool(old) and member != _ROOT
            sign = TextSign.ADMIN_GROUP if is_alarming else None
            yield TextFact(kind=TextFactKind.MEMBER_ADDED, subject=member, after=key[0], sign=sign)
        if key in new:
            for member in sorted(was - now):
                yield TextFact(kind=TextFactKind.MEMBER_REMOVED, subject=member, before=key[0])


def _members(entry: list[bytes] | None) -> set[bytes]:
    if entry is None or len(entry) <= _MEMBERS:
        return set()
    return {member for part in entry[_MEMBERS].split(b",") if (member := part.strip())}
