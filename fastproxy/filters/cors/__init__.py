"""The `cors` filter: preflights are answered, and responses say which origins may read them (spec/filters.md 1)."""
