"""The event of a transaction holds every key whose value differs before and after (R11), whatever was done.

`ORACLE_EXAMPLES` random examples instead of the same ones each time: `make soak` runs many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from guillotina.const import ROOT_ID
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from guillotina_groupcache.keys import Kind
from guillotina_groupcache.records import ABSENT
from tests.postgres import PostgresServer
from tests.unit import event_operations as do
from tests.unit.event_operations import TYPES
from tests.unit.event_runner import Runner
from tests.unit.event_universe import GIVEN, LONG, NAMES, DbVacuum, Of, Operation, Transaction, Vacuum

EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "0"))
A, B, C = NAMES

# --- the universe's random examples

_name = st.sampled_from(NAMES)
_number = st.integers(0, 4)
_optional = st.none() | _number
_of = st.builds(Of, st.integers(0, 4), st.sampled_from(("uid", "uid", "uid", "child", "held", "bare")))
_given = st.sampled_from(GIVEN)
_type = st.sampled_from(TYPES)
_nothing = st.none()
_operations: dict[type[Operation], st.SearchStrategy[Operation]] = {
    do.Create: st.builds(do.Create, _number, _name, _type)
    | st.builds(do.Create, _number, _name, _type, _given | st.integers(0, 4)),
    do.Install: st.builds(do.Install, _name),
    do.RegisterAs: st.builds(do.RegisterAs, _number, _name, _given, st.booleans()),
    do.Read: st.builds(do.Read, _of),
    do.Modify: st.builds(do.Modify, _of, st.integers(1, 2)),
    do.Share: st.builds(do.Share, _number),
    do.Retype: st.builds(do.Retype, _of, _type),
    do.Move: st.builds(do.Move, _of, _optional, _nothing | _name),
    do.Place: st.builds(do.Place, _of, _optional, _nothing, _nothing | _name)
    | st.builds(do.Place, _of, _nothing, _number)
    | st.builds(do.Place, _of, oid=_given)
    | st.builds(do.Place, _of, clear=st.sampled_from(("__parent__", "__of__"))),
    do.Duplicate: st.builds(do.Duplicate, _of, _optional, _name),
    do.Delete: st.builds(do.Delete, _of, st.booleans()),
    do.Annotate: st.builds(do.Annotate, _number, _name) | st.builds(do.Annotate, _number, _name, _optional, _of),
    do.ChangeAnnotation: st.builds(
        do.ChangeAnnotation, _number, _name, st.sampled_from(("register", "set", "delete")), _name
    ),
    do.Blob: st.builds(do.Blob, _given),
    do.Peek: st.builds(do.Peek),
    do.Begin: st.builds(do.Begin),
}
_operation = st.one_of(*_operations.values())
_vacuum: st.SearchStrategy[Operation] = st.builds(Vacuum, st.integers(0, 2)) | st.builds(DbVacuum)
_end = st.sampled_from(("commit", "commit", "commit", "commit", "commit", "abort", "raise"))
_other = st.builds(Transaction, st.lists(_operation, min_size=1, max_size=2).map(tuple), _end, st.booleans())
_within = st.one_of(*[_operation] * 5, _other, _vacuum)
_step: st.SearchStrategy[Operation] = st.one_of(
    *[st.builds(Transaction, st.lists(_within, min_size=1, max_size=4).map(tuple), _end)] * 6, _vacuum
)
#: What every example begins with: the folders a and a/a, the container b, and an annotation of a/a.
BEGINNING = Transaction((do.Create(0, A), do.Create(1, A), do.Create(0, B, "Container"), do.Annotate(2, A)))


@pytest.fixture(scope="module")
def runner(postgres: PostgresServer) -> Iterator[Runner]:
    name = f"groupcache_oracle_{os.getpid()}"
    try:
        with Runner(postgres.create_database(name)) as runner:
            yield runner
    finally:
        postgres.drop_database(name)


def test_every_change_is_announced(runner: Runner) -> None:
    done = runner.did.copy()

    @settings(
        max_examples=EXAMPLES or 60,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(_step, min_size=1, max_size=8))
    def examples(steps: list[Operation]) -> None:
        note(f"after BEGINNING: {steps}")
        runner.check(BEGINNING, *steps)

    examples()
    print(runner.did - done, runner.counts)
