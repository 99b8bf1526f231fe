"""The report of `groupcache-status`: the applications that write past the cache, and when they do it too much."""

from __future__ import annotations

from typing import Any

from guillotina_groupcache.status import MANY_EVERYTHING, report, table


def wrote(application: str, notes: int, rows: int, last: float) -> dict[str, Any]:
    return {"application": application, "notes": notes, "rows": rows, "last": last}


def stats(*outside: list[dict[str, Any]], everything: int = 0, uptime: float = 60.0) -> dict[str, Any]:
    """The statistics of one process whose peers have counted these writes from outside, one list per peer."""
    rows, peers = [], []
    for incarnation, applications in enumerate(outside):
        address = f"127.0.0.1:{incarnation}"
        row = {"incarnation": incarnation, "address": address, "host": "h", "state": "in", "reason": ""}
        rows.append({**row, "overdue": False, "connected": True})
        counted = {"applied": 50, "everything": everything, "rows": 7, "by_application": applications}
        peers.append(
            {
                "incarnation": incarnation,
                "address": address,
                "serving": True,
                "since": 5.0,
                "reason": "",
                "uptime": uptime,
                "epoch": 0,
                "versions": "aa",
                "gets": 5,
                "hits": {"own": 5},
                "local_loads": 1,
                "bypasses": 0,
                "buckets_in_doubt": 0,
                "longest_doubt": 0.0,
                "unreachable_databases": [],
                "members": [],
                "outside_writes": counted,
            }
        )
    return {"members": rows, "peers": peers}


def test_nobody_has_written_past_the_cache() -> None:
    shown = report(stats([], []))
    assert shown["outside_writes"] == [] and shown["wrong"] == []
    assert "past the cache" not in table(shown)


def test_each_application_is_named_once() -> None:
    """Every member counts every note, from its own start on."""
    shown = report(
        stats(
            [wrote("psql", 3, 9, 30.0), wrote("", 1, 0, 7300.0)], [wrote("psql", 2, 5, 29.5)], [wrote("tool", 1, 4, 1)]
        )
    )
    psql, tool, unnamed = wrote("psql", 3, 9, 29.5), wrote("tool", 1, 4, 1), wrote("", 1, 0, 7300.0)
    assert shown["outside_writes"] == [tool, psql, unnamed]
    assert shown["members"][1]["outside_writes"]["by_application"] == [wrote("psql", 2, 5, 29.5)]
    assert shown["wrong"] == [], "to write past the cache is nothing wrong"
    lines = table(shown).splitlines()
    begin = lines.index("What has written past the cache, without announcing it:")
    assert lines[begin - 1] == ""
    assert lines[begin + 1 : begin + 6] == [
        "application       notes  rows  last",
        "tool              1      4     1 s ago",
        "psql              3      9     30 s ago",
        "(without a name)  1      ?     2 h ago",
        "",
    ]
    assert lines[-1] == "Nothing is wrong."


def test_everything_was_bumped_often() -> None:
    for everything, uptime, is_wrong in (
        (MANY_EVERYTHING - 1, 60.0, False),
        (MANY_EVERYTHING, 60.0, True),
        (MANY_EVERYTHING, 3600.0, False),
        (60, 3600.0, True),
    ):
        wrong = report(stats([], everything=everything, uptime=uptime))["wrong"]
        assert bool(wrong) is is_wrong, (everything, uptime, wrong)
        if is_wrong:
            assert wrong[0].startswith(f"127.0.0.1:0 has bumped everything for {everything} writes from outside")
    assert "What is wrong:" in table(report(stats([], everything=60)))


def test_a_member_that_does_not_answer_is_shown_too() -> None:
    unanswered = stats([wrote("psql", 1, 1, 1.0)])
    unanswered["peers"] = []
    assert report(unanswered)["outside_writes"] == []
