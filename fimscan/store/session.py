"""A connection bound to its host: the first argument of every function of the store."""

from __future__ import annotations

from sqlalchemy import Connection


class Session:
    """One transaction about one host's records, with the calls of SQLAlchemy's connection that run queries.

    Code that spans hosts or runs before the host is known (schema, migrations, looking up the host, locks) takes the
    plain connection.
    """

    __slots__ = ("connection", "execute", "host_id", "noted", "scalar", "scalars")

    def __init__(self, connection: Connection, host_id: int) -> None:
        self.connection = connection
        self.host_id = host_id
        self.execute, self.scalar, self.scalars = connection.execute, connection.scalar, connection.scalars
        #: Journal items to be written when the transaction ends (:func:`fimscan.store.journal.note`).
        self.noted: set[bytes] = set()
