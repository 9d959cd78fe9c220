"""Our own records in SQLite or PostgreSQL: schema, migrations, and all queries."""
