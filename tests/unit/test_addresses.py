"""Addresses in the `groupcache` section: every spelling that is allowed, and every error in full."""

from __future__ import annotations

from typing import Any

import pytest

from guillotina_groupcache.settings.addresses import Address
from tests.unit.sections import SECRET, error, listens, peers, settings


@pytest.mark.parametrize(
    ("text", "canonical", "tcp"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000", True),
        ("127.8.9.1:1", "127.8.9.1:1", True),
        ("[::1]:65535", "[::1]:65535", True),
        ("[0:0::1]:09000", "[::1]:9000", True),
        ("localhost:9000", "localhost:9000", True),
        ("LocalHost:9000", "localhost:9000", True),
        ("unix:/run/g/0.sock", "unix:/run/g/0.sock", False),
        ("unix:/" + "g" * 106, "unix:/" + "g" * 106, False),
        ("unix:/a:b c", "unix:/a:b c", False),
        ("10.0.0.1:9000", "10.0.0.1:9000", True),
        ("[2001:DB8::1]:9000", "[2001:db8::1]:9000", True),
        ("[fe80::1%eth0]:9000", "[fe80::1%eth0]:9000", True),
        ("node-1.example.org:9000", "node-1.example.org:9000", True),
        ("node_1:9000", "node_1:9000", True),
        ("localhost.example.org:9000", "localhost.example.org:9000", True),
    ],
)
def test_address(text: str, canonical: str, tcp: bool) -> None:
    assert Address.parse(text) == Address(canonical)
    assert str(Address.parse(text)) == canonical
    assert Address.parse(text).tcp is tcp


FORMS = "is not an address: give host:port, [IPv6]:port or unix:/path"
PORTS = "has no usable port: give host:port with a port from 1 to 65535"


@pytest.mark.parametrize("key", ["listen", "peers"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("127.0.0.1", FORMS),
        ("9000", FORMS),
        (":9000", FORMS),
        ("http://localhost:9000", "is not an address: give an IPv6 address in brackets, [IPv6]:port"),
        ("-node:9000", FORMS),
        ("no de:9000", FORMS),
        ("nöde:9000", FORMS),
        ("node..org:9000", FORMS),
        ("n" * 64 + ":9000", FORMS),
        ("127.0.1:9000", FORMS),
        ("300.0.0.1:9000", FORMS),
        ("[::g]:9000", FORMS),
        ("[127.0.0.1]:9000", FORMS),
        ("::1:9000", "is not an address: give an IPv6 address in brackets, [IPv6]:port"),
        ("[::1]", "has no usable port: give host:port with a port from 1 to 65535"),
        ("localhost:", PORTS),
        ("localhost:0", PORTS),
        ("localhost:65536", PORTS),
        ("localhost:1000000001", PORTS),
        ("localhost:-1", PORTS),
        ("localhost:http", PORTS),
        ("localhost:٩", PORTS),
        ("unix:", "has no absolute path: give unix:/path"),
        ("unix:g.sock", "has no absolute path: give unix:/path"),
        ("unix:/g\0", "has a character in its path that cannot be printed: give unix:/path without it"),
        ("unix:/g\nh", "has a character in its path that cannot be printed: give unix:/path without it"),
        ("unix:/" + "g" * 107, "has a path of 108 bytes: give one of at most 107"),
        ("unix:/" + "é" * 54, "has a path of 109 bytes: give one of at most 107"),
    ],
)
def test_what_is_not_an_address(key: str, text: str, problem: str) -> None:
    assert error({key: text}) == f"groupcache.{key}: {text!r} {problem}"


def test_addresses_are_strings() -> None:
    assert error({"listen": 9000}) == "groupcache.listen: 9000 is not an address: give a string"
    assert error({"peers": ["[::1]:1", 9000]}) == "groupcache.peers: 9000 is not an address: give a string"


@pytest.mark.parametrize("value", [9000, {"a": 1}, True])
def test_what_is_not_a_list_of_peers(value: Any) -> None:
    allowed = "give database, or addresses as a list or with commas between them"
    assert error({"peers": value}) == f"groupcache.peers: {value!r} is not a list: {allowed}"


def test_a_long_value_is_shortened() -> None:
    message = error({"listen": "x" * 5000})
    assert len(message) < 250 and message.endswith(FORMS)


def test_duplicate_peers_are_folded() -> None:
    found = settings(peers=["[::1]:2", "localhost:1", "[0::1]:2", "LOCALHOST:1"], secret=SECRET)
    assert peers(found) == ["[::1]:2", "localhost:1"]


# Ports, wildcards, names


@pytest.mark.parametrize(
    ("text", "addresses", "wildcard"),
    [
        ("127.0.0.1:9000-9002", ["127.0.0.1:9000", "127.0.0.1:9001", "127.0.0.1:9002"], False),
        ("127.0.0.1:9000-9000", ["127.0.0.1:9000"], False),
        ("[0::1]:65534-65535", ["[::1]:65534", "[::1]:65535"], False),
        ("localhost:1-2", ["localhost:1", "localhost:2"], False),
        ("0.0.0.0:9000", ["0.0.0.0:9000"], True),
        ("[0::0]:9000", ["[::]:9000"], True),
        (" 0.0.0.0:9000-9001", ["0.0.0.0:9000", "0.0.0.0:9001"], True),
    ],
)
def test_where_to_listen(text: str, addresses: list[str], wildcard: bool) -> None:
    found = settings(listen=text, secret=SECRET)
    assert listens(found) == addresses
    assert found.listen is not None and found.listen.wildcard is wildcard
    assert found.wildcard == (found.listen if wildcard else None)
    assert found.listen.ports == tuple(int(address.rpartition(":")[2]) for address in addresses)


def test_the_largest_range() -> None:
    assert len(listens(settings(listen="127.0.0.1:1001-2024", secret=SECRET))) == 1024


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("127.0.0.1:1001-2025", "has no usable range of ports: give host:first-last with at most 1024 ports"),
        ("127.0.0.1:9001-9000", "has no usable range of ports: give host:first-last with at most 1024 ports"),
        ("127.0.0.1:9000-", PORTS),
        ("127.0.0.1:-9000", PORTS),
        ("127.0.0.1:0-9000", PORTS),
        ("127.0.0.1:9000-65536", PORTS),
        ("127.0.0.1:9000-9001-9002", PORTS),
        ("dns:localhost:9000", "is not an address: give an IPv6 address in brackets, [IPv6]:port"),
    ],
)
def test_what_is_no_address_to_listen_on(text: str, problem: str) -> None:
    assert error({"listen": text}) == f"groupcache.listen: {text!r} {problem}"


WILDCARD = "stands for every address of a host: give the one at which the peers reach it"


@pytest.mark.parametrize("text", ["0.0.0.0:9000", "[::]:9000"])
def test_all_addresses_of_a_host_cannot_be_dialled(text: str) -> None:
    assert error({"peers": [text]}) == f"groupcache.peers: {text!r} {WILDCARD}"
    assert error({"listen": text, "advertise": text}) == f"groupcache.advertise: {text!r} {WILDCARD}"


def test_a_range_is_for_listening() -> None:
    assert error({"peers": ["127.0.0.1:9000-9001"]}) == f"groupcache.peers: '127.0.0.1:9000-9001' {PORTS}"


@pytest.mark.parametrize(
    ("text", "advertised"),
    [
        ("10.0.0.1", "10.0.0.1"),
        (" 10.0.0.1:09000 ", "10.0.0.1:9000"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
        ("[2001:DB8::1]:9000", "[2001:db8::1]:9000"),
        ("Cache-1.example.org", "cache-1.example.org"),
        ("cache-1.example.org:9000", "cache-1.example.org:9000"),
    ],
)
def test_advertise(text: str, advertised: str) -> None:
    found = settings(listen="0.0.0.0:9001", advertise=text, secret=SECRET)
    assert str(found.advertise) == advertised
    assert found.wildcard is None


HOSTS = "is not an address: give host or host:port, with IPv6 in brackets"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("unix:/g", HOSTS),
        ("2001:db8::1", "is not an address: give an IPv6 address in brackets, [IPv6]:port"),
        ("10.0.0", HOSTS),
        ("no de", HOSTS),
        ("10.0.0.1:0", PORTS),
        ("10.0.0.1:9000-9001", PORTS),
        ("0.0.0.0", WILDCARD),
        ("[::]", WILDCARD),
    ],
)
def test_what_cannot_be_advertised(text: str, problem: str) -> None:
    message = error({"listen": "0.0.0.0:9000", "advertise": text, "secret": SECRET})
    assert message == f"groupcache.advertise: {text!r} {problem}"


@pytest.mark.parametrize("listen", [None, "none", "unix:/g"])
def test_advertise_needs_a_port_to_listen_on(listen: str | None) -> None:
    assert error({"listen": listen, "advertise": "10.0.0.1", "secret": SECRET}) == (
        "groupcache.advertise: '10.0.0.1' is what peers dial instead of listen:"
        " give a listen address of host:port too, or no advertise"
    )


def test_one_port_is_not_advertised_for_many() -> None:
    section = {"listen": "0.0.0.0:9000-9001", "secret": SECRET}
    assert str(settings(**section, advertise="10.0.0.1").advertise) == "10.0.0.1"
    assert error({**section, "advertise": "10.0.0.1:9000"}) == (
        "groupcache.advertise: '10.0.0.1:9000' has a port, and listen a range of them: give the host alone"
    )


def test_dns_names() -> None:
    found = settings(peers=["dns:Cache.example.svc:09000", "10.0.0.1:9000"], secret=SECRET)
    assert peers(found) == ["dns:cache.example.svc:9000", "10.0.0.1:9000"]
    assert peers(settings(peers="dns:localhost:9000", secret=SECRET)) == ["dns:localhost:9000"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dns:cache", "is not an address: give dns:host:port"),
        ("dns:", "is not an address: give dns:host:port"),
        ("dns::9000", "is not an address: give dns:host:port"),
        ("dns:no de:9000", "is not an address: give dns:host:port"),
        ("dns:10.0.0.1:9000", "has an address instead of a name: give it without dns:"),
        ("dns:[::1]:9000", "has an address instead of a name: give it without dns:"),
        ("dns:cache:http", PORTS),
        ("dns:cache:9000-9001", PORTS),
    ],
)
def test_what_is_not_a_dns_name(text: str, problem: str) -> None:
    assert error({"peers": [text]}) == f"groupcache.peers: {text!r} {problem}"
