"""Rights have a history, licenses oblige, past outputs are compared again.

A share of 0001 is held from the day its work was added. A license that was replaced
under 0001 keeps the end that was written into it; from now on its end is recorded
beside the window instead.

Revises: 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Columns are added, never changed: on SQLite that would rebuild tables others refer to.
    for table, name, length, default in (
        ("rights_holders", "ipi", 11, ""),
        ("rights_holders", "isni", 16, ""),
        ("works", "musicbrainz_id", 36, ""),
        ("works", "source", 20, "audio"),
    ):
        op.add_column(
            table, sa.Column(name, sa.String(length=length), nullable=False, server_default=default)
        )
    for column in (
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("obligations", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("attribution_text", sa.Text(), nullable=False, server_default=""),
    ):
        op.add_column("licenses", column)
    for measure in (
        sa.Column("votes", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("error_rate", sa.Float(), nullable=True),
        sa.Column("rescan_log_index", sa.BigInteger(), nullable=True),
    ):
        op.add_column("matches", measure)
    op.create_table(
        "output_fingerprints",
        sa.Column("output_id", sa.String(length=36), nullable=False),
        sa.Column("engine", sa.String(length=40), nullable=False),
        sa.Column("items", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["output_id"], ["outputs.id"], name=op.f("fk_output_fingerprints_output_id")
        ),
        sa.PrimaryKeyConstraint("output_id", "engine", name=op.f("pk_output_fingerprints")),
    )
    op.create_table(
        "rescans",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("change_from", sa.Integer(), nullable=False),
        sa.Column("change_to", sa.Integer(), nullable=False),
        sa.Column("outputs_from", sa.BigInteger(), nullable=False),
        sa.Column("outputs_until", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("compared", sa.Integer(), nullable=False),
        sa.Column("findings", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rescans")),
    )
    op.execute(
        "CREATE TEMPORARY TABLE shares_0001 AS SELECT r.work_id, r.rights_holder_id,"
        " r.share_percent, w.added_at FROM work_rights r JOIN works w ON w.id = r.work_id"
    )
    op.drop_table("work_rights")
    op.create_table(
        "work_rights",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("work_id", sa.String(length=36), nullable=False),
        sa.Column("rights_holder_id", sa.String(length=36), nullable=False),
        sa.Column("share_percent", sa.Float(), nullable=False),
        sa.Column("territories", sa.JSON(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
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
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work_rights")),
    )
    op.create_index(op.f("ix_work_rights_work_id"), "work_rights", ["work_id"], unique=False)
    op.create_index(
        op.f("ix_work_rights_rights_holder_id"), "work_rights", ["rights_holder_id"], unique=False
    )
    op.execute(
        "INSERT INTO work_rights (work_id, rights_holder_id, share_percent, territories,"
        " valid_from, recorded_at) SELECT work_id, rights_holder_id, share_percent, '[\"*\"]',"
        " added_at, added_at FROM shares_0001 ORDER BY work_id, rights_holder_id"
    )
    op.execute("DROP TABLE shares_0001")


def downgrade() -> None:
    op.execute(
        "CREATE TEMPORARY TABLE shares_0002 AS SELECT work_id, rights_holder_id,"
        " max(share_percent) AS share_percent FROM work_rights WHERE ended_at IS NULL"
        " GROUP BY work_id, rights_holder_id"
    )
    op.drop_table("work_rights")
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
    op.execute(
        "INSERT INTO work_rights (work_id, rights_holder_id, share_percent)"
        " SELECT work_id, rights_holder_id, share_percent FROM shares_0002"
    )
    op.execute("DROP TABLE shares_0002")
    op.drop_table("rescans")
    op.drop_table("output_fingerprints")
    for table, name in (
        ("matches", "rescan_log_index"),
        ("matches", "error_rate"),
        ("matches", "votes"),
        ("licenses", "attribution_text"),
        ("licenses", "obligations"),
        ("licenses", "ended_at"),
        ("works", "source"),
        ("works", "musicbrainz_id"),
        ("rights_holders", "isni"),
        ("rights_holders", "ipi"),
    ):
        op.drop_column(table, name)
