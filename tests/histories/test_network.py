"""In both networks a cut loses what it should and nothing else, and what was sent arrives when it is healed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from harness.local import ROOT, wait_for
from tests.histories.network import DATABASE, VARIABLE, Host, Network, make_network
from tests.histories.proxies import ProxyNetwork
from tests.histories.talker import EVERY

SIZE = 3
#: Seconds after which everything that was under way has arrived.
UNDER_WAY = 0.5
QUIET = 1.0
QUICK = 30.0


class Talker:
    """A process on a host, see `talker`."""

    def __init__(self, host: Host) -> None:
        self.host = host
        with host.entered():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.histories.talker", str(host.number), host.groupcache["listen"]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        host.started(self._process.pid)
        self._answer()

    def dial(self, other: Talker) -> None:
        addresses = other.host.groupcache
        self._call("dial", addresses.get("advertise", addresses["listen"]))

    def heard(self, other: Talker) -> int:
        """How often this talker has received the other one's number."""
        counts: dict[str, int] = self._call("heard")
        return counts.get(str(other.host.number), 0)

    def _call(self, *operation: str) -> Any:
        print(json.dumps(operation), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module", params=["", "proxies"])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(VARIABLE, request.param)
        network = make_network(SIZE)
    yield network
    network.close()


@pytest.fixture
def talkers(network: Network) -> Iterator[list[Talker]]:
    """A talker on each host; each pair is connected once."""
    talkers = [Talker(host) for host in network.hosts]
    for number, talker in enumerate(talkers):
        for other in talkers[number + 1 :]:
            talker.dial(other)
    for talker in talkers:
        for other in talkers:
            if other is not talker:
                hears(talker, other)
    yield talkers
    for talker in talkers:
        talker.close()


def hears(talker: Talker, other: Talker, at_least: int = 3) -> None:
    """Wait until more arrives from the other one."""
    before = talker.heard(other)
    wait_for(lambda: talker.heard(other) >= before + at_least, "more to be heard", QUICK)


def hears_nothing(talker: Talker, other: Talker) -> None:
    """Check that nothing arrives from the other one any more."""
    time.sleep(UNDER_WAY)
    before = talker.heard(other)
    time.sleep(QUIET)
    assert talker.heard(other) == before


@pytest.mark.parametrize(("sender", "receiver"), [(0, 1), (1, 0)])
def test_one_way_is_cut(network: Network, talkers: list[Talker], sender: int, receiver: int) -> None:
    mute, deaf, other = talkers[sender], talkers[receiver], talkers[2]
    network.cut(mute.host.number, deaf.host.number)
    try:
        hears_nothing(deaf, mute)
        if isinstance(network, ProxyNetwork):
            # Where packets are lost TCP soon sends nothing new, as nothing is acknowledged.
            hears(mute, deaf)
        for one in mute, deaf:
            hears(other, one)
            hears(one, other)
        lost = deaf.heard(mute)
    finally:
        network.heal(mute.host.number, deaf.host.number)
    # All that was sent meanwhile arrives, since a connection loses nothing.
    hears(deaf, mute, at_least=int(QUIET / EVERY / 2))
    hears(mute, deaf)
    assert deaf.heard(mute) > lost


def test_a_host_is_cut_off_from_the_database(network: Network) -> None:
    dsns = [host.dsn("postgres") for host in network.hosts]

    def connects(number: int, seconds: int) -> bool:
        with network.hosts[number].entered():
            try:
                psycopg2.connect(dsns[number], connect_timeout=seconds).close()
            except psycopg2.OperationalError:
                return False
        return True

    assert all(connects(number, 30) for number in range(SIZE))
    network.cut(1, DATABASE)
    try:
        assert not connects(0, 2)
        assert connects(1, 30)
    finally:
        network.heal(1, DATABASE)
    assert connects(0, 30)
