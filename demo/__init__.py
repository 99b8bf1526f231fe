"""What guillotina_groupcache does, shown on real processes: `make demo`, and `make run` to leave them running."""
