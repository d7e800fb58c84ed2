"""The first released shape.

Revises: nothing, an empty database.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_log_checkpoints")),
    )
    op.create_table(
        "log_entries",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_log_entries")),
    )
    op.create_index("ix_log_entries_leaf_hash", "log_entries", ["leaf_hash"], unique=False)
    op.create_table(
        "log_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_log_nodes")),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=200), nullable=False),
        sa.Column("license", sa.String(length=200), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("training_manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("name", "version", "weights_sha256", name="uq_models_identity"),
    )
    op.create_table(
        "rights_holders",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rights_holders")),
        sa.UniqueConstraint("name", name=op.f("uq_rights_holders_name")),
    )
    op.create_table(
        "training_manifests",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("item_count", sa.Integer(), nullable=False),
        sa.Column("license", sa.String(length=200), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_training_manifests")),
    )
    op.create_table(
        "works",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("title", sa.String(length=1000), nullable=False),
        sa.Column("artist", sa.String(length=1000), nullable=False),
        sa.Column("isrc", sa.String(length=12), nullable=False),
        sa.Column("iswc", sa.String(length=15), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("source_name", sa.String(length=1000), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_works")),
        sa.UniqueConstraint("content_sha256", name=op.f("uq_works_content_sha256")),
    )
    op.create_index(op.f("ix_works_isrc"), "works", ["isrc"], unique=False)
    op.create_table(
        "catalog_changes",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event", sa.String(length=20), nullable=False),
        sa.Column("work_id", sa.String(length=36), nullable=False),
        sa.CheckConstraint(
            "event IN ('added', 'removed', 'relicensed')",
            name=op.f("ck_catalog_changes_event_known"),
        ),
        sa.ForeignKeyConstraint(["work_id"], ["works.id"], name=op.f("fk_catalog_changes_work_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_catalog_changes")),
    )
    op.create_index(
        op.f("ix_catalog_changes_work_id"), "catalog_changes", ["work_id"], unique=False
    )
    op.create_table(
        "fingerprints",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("work_id", sa.String(length=36), nullable=False),
        sa.Column("engine", sa.String(length=40), nullable=False),
        sa.Column("items", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["work_id"], ["works.id"], name=op.f("fk_fingerprints_work_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fingerprints")),
        sa.UniqueConstraint("work_id", "engine", name="uq_fingerprints_work_engine"),
    )
    op.create_table(
        "licenses",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("work_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("terms_sha256", sa.String(length=64), nullable=False),
        sa.Column("territories", sa.JSON(), nullable=False),
        sa.Column("uses", sa.JSON(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["work_id"], ["works.id"], name=op.f("fk_licenses_work_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_licenses")),
    )
    op.create_index(op.f("ix_licenses_work_id"), "licenses", ["work_id"], unique=False)
    op.create_table(
        "outputs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("decision", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("policy_name", sa.String(length=200), nullable=False),
        sa.Column("policy_sha256", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=36), nullable=True),
        sa.Column("file_name", sa.String(length=1000), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("watermark_payload", sa.String(length=16), nullable=True),
        sa.Column("watermark_key_id", sa.String(length=40), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('release', 'screening')", name=op.f("ck_outputs_kind_known")),
        sa.CheckConstraint(
            "state IN ('prepared', 'released', 'blocked', 'quarantined', 'void', 'screened')",
            name=op.f("ck_outputs_state_known"),
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_outputs_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outputs")),
        sa.UniqueConstraint("watermark_payload", name=op.f("uq_outputs_watermark_payload")),
    )
    op.create_index(op.f("ix_outputs_created_at"), "outputs", ["created_at"], unique=False)
    op.create_index(op.f("ix_outputs_sha256"), "outputs", ["sha256"], unique=False)
    op.create_index(op.f("ix_outputs_state"), "outputs", ["state"], unique=False)
    op.create_table(
        "work_rights",
        sa.Column("work_id", sa.String(length=36), nullable=False),
        sa.Column("rights_holder_id", sa.String(length=36), nullable=False),
        sa.Column("share_percent", sa.Float(), nullable=False),
        sa.CheckConstraint(
            "share_percent > 0 AND share_percent <= 100",
            name=op.f("ck_work_rights_share_in_percent"),
        ),
        sa.ForeignKeyConstraint(
            ["rights_holder_id"],
            ["rights_holders.id"],
            name=op.f("fk_work_rights_rights_holder_id"),
        ),
        sa.ForeignKeyConstraint(["work_id"], ["works.id"], name=op.f("fk_work_rights_work_id")),
        sa.PrimaryKeyConstraint("work_id", "rights_holder_id", name=op.f("pk_work_rights")),
    )
    op.create_index(
        op.f("ix_work_rights_rights_holder_id"), "work_rights", ["rights_holder_id"], unique=False
    )
    op.create_table(
        "checks",
        sa.Column("output_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('pass', 'fail', 'error', 'timeout', 'skipped', 'not_applicable')",
            name=op.f("ck_checks_outcome_known"),
        ),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name=op.f("fk_checks_output_id")),
        sa.PrimaryKeyConstraint("output_id", "name", name=op.f("pk_checks")),
    )
    op.create_table(
        "matches",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("output_id", sa.String(length=36), nullable=False),
        sa.Column("work_id", sa.String(length=36), nullable=False),
        sa.Column("engine", sa.String(length=40), nullable=False),
        sa.Column("query_start_seconds", sa.Float(), nullable=False),
        sa.Column("query_end_seconds", sa.Float(), nullable=False),
        sa.Column("reference_start_seconds", sa.Float(), nullable=False),
        sa.Column("reference_end_seconds", sa.Float(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("p_value", sa.Float(), nullable=False),
        sa.Column("semitones", sa.Float(), nullable=False),
        sa.Column("speed", sa.Float(), nullable=False),
        sa.Column("license_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(
            ["license_id"], ["licenses.id"], name=op.f("fk_matches_license_id")
        ),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name=op.f("fk_matches_output_id")),
        sa.ForeignKeyConstraint(["work_id"], ["works.id"], name=op.f("fk_matches_work_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_matches")),
    )
    op.create_index(op.f("ix_matches_output_id"), "matches", ["output_id"], unique=False)
    op.create_index(op.f("ix_matches_work_id"), "matches", ["work_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_matches_work_id"), table_name="matches")
    op.drop_index(op.f("ix_matches_output_id"), table_name="matches")
    op.drop_table("matches")
    op.drop_table("checks")
    op.drop_index(op.f("ix_work_rights_rights_holder_id"), table_name="work_rights")
    op.drop_table("work_rights")
    op.drop_index(op.f("ix_outputs_state"), table_name="outputs")
    op.drop_index(op.f("ix_outputs_sha256"), table_name="outputs")
    op.drop_index(op.f("ix_outputs_created_at"), table_name="outputs")
    op.drop_table("outputs")
    op.drop_index(op.f("ix_licenses_work_id"), table_name="licenses")
    op.drop_table("licenses")
    op.drop_table("fingerprints")
    op.drop_index(op.f("ix_catalog_changes_work_id"), table_name="catalog_changes")
    op.drop_table("catalog_changes")
    op.drop_index(op.f("ix_works_isrc"), table_name="works")
    op.drop_table("works")
    op.drop_table("training_manifests")
    op.drop_table("rights_holders")
    op.drop_table("models")
    op.drop_table("log_nodes")
    op.drop_index("ix_log_entries_leaf_hash", table_name="log_entries")
    op.drop_table("log_entries")
    op.drop_table("log_checkpoints")
