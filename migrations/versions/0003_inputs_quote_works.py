"""A match tells whether the output quotes the work, or a sound that went into it.

Matches of 0002 are of outputs.

Revises: 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "matches",
        sa.Column("heard_in", sa.String(length=20), nullable=False, server_default=""),
    )


def downgrade() -> None:
    # Without the column they would be taken for quotations in the output.
    op.execute("DELETE FROM matches WHERE heard_in <> ''")
    op.drop_column("matches", "heard_in")
