"""A connection bound to a host: the first argument of the functions of the store."""

from __future__ import annotations

import os

from sqlalchemy import Connection


class Session:
    """One transaction on one host's records, with the query methods of SQLAlchemy's connection.

    Code that spans hosts, or runs before the host is known, takes the plain connection: schema, migrations, looking up
    the host, locks.
    """

    __slots__ = ("connection", "execute", "host_id", "noted", "scalar", "scalars")

    def __init__(self, connection: Connection, host_id: int) -> None:
        self.connection = connection
        self.host_id = host_id
        self.execute, self.scalar, self.scalars = connection.execute, connection.scalar, connection.scalars
        #: Journal items to write when the transaction ends (:func:`fimscan.store.journal.note`).
        self.noted: set[bytes] = set()

    @property
    def directory(self) -> str | None:
        """As :attr:`fimscan.store.database.Database.directory`."""
        url = self.connection.engine.url
        is_file = url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:"
        return os.path.dirname(os.path.realpath(str(url.database))) if is_file else None
