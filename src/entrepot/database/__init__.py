"""Rows: one engine a database (SQLite, PostgreSQL), the same SQL text for both, one module of queries a feature."""
