"""Which processes are peers by the `groupcache` section, and how they prove themselves."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from guillotina_groupcache.settings.addresses import Advertised
from guillotina_groupcache.settings.model import NOWHERE, Secret, Settings, Tls
from guillotina_groupcache.settings.parser import SECRET_VARIABLE, parse
from tests.unit.sections import SECRET, TLS, error, listens, settings


def test_an_empty_section_is_a_peer_at_a_socket_of_its_own() -> None:
    for found in (settings(), settings(secret=SECRET, size="2MB")):
        assert found.listen is None and found.peers is None and not found.alone and not found.explicit
    assert settings(peers="database") == Settings(explicit=True)


def test_listen_without_peers_admits_all_in_the_table() -> None:
    found = settings(listen="127.0.0.1:1", secret=SECRET)
    assert found.peers is None and not found.alone and found.explicit


def test_a_list_of_peers_without_listen_is_a_client() -> None:
    found = settings(peers=["127.0.0.1:1"], secret=SECRET)
    assert found.listen == NOWHERE and not found.alone


def test_no_listen_is_a_client_of_all_in_the_table() -> None:
    found = settings(listen="none")
    assert found.listen == NOWHERE and found.peers is None and not found.alone


@pytest.mark.parametrize("section", [{"peers": []}, {"peers": "none"}, {"peers": (), "listen": "none"}])
def test_no_peers_is_alone(section: dict[str, Any]) -> None:
    found = settings(**section)
    assert found.alone and found.listen == NOWHERE and found.explicit


@pytest.mark.parametrize("none", [[], "none", ""])
def test_a_process_that_listens_is_not_alone(none: Any) -> None:
    assert error({"listen": "127.0.0.1:1", "peers": none}) == (
        "groupcache.listen: '127.0.0.1:1' is given beside empty peers:"
        " give peers: database to be a peer, or no listen to be the only process"
    )


def test_a_command_is_a_client_of_the_server_it_runs_beside() -> None:
    server = settings(listen="127.0.0.1:1", peers=["127.0.0.1:2"], secret=SECRET, size="2MB", ttl=5, push=False)
    command = server.for_command()
    assert command.listen == NOWHERE
    assert command.admitted(None) == ("127.0.0.1:1", "127.0.0.1:2")
    assert dataclasses.replace(command, listen=server.listen, server=None) == server


def test_a_command_of_a_process_that_finds_the_others_in_the_table() -> None:
    for server in (settings(), settings(listen="127.0.0.1:1", secret=SECRET), settings(peers="database")):
        command = server.for_command()
        assert command.listen == NOWHERE and command.admitted(None) == () and not command.alone


def test_a_command_of_a_process_alone_is_alone() -> None:
    assert settings(peers=[]).for_command() == settings(peers=[])


@pytest.mark.parametrize(
    ("section", "found", "admitted"),
    [
        ({"listen": "127.0.0.1:1", "peers": ["127.0.0.1:2", "127.0.0.1:1"]}, None, ["127.0.0.1:1", "127.0.0.1:2"]),
        ({"listen": "127.0.0.1:1-2", "peers": ["unix:/g"]}, None, ["127.0.0.1:1", "127.0.0.1:2", "unix:/g"]),
        ({"listen": "0.0.0.0:1-2", "peers": ["unix:/g"]}, "10.0.0.1", ["10.0.0.1:1", "10.0.0.1:2", "unix:/g"]),
        ({"listen": "0.0.0.0:1", "advertise": "a.b", "peers": ["unix:/g"]}, None, ["a.b:1", "unix:/g"]),
        ({"listen": "0.0.0.0:1", "advertise": "a.b:3", "peers": ["unix:/g"]}, None, ["a.b:3", "unix:/g"]),
        ({"peers": ["unix:/g", "dns:a.b:4"]}, None, ["unix:/g", "dns:a.b:4"]),
        ({"listen": "0.0.0.0:1"}, "10.0.0.1", []),
    ],
)
def test_admitted_peers(section: dict[str, Any], found: str | None, admitted: list[str]) -> None:
    """The server and the commands beside it admit the same peers."""
    server = settings(**section, secret=SECRET)
    advertised = Advertised.parse(found) if found else server.advertise
    assert list(server.admitted(advertised)) == list(server.for_command().admitted(advertised)) == admitted


# Secret and tls


def test_the_secret_from_the_environment_overrides_the_file() -> None:
    found = settings({SECRET_VARIABLE: SECRET}, secret="the secret of the file")
    assert SECRET_VARIABLE == "GUILLOTINA_GROUPCACHE_SECRET"
    assert found.secret == Secret(SECRET)
    assert settings({SECRET_VARIABLE: SECRET}).secret == Secret(SECRET)
    assert parse(None, {SECRET_VARIABLE: SECRET}).secret == Secret(SECRET)


def test_an_empty_variable_is_no_secret() -> None:
    assert settings({SECRET_VARIABLE: ""}, secret=SECRET).secret == Secret(SECRET)
    assert settings({SECRET_VARIABLE: ""}).secret is None


def test_white_space_around_the_secret_is_not_part_of_it() -> None:
    assert settings(secret=f"{SECRET}\n").secret == Secret(SECRET)


def test_the_secret_does_not_show_itself(caplog: pytest.LogCaptureFixture) -> None:
    found = settings(secret=SECRET)
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("%s %r", found, found.secret)
    shown = [repr(found), str(found), f"{found.secret}", str(dataclasses.asdict(found)), caplog.text]
    assert all(SECRET not in text and "***" in text for text in shown)


def test_secrets_compare_by_value() -> None:
    assert Secret(SECRET) == Secret(SECRET) and hash(Secret(SECRET)) == hash(Secret(SECRET))
    assert Secret(SECRET) != Secret(SECRET + "x")
    assert Secret(SECRET) != SECRET


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is too short: give a random one of at least 16 characters (openssl rand -hex 32)"),
        (
            "fifteen letters",
            "is too short: give a random one of at least 16 characters (openssl rand -hex 32)",
        ),
        (
            1234567890123456,
            "is not a string: give a random one of at least 16 characters (openssl rand -hex 32)",
        ),
        (["hunter2"], "is not a string: give a random one of at least 16 characters (openssl rand -hex 32)"),
        ("not unicode \udcff\udcff\udcff\udcff", "is not UTF-8: give letters and digits"),
    ],
)
def test_a_bad_secret_is_not_shown(value: Any, problem: str) -> None:
    assert error({"secret": value}) == f"groupcache.secret: *** {problem}"
    if isinstance(value, str) and value:
        assert error({}, {SECRET_VARIABLE: value}) == f"groupcache.secret: *** {problem}"


def test_tls() -> None:
    assert settings(tls=TLS).tls == Tls(cert="/etc/g/cert.pem", key="/etc/g/key.pem", ca="/etc/g/ca.pem")


@pytest.mark.parametrize("name", ["cert", "key", "ca"])
@pytest.mark.parametrize("value", ["", " ", 5, None])
def test_tls_needs_its_three_paths(name: str, value: Any) -> None:
    allowed = "give the path of a PEM file"
    assert error({"tls": {**TLS, name: value}}) == f"groupcache.tls.{name}: {value!r} is not a path: {allowed}"


def test_unknown_keys_of_tls() -> None:
    allowed = "known are cert, key, ca"
    assert error({"tls": {**TLS, "crt": "x"}}) == (
        f"groupcache.tls: 'crt' is not a known key (did you mean cert?): {allowed}"
    )
    assert error({"tls": "/etc/g"}) == "groupcache.tls: a str is not a section: give a mapping of cert, key, ca"


def test_tls_and_secret_exclude_each_other() -> None:
    assert error({"tls": TLS, "secret": SECRET}) == (
        "groupcache.tls: given beside a secret: give tls or secret, not both"
    )


TCP = "is TCP, where anybody can connect, on loopback every user of the host: give secret or tls as well, or unix:/path"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:9000", "127.8.9.1:9000", "[::1]:9000", "localhost:9000", "10.0.0.1:9000", "[2001:db8::1]:9000", "a:1"],
)
def test_tcp_needs_a_secret_or_tls(address: str) -> None:
    assert error({"listen": address}) == f"groupcache.listen: {address!r} {TCP}"
    assert error({"listen": address, "advertise": "10.0.0.1"}) == f"groupcache.listen: {address!r} {TCP}"
    # A process that only dials needs it too: by now another process may listen there.
    assert error({"peers": ["unix:/g", address]}) == f"groupcache.peers: {address!r} {TCP}"
    assert error({"peers": ["dns:a:1"]}) == f"groupcache.peers: 'dns:a:1' {TCP}"
    for section in ({"secret": SECRET}, {"tls": TLS}):
        assert listens(settings(listen=address, peers=[address], **section)) == [address]
    assert listens(settings({SECRET_VARIABLE: SECRET}, listen=address)) == [address]


@pytest.mark.parametrize("listen", ["0.0.0.0:9000", "[::]:9000", "127.0.0.1:9000-9001", "10.0.0.1:9000-9001"])
def test_listening_at_many_addresses_needs_a_secret(listen: str) -> None:
    assert error({"listen": listen}) == f"groupcache.listen: {listen!r} {TCP}"


@pytest.mark.parametrize(
    "section",
    [{}, {"listen": "unix:/g"}, {"listen": "unix:/g", "peers": ["unix:/h"]}, {"listen": "none"}, {"peers": []}],
)
def test_unix_sockets_need_nothing(section: dict[str, Any]) -> None:
    found = settings(**section)
    assert found.secret is None and found.tls is None
