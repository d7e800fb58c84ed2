"""Run the migrations on the connection the caller opened (``registry.schema``).

There is no configuration file: ``config.attributes["connection"]`` is an open
transaction, which the caller commits, so an upgrade happens whole or not at all.
"""

from alembic import context
from sqlalchemy import Connection

connection = context.config.attributes.get("connection")
if not isinstance(connection, Connection):
    msg = "run migrations through `safegen db upgrade`"
    raise TypeError(msg)

context.configure(
    connection=connection,
    target_metadata=context.config.attributes.get("metadata"),
    compare_type=True,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
