"""Store the file systems that scans found. A scan that found the same ones as the scan before it adds no row."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from fimscan.linux.filesystems import Devices, Root
from fimscan.store import schema
from fimscan.store.inserting import add_new
from fimscan.store.registry import Subject
from fimscan.store.session import Session

_table = schema.devices


def add_devices(session: Session, scan_id: int, devices: Devices) -> None:
    """Store the file systems that a scan found."""
    detail = dump_devices(devices)
    if _detail(session, scan_id) != detail:
        add_new(session, Subject.DEVICES, [{"scan_id": scan_id, "detail": detail}])


def devices_at(session: Session, scan_id: int) -> Devices:
    """The file systems that a scan found; none for scans before version 0008 of the schema."""
    detail = _detail(session, scan_id)
    return Devices() if detail is None else load_devices(detail)


def _detail(session: Session, scan_id: int) -> str | None:
    query = select(_table.c.detail).where(_table.c.host_id == session.host_id, _table.c.scan_id <= scan_id)
    return session.scalar(query.order_by(_table.c.scan_id.desc()).limit(1))


def dump_devices(devices: Devices) -> str:
    """File systems -> JSON text; bytes as text with surrogate escapes (see :mod:`fimscan.store.codec`)."""
    data = {
        "roots": [_root(root) for root in devices.roots],
        "images": [_text(image) for image in devices.images],
        "layers": [[_text(layer), _text(point)] for layer, point in devices.layers],
    }
    return json.dumps(data, separators=(",", ":"))


def _root(root: Root) -> list[object]:
    return [
        _text(root.path),
        root.dev,
        root.raw,
        root.superblock,
        root.inode,
        root.kind,
        root.uuid,
        root.birth_ns,
        _text(root.point),
        _text(root.part),
        [list(layer) for layer in root.layers],
        root.is_directory,
    ]


def load_devices(text: str) -> Devices:
    """The inverse of :func:`dump_devices`."""
    data: dict[str, Any] = json.loads(text)
    return Devices(
        roots=tuple(_load_root(row) for row in data["roots"]),
        images=tuple(_bytes(image) for image in data["images"]),
        layers=tuple((_bytes(layer), _bytes(point)) for layer, point in data["layers"]),
    )


def _load_root(row: list[Any]) -> Root:
    path, dev, raw, superblock, inode, kind, uuid, birth_ns, point, part, layers, is_directory = row
    return Root(
        path=_bytes(path),
        dev=dev,
        raw=raw,
        superblock=superblock,
        inode=inode,
        kind=kind,
        uuid=uuid,
        birth_ns=birth_ns,
        point=_bytes(point),
        part=_bytes(part),
        layers=tuple((dev, raw) for dev, raw in layers),
        is_directory=is_directory,
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
