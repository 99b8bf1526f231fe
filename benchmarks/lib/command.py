"""The command line of every benchmark's module."""

from __future__ import annotations

import argparse
import sys
from typing import Protocol

from benchmarks.lib import content
from benchmarks.lib.report import Answer, table
from harness.postgres import running_postgres
from harness.postgres_server import PostgresServer


class Benchmark(Protocol):
    """A module that measures one thing."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its options; the defaults are what `make bench` measures."""

    def answer(self, options: argparse.Namespace, postgres: PostgresServer) -> Answer:
        """Measure."""


def parser_of(benchmark: Benchmark) -> argparse.ArgumentParser:
    """Return the parser of a benchmark's options."""
    parser = argparse.ArgumentParser(
        description=benchmark.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    benchmark.add_arguments(parser)
    return parser


def main(name: str) -> None:
    """Run the benchmark of the module `name`, print its table and keep its results."""
    benchmark = sys.modules[name]
    options = parser_of(benchmark).parse_args()
    with running_postgres() as postgres:
        try:
            answer = benchmark.answer(options, postgres)
        finally:
            content.drop_all(postgres)
    spec = benchmark.__spec__
    answer.write((spec.name if spec is not None else name).rpartition(".")[2])
    print(table(answer.findings))
