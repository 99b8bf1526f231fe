"""The processor time of a site, all its processes together, which says more than elapsed time on a busy machine."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

import psutil
import psycopg2

from benchmarks.lib.sites import Site


def seconds(site: Site) -> float:
    """Return the seconds of processor time of the site's nodes, its Redis and its PostgreSQL backends."""
    return sum(map(_seconds_of, _processes(site)))


def _processes(site: Site) -> Iterable[int]:
    for node in site.nodes:
        assert node.process is not None
        yield node.process.pid
    if site.redis is not None:
        yield site.redis.pid
    with closing(psycopg2.connect(site.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        yield from (pid for (pid,) in cursor.fetchall())


def _seconds_of(pid: int) -> float:
    # A backend may have ended, or run on another machine.
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
