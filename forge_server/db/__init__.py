"""The database: engine, tables, migrations. Nothing above `services` sees any of it."""
