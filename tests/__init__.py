"""Tests of guillotina_groupcache, and the PostgreSQL server that they, the demo and the benchmarks share."""
