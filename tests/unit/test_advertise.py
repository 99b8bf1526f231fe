"""The host that peers dial where `listen` stands for all addresses: as the database sees it, or by the routes."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from guillotina_groupcache.interfaces import ConfigurationError
from guillotina_groupcache.settings.addresses import Host, Listen
from guillotina_groupcache.settings.advertise import find_host
from tests.unit.life_app import running

IPV4 = Listen.parse("0.0.0.0:9000")
BOTH = Listen.parse("[::]:9000-9001")


class Storage:
    """A storage whose database sees this process at an address, or fails."""

    def __init__(self, seen: str | Exception | None) -> None:
        self.pool = self
        self._seen = seen

    @asynccontextmanager
    async def acquire(self, timeout: float) -> AsyncIterator[Storage]:
        yield self

    async def fetchval(self, statement: str, timeout: float) -> str | None:
        assert statement == "SELECT host(inet_client_addr())"
        if isinstance(self._seen, Exception):
            raise self._seen
        return self._seen


def source(family: socket.AddressFamily, far_away: str) -> str | None:
    """The address that the system would send from; None where it has no route."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((far_away, 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


OWN = source(socket.AF_INET, "192.0.2.1")
needs_a_network = pytest.mark.skipif(OWN is None, reason="this host has no way to others")


async def found(listen: Listen, seen: str | Exception | None) -> str:
    host: Host = await find_host(listen, Storage(seen))
    assert not ip_address(host.text.strip("[]")).is_loopback
    return host.text


@needs_a_network
async def test_what_the_database_sees() -> None:
    assert OWN is not None
    assert await found(IPV4, OWN) == OWN
    assert await found(BOTH, OWN) == OWN


@needs_a_network
@pytest.mark.parametrize(
    "seen", [None, "127.0.0.1", "::1", "203.0.113.7", "fe80::1", "0.0.0.0", OSError("lost")], ids=repr
)
async def test_what_the_database_sees_is_not_of_this_host(seen: Any) -> None:
    """A unix socket, loopback, a NAT, a proxy: then the default route decides."""
    assert await found(IPV4, seen) == OWN


async def test_ipv6_is_not_listened_to_on_all_addresses_of_ipv4() -> None:
    ipv6 = source(socket.AF_INET6, "2001:db8::1")
    if ipv6 is None or OWN is None:
        pytest.skip("this host has not both")
    assert await found(IPV4, ipv6) == OWN
    assert await found(BOTH, ipv6) == f"[{ipv6}]"
    assert await found(BOTH, None) == f"[{ipv6}]"


async def test_a_host_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere(socket.socket):
        def connect(self, address: Any) -> None:
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", Nowhere)
    with pytest.raises(ConfigurationError) as caught:
        await find_host(IPV4, Storage("127.0.0.1"))
    assert str(caught.value) == (
        "groupcache.listen: '0.0.0.0:9000' stands for every address of this host, and none was found that the peers"
        " could reach: give advertise, the host that they dial"
    )


async def test_a_real_database_is_asked(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is on loopback here, so its answer is of no use, but it is understood."""
    async with running(database, {"peers": []}) as app:
        if OWN is not None:
            assert (await find_host(IPV4, app.database.storage)).text == OWN
    assert "does not say" not in caplog.text
