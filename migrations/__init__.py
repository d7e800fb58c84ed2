"""How the memory's shape changed over time (Alembic)."""
