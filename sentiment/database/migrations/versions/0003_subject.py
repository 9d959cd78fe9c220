"""Whom a text is from, as the HMAC of his id, so that his rows can be found."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = ("predictions", "feedback")


def upgrade() -> None:
    """Add the column and its index where they are missing."""
    for table in TABLES:
        if "subject" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}:
            op.add_column(table, sa.Column("subject", sa.String(64)))
        op.create_index(f"ix_{table}_subject", table, ["subject"], if_not_exists=True)


def downgrade() -> None:
    """Drop both."""
    for table in TABLES:
        op.drop_index(f"ix_{table}_subject", table)
        op.drop_column(table, "subject")
