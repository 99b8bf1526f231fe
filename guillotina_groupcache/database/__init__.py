"""PostgreSQL: the members table, loads, and what others write past the cache."""
