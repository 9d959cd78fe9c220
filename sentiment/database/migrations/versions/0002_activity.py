"""Rollups by minute and hour, shadow answers, what feedback is about, and the indexes that history is read by.

Predictions that are there are rolled up once, all of them by hour and those of the last two days by minute. What was
done in part is done again: the rollup starts from nothing.
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

STARTS = {
    "sqlite": {60: "substr(at, 1, 16) || '\\:00.000000'", 3600: "substr(at, 1, 13) || '\\:00\\:00.000000'"},
    "postgresql": {
        60: "date_trunc('minute', at at time zone 'UTC') at time zone 'UTC'",
        3600: "date_trunc('hour', at at time zone 'UTC') at time zone 'UTC'",
    },
}
BOUNDS_MS = tuple(round(2 ** (step / 3), 3) for step in range(49))
BUCKET = f"case {' '.join(f'when latency_ms <= {bound} then {bound}' for bound in BOUNDS_MS)} else {BOUNDS_MS[-1]} end"


def upgrade() -> None:
    """Make what is missing, and fill the rollup."""
    op.create_table(
        "activity",
        sa.Column("period_seconds", sa.Integer, primary_key=True),
        sa.Column("start", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("model_version", sa.Text, primary_key=True),
        sa.Column("label", sa.Text, primary_key=True),
        sa.Column("latency_bucket_ms", sa.Float, primary_key=True),
        sa.Column("predictions", sa.Integer, nullable=False),
        sa.Column("uncertain", sa.Integer, nullable=False),
        sa.Column("truncated", sa.Integer, nullable=False),
        sa.Column("confidence_sum", sa.Float, nullable=False),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "shadow_predictions",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("prediction_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("champion_label", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("latency_ms", sa.Float, nullable=False),
        if_not_exists=True,
    )
    for table, column in (
        ("shadow_predictions", "at"),
        ("shadow_predictions", "prediction_id"),
        ("predictions", "request_id"),
        ("feedback", "at"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column], if_not_exists=True)
    connection = op.get_bind()
    if "said" not in {column["name"] for column in sa.inspect(connection).get_columns("feedback")}:
        op.add_column("feedback", sa.Column("said", sa.Text))
    op.execute("update feedback set said = (select label from predictions where predictions.id = prediction_id)")
    op.execute("delete from activity")
    since = {60: datetime.now(UTC) - timedelta(days=2), 3600: datetime.fromtimestamp(0, UTC)}
    for period, start in STARTS[connection.dialect.name].items():
        # Numbers and column names of this file alone; what is bound is the time.
        fill = f"""
            insert into activity
            select {period}, {start}, model_version, label, {BUCKET}, count(*),
                sum(case when uncertain then 1 else 0 end),
                sum(case when truncated then 1 else 0 end), sum(confidence)
            from predictions where at >= :since group by 1, 2, 3, 4, 5
        """  # noqa: S608 - names of columns of ours
        connection.execute(sa.text(fill).bindparams(sa.bindparam("since", since[period], sa.DateTime(timezone=True))))
    if connection.dialect.name == "postgresql":
        op.execute("analyze feedback, activity")


def downgrade() -> None:
    """Drop the rollups and the shadow answers, and the indexes."""
    op.drop_column("feedback", "said")
    op.drop_index("ix_feedback_at", "feedback")
    op.drop_index("ix_predictions_request_id", "predictions")
    op.drop_table("shadow_predictions")
    op.drop_table("activity")
