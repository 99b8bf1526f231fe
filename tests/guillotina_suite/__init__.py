"""Guillotina's own test suite, on PostgreSQL, with guillotina_groupcache as its cache strategy."""
