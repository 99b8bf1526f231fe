"""What every question's module does when it is run by itself."""

from __future__ import annotations

import argparse
import sys
from typing import Protocol

from benchmarks.lib import content
from benchmarks.lib.report import Answer, table
from harness.postgres import PostgresServer, running_postgres


class Question(Protocol):
    """A module that measures one thing."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its options; the defaults are what `make bench` measures."""

    def answer(self, options: argparse.Namespace, postgres: PostgresServer) -> Answer:
        """Measure."""


def parser_of(question: Question) -> argparse.ArgumentParser:
    """The options of a question's module."""
    parser = argparse.ArgumentParser(
        description=question.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    question.add_arguments(parser)
    return parser


def main(name: str) -> None:
    """Answer the question of the module `name`, print its table and keep its results."""
    question = sys.modules[name]
    options = parser_of(question).parse_args()
    with running_postgres() as postgres:
        try:
            answer = question.answer(options, postgres)
        finally:
            content.drop_all(postgres)
    spec = question.__spec__
    answer.write((spec.name if spec is not None else name).rpartition(".")[2])
    print(table(answer.findings))
