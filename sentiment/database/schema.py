"""The tables of our own records, as the newest migration leaves them."""

import sqlalchemy as sa

METADATA = sa.MetaData()

EVALUATIONS = sa.Table(
    "evaluations",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.String(20), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text),
    sa.Column("candidate", sa.Text, nullable=False),
    sa.Column("bundle_digest", sa.String(64), nullable=False, index=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("dataset_digest", sa.String(64), nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("macro_f1", sa.Float, nullable=False),
    sa.Column("macro_f1_low", sa.Float, nullable=False),
    sa.Column("macro_f1_high", sa.Float, nullable=False),
    sa.Column("accuracy", sa.Float, nullable=False),
    sa.Column("macro_precision", sa.Float, nullable=False),
    sa.Column("macro_recall", sa.Float, nullable=False),
    sa.Column("calibration_error", sa.Float, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
)

PREDICTIONS = sa.Table(
    "predictions",
    METADATA,
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("request_id", sa.String(128), nullable=False, index=True),
    sa.Column("text", sa.Text),
    sa.Column("text_digest", sa.String(64)),
    sa.Column("characters", sa.Integer, nullable=False),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("scores", sa.JSON, nullable=False),
    sa.Column("uncertain", sa.Boolean, nullable=False),
    sa.Column("truncated", sa.Boolean, nullable=False),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("model_digest", sa.String(64), nullable=False),
    sa.Column("latency_ms", sa.Float, nullable=False),
    sa.Column("subject", sa.String(64), index=True),  # HMAC of the caller's id of the person whose text it is
)

FEEDBACK = sa.Table(
    "feedback",
    METADATA,
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("prediction_id", sa.Uuid(as_uuid=False), nullable=False, index=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("request_id", sa.String(128), nullable=False),
    sa.Column("said", sa.Text),  # the label of the prediction, where that was shipped before
    sa.Column("subject", sa.String(64), index=True),
)

ACTIVITY = sa.Table(
    "activity",
    METADATA,
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
)

SHADOW_PREDICTIONS = sa.Table(
    "shadow_predictions",
    METADATA,
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("prediction_id", sa.Uuid(as_uuid=False), nullable=False, index=True),
    sa.Column("champion_label", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("scores", sa.JSON, nullable=False),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("model_digest", sa.String(64), nullable=False),
    sa.Column("latency_ms", sa.Float, nullable=False),
)
