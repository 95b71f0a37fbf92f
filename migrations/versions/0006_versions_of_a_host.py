"""Index file versions by host and scan, so that those which began or ended with a scan are found at once."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_file_version_first_scan", "file_version")
    op.drop_index("ix_file_version_end_scan", "file_version")
    op.create_index("ix_file_version_began", "file_version", ["host_id", "first_scan"])
    ended = sa.text("end_scan IS NOT NULL")
    op.create_index(
        "ix_file_version_ended",
        "file_version",
        ["host_id", "end_scan"],
        sqlite_where=ended,
        postgresql_where=ended,
    )
