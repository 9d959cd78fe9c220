"""What alembic runs for each migration: on the connection that it is given, in its transaction."""

from alembic import context

from sentiment.database.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
