"""The event of a transaction holds every key whose value differs before and after (R11), whatever it did.

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
from harness.postgres_server import PostgresServer
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
_how = st.sampled_from(("register", "set", "delete"))
#: How often, and what.
_operations: list[tuple[int, st.SearchStrategy[Operation]]] = [
    (4, st.builds(do.Create, _number, _name, _type)),
    (2, st.builds(do.Create, _number, _name, _type, _given)),
    (2, st.builds(do.Create, _number, _name, _type, st.integers(0, 4))),
    (1, st.builds(do.Install, _name)),
    (2, st.builds(do.RegisterAs, _number, _name, _given, st.booleans())),
    (2, st.builds(do.Read, _of)),
    (4, st.builds(do.Modify, _of, st.integers(1, 2))),
    (1, st.builds(do.Share, _of)),
    (1, st.builds(do.Migrate)),
    (1, st.builds(do.Retype, _of, _type)),
    (4, st.builds(do.Move, _of, _optional, st.sampled_from((A, B)))),
    (2, st.builds(do.Move, _of, _number)),
    (2, st.builds(do.Put, _of, _optional, _nothing, _nothing | _name)),
    (1, st.builds(do.Put, _of, _nothing, _number)),
    (1, st.builds(do.Put, _of, oid=_given)),
    (1, st.builds(do.Put, _of, clear=st.sampled_from(("__parent__", "__of__")))),
    (2, st.builds(do.Duplicate, _of, _optional, st.sampled_from((A, B)))),
    (4, st.builds(do.Delete, _of, st.booleans())),
    (3, st.builds(do.Annotate, _number, _name)),
    (2, st.builds(do.Annotate, _number, _name, _number)),
    (1, st.builds(do.Annotate, _number, _name, other=_of)),
    (3, st.builds(do.ChangeAnnotation, st.just(2), st.just(A), _how, _name)),
    (2, st.builds(do.ChangeAnnotation, _number, _name, _how, _name)),
    (1, st.builds(do.Blob, _given)),
    (1, st.builds(do.Peek)),
    (1, st.builds(do.Begin)),
]


def _often(*choices: tuple[int, st.SearchStrategy[Operation]]) -> st.SearchStrategy[Operation]:
    """One of some strategies, each as often as its number says, where `one_of` has all equally often."""
    return st.sampled_from([choice for times, choice in choices for _ in range(times)]).flatmap(lambda chosen: chosen)


_operation = _often(*_operations)
_vacuum = _often((4, st.builds(Vacuum, st.integers(0, 2))), (1, st.builds(DbVacuum)))
_end = st.sampled_from(("commit", "commit", "commit", "commit", "commit", "commit", "abort", "raise"))
_other = st.builds(Transaction, st.lists(_operation, max_size=2).map(tuple), _end, st.booleans())
_within = st.lists(_often((6, _operation), (1, _other)), max_size=4).map(tuple)
_step = _often((7, st.builds(Transaction, _within, _end)), (1, _vacuum))
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
    @settings(
        max_examples=EXAMPLES or 60,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(_step, min_size=6, max_size=8))
    def examples(steps: list[Operation]) -> None:
        steps = [step for step in steps if step != Transaction(())]  # what hypothesis makes of one too many
        note("\n".join(map(str, [BEGINNING, *steps])))
        runner.check(BEGINNING, *steps)

    examples()
    # An event of everything, or of nothing, would hide what is missing.
    assert runner.counts["everything"] * 20 <= runner.counts["events"]
    assert runner.counts["vain"] * 10 <= runner.counts["events"]


def test_every_operation_does_something(runner: Runner) -> None:
    """Guillotina refuses none of them here: an operation that is always refused would test nothing."""
    world = runner.check(
        BEGINNING,
        Transaction((do.Install(C), do.Share(Of(0)), do.Migrate(), do.Read(Of(0, "child")), do.Modify(Of(1), 2))),
        Transaction((do.Peek(), do.Retype(Of(1), "Item"), do.Move(Of(1), 3, B), do.ChangeAnnotation(2, A))),
        Transaction((do.Move(Of(1), 1), Transaction((do.Modify(Of(0)),), "abort"), do.RegisterAs(0, "d", "given"))),
        Transaction((do.Duplicate(Of(1), 3, A), do.ChangeAnnotation(2, A, "set", B), do.Put(Of(0), name="e"))),
        Transaction((do.ChangeAnnotation(2, B, "delete"), do.Delete(Of(0)), do.Begin(), do.Blob("given"))),
        *[Vacuum(0), Vacuum(0), DbVacuum()],
    )
    assert not world.refused
    made = {name for name, kind in vars(do).items() if isinstance(kind, type) and issubclass(kind, Operation)}
    assert made - {"Operation"} <= set(world.did)


# --- the faults that it has found, an example of each kind

CREATED = Transaction((do.Create(0, A), do.Create(0, B)))
KINDS: dict[str, tuple[Operation, ...]] = {
    "an object id that exists elsewhere": (CREATED, Transaction((do.Create(2, A, oid=0),))),
    "the same, adopted from another transaction": (
        CREATED,
        Transaction((do.Create(2, C, oid=0), Transaction((), adopts=True))),
    ),
    "an object id that is in the trash": (
        Transaction((do.Create(0, A),)),
        Transaction((do.Delete(Of(0)),)),
        Transaction((do.Create(0, B, oid=0),)),
        Vacuum(0),
    ),
    "an annotation with a parent": (CREATED, Transaction((do.Annotate(1, A, 2),))),
    "an annotation with a parent, and its owner is deleted": (
        CREATED,
        Transaction((do.Annotate(1, A, 2),)),
        Transaction((do.Delete(Of(0)),)),
        Vacuum(0),
    ),
    "an annotation of another object": (
        Transaction((do.Create(0, A), do.Annotate(1, A))),
        Transaction((do.Annotate(0, B, other=Of(1, "held")),)),
    ),
    "content that is an annotation": (CREATED, Transaction((do.Put(Of(0), owner=2, name=C),))),
    "an annotation in the trash": (Transaction((do.Annotate(0, A),)), Transaction((do.Delete(Of(0)),))),
    "deleted where another one has moved it to": (
        CREATED,
        Transaction((do.Read(Of(0)), Transaction((do.Move(Of(0), 2),)), do.Delete(Of(0)))),
    ),
    "deleted where another one has moved it": (
        Transaction((do.Create(0, A),)),
        Transaction((do.Read(Of(0)), Transaction((do.Move(Of(0), None, B),)), do.Delete(Of(0)))),
    ),
    "written from where another one has moved it to": (
        CREATED,
        Transaction(
            (do.Read(Of(0)), Transaction((do.Put(Of(0), 2),)), do.Put(Of(0, "held"), parent=0, name=C)),
        ),
    ),
    "written without having been read": (
        Transaction((do.RegisterAs(0, A, "given"), do.Create(0, B))),
        Transaction((do.Read(Of(0)), Transaction((do.Move(Of(0), 2),)), do.RegisterAs(0, C, "given", new=False))),
    ),
    "back from the trash": (
        CREATED,
        Transaction((do.Read(Of(0)), Transaction((do.Delete(Of(0)),)), do.Modify(Of(0)))),
    ),
    "read again while it is written": (CREATED, Transaction((do.Peek(), do.Put(Of(0), name=C), do.Modify(Of(1))))),
    "an object id that the database cuts": (
        Transaction((do.Create(0, A, oid=LONG), do.Create(1, A), do.Create(0, B))),
        Transaction((do.Create(3, A, oid=LONG),)),
        Transaction((do.Delete(Of(0, "held")),)),
        Vacuum(0),
    ),
    "no object id": (
        Transaction((do.Create(0, A, oid=""),)),
        Transaction((do.Create(1, A), do.Annotate(1, A))),
        Transaction((do.Delete(Of(1)),)),
    ),
    "pushed: an object id that changes after it was registered": (
        Transaction((do.Annotate(0, A),)),
        Transaction((do.Modify(Of(0, "held")), do.Put(Of(0), oid="given", registers=False))),
    ),
    "pushed: one row that is written twice": (
        Transaction((do.RegisterAs(0, A, "given", new=False), do.RegisterAs(0, B, "given"))),
    ),
    "pushed: one row under two object ids": (Transaction((do.Create(0, A, oid=LONG), do.Create(0, B, oid=LONG[:64]))),),
    "pushed: deleted and written": (
        Transaction((do.Create(0, A, oid=LONG),)),
        Transaction((do.Delete(Of(0, "held")), do.Modify(Of(0, "held")))),
    ),
    "a blob's stub": (Transaction((do.Blob("given"),), "abort"),),
    "a blob's stub in a transaction that is open": (Transaction((do.Begin(), do.Blob("given"), do.Create(0, A))),),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_change(runner: Runner, kind: str) -> None:
    world = runner.check(*KINDS[kind])
    assert not world.refused, world.refused


def test_an_object_id_that_exists_elsewhere(runner: Runner) -> None:
    runner.perform(CREATED, Transaction((do.Create(2, A, oid=0),)))
    moved, folder = "generated-1", "generated-2"
    for parent, ids in ((ROOT_ID, [B]), (folder, [A]), (moved, [])):
        assert runner.read(Kind.KEYS, parent) == ids
        assert runner.read(Kind.LEN, parent) == len(ids)
    assert runner.read(Kind.CHILD, ROOT_ID, A) is ABSENT
    for record in (runner.read(Kind.CHILD, folder, A), runner.read(Kind.OBJECT, moved)):
        assert (record["zoid"], record["parent_id"], record["id"]) == (moved, folder, A)


def test_an_annotation_with_a_parent(runner: Runner) -> None:
    runner.perform(CREATED, Transaction((do.Annotate(1, C, 2),)))
    owner, parent, annotation = "generated-1", "generated-2", "generated-3"
    assert runner.read(Kind.KEYS, parent) == [C]
    assert runner.read(Kind.LEN, parent) == 1
    assert runner.read(Kind.ANNOTATION_KEYS, owner) == [C]
    for key in ((Kind.CHILD, parent, C), (Kind.ANNOTATION, owner, C), (Kind.OBJECT, annotation)):
        record = runner.read(*key)
        assert (record["zoid"], record["of"], record["parent_id"]) == (annotation, owner, parent)
