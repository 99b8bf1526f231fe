"""The `groupcache` section: every default, every spelling that is allowed, and every error in full."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from guillotina_groupcache.interfaces import ConfigurationError, GroupcacheError
from guillotina_groupcache.settings.addresses import Address, Advertised
from guillotina_groupcache.settings.model import NOWHERE, Secret, Settings, Tls
from guillotina_groupcache.settings.parser import ENABLED_VARIABLE, SECRET_VARIABLE, is_enabled, parse

SECRET = "correct horse battery staple"
TLS = {"cert": "/etc/g/cert.pem", "key": "/etc/g/key.pem", "ca": "/etc/g/ca.pem"}


def settings(environ: dict[str, str] | None = None, **section: Any) -> Settings:
    return parse(section, environ or {})


def listens(found: Settings) -> list[str]:
    assert found.listen is not None
    return [str(address) for address in found.listen.addresses]


def peers(found: Settings) -> list[str]:
    assert found.peers is not None
    return [str(peer) for peer in found.peers]


def error(section: Any, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(section, environ or {})
    message = str(caught.value)
    assert "\n" not in message
    assert isinstance(caught.value, GroupcacheError) and isinstance(caught.value, ValueError)
    return message


@pytest.mark.parametrize(
    "section", [None, {}, dict.fromkeys(("listen", "advertise", "peers", "secret", "tls", "size", "ttl", "push"))]
)
def test_defaults(section: Any) -> None:
    found = parse(section, {})
    assert found == Settings()
    assert found.listen is None
    assert found.advertise is None
    assert found.peers is None
    assert found.secret is None
    assert found.tls is None
    assert found.size == 256_000_000
    assert found.ttl == 3600
    assert found.push is True
    assert not found.alone and not found.explicit


def test_the_section_of_the_manual() -> None:
    found = parse(
        {
            "listen": "127.0.0.1:9000",
            "peers": ["127.0.0.1:9000", "127.0.0.1:9001", "127.0.0.1:9002"],
            "secret": SECRET,
            "size": "256MB",
            "ttl": 3600,
            "push": True,
        },
        {},
    )
    assert listens(found) == ["127.0.0.1:9000"]
    assert peers(found) == ["127.0.0.1:9000", "127.0.0.1:9001", "127.0.0.1:9002"]
    assert found.secret is not None and found.secret.reveal() == SECRET
    assert not found.alone and found.explicit


def test_the_strings_of_the_environment() -> None:
    # guillotina.commands.get_settings: G_groupcache__size=1GiB and --override=groupcache.push=false
    strings = {"listen": " none ", "peers": " 127.0.0.1:1, [::1]:2 ,unix:/g,", "size": " 1GiB ", "ttl": "0"}
    found = settings(**strings, push="false", secret=f" {SECRET} ")
    assert found == Settings(
        listen=NOWHERE,
        peers=tuple(map(Address.parse, ("127.0.0.1:1", "[::1]:2", "unix:/g"))),
        secret=Secret(SECRET),
        size=2**30,
        ttl=0,
        push=False,
        explicit=True,
    )
    assert settings(listen="", peers="").alone
    assert settings(peers=" None ").alone
    assert settings(peers=" Database ").peers is None
    assert settings(advertise=" none ").advertise is None


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().size = 5  # type: ignore[misc]


# Size, ttl and push


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (1_000_000, 10**6),
        ("1000000", 10**6),
        ("1000KB", 10**6),
        ("1MB", 10**6),
        ("1mb", 10**6),
        ("1 MB", 10**6),
        ("1.5GB", 1_500_000_000),
        ("0.3GB", 300_000_000),
        ("1000KiB", 1000 * 2**10),
        ("1MiB", 2**20),
        ("2GiB", 2**31),
        ("1024GiB", 2**40),
    ],
)
def test_size(value: Any, size: int) -> None:
    assert settings(size=value).size == size


@pytest.mark.parametrize("value", ["lots", "", "MB", "-1MB", "1TB", "1e9", "1,5GB", "١MB", True, 1e9, [1]])
def test_what_is_not_a_size(value: Any) -> None:
    allowed = "give bytes or a number with KB, MB, GB, KiB, MiB or GiB"
    assert error({"size": value}) == f"groupcache.size: {value!r} is not a size: {allowed}"


@pytest.mark.parametrize("value", [0, -1, 999_999, "999KB", "0", "1025GiB", 2**64, "9" * 15 + "GB"])
def test_a_size_out_of_range(value: Any) -> None:
    assert error({"size": value}) == f"groupcache.size: {value!r} is out of range: give 1MB to 1024GiB"


@pytest.mark.parametrize(
    ("value", "ttl"), [(0, 0), (60, 60), ("60", 60), (0.5, 0.5), ("0.5", 0.5), (31536000, 31536000)]
)
def test_ttl(value: Any, ttl: float) -> None:
    assert settings(ttl=value).ttl == ttl


@pytest.mark.parametrize("value", [-1, "-1", "soon", "", True, 31536001, 10**400, "inf", float("nan"), [60]])
def test_what_is_not_a_ttl(value: Any) -> None:
    message = error({"ttl": value})
    assert message.startswith("groupcache.ttl: ") and repr(value)[:100] in message
    assert message.endswith(" is not a time: give seconds from 0 (no limit) to 31536000 (a year)")


@pytest.mark.parametrize("value", [True, "true", "True", "yes", "on", "1", 1])
def test_push(value: Any) -> None:
    assert settings(push=value).push is True


@pytest.mark.parametrize("value", [False, "false", "FALSE", "no", "off", "0", 0])
def test_no_push(value: Any) -> None:
    assert settings(push=value).push is False


@pytest.mark.parametrize("value", ["maybe", "", 2, []])
def test_what_is_not_a_push(value: Any) -> None:
    assert error({"push": value}) == f"groupcache.push: {value!r} is not a boolean: give true or false"


# Addresses


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


# Roles


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
    told = Advertised.parse(found) if found else server.advertise
    assert list(server.admitted(told)) == list(server.for_command().admitted(told)) == admitted


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


# The section as a whole


def test_unknown_keys() -> None:
    allowed = "known are enabled, listen, advertise, peers, secret, tls, size, ttl, push"
    assert error({"sise": 1}) == f"groupcache: 'sise' is not a known key (did you mean size?): {allowed}"
    assert error({"driver": None}) == f"groupcache: 'driver' is not a known key: {allowed}"
    assert error({5: 1}) == f"groupcache: 5 is not a known key: {allowed}"


@pytest.mark.parametrize("section", [SECRET, [SECRET], True])
def test_what_is_not_a_section_is_not_shown(section: Any) -> None:
    kind = type(section).__name__
    allowed = "give a mapping of enabled, listen, advertise, peers, secret, tls, size, ttl, push"
    assert error(section) == f"groupcache: a {kind} is not a section: {allowed}"


# The off switch


@pytest.mark.parametrize("value", [False, "false", " No ", "off", 0, "0"])
def test_switched_off(value: Any) -> None:
    assert not is_enabled({"enabled": value}, {})
    assert settings(enabled=value) == Settings(enabled=False)
    assert parse(None, {ENABLED_VARIABLE: str(value)}) == Settings(enabled=False)


@pytest.mark.parametrize("value", [True, "true", "Yes", " on", 1, "1"])
def test_switched_on(value: Any) -> None:
    assert settings(enabled=value) == settings(enabled=None) == Settings()


def test_the_environment_overrides_the_file() -> None:
    assert not is_enabled({"enabled": True}, {ENABLED_VARIABLE: "false"})
    assert settings({ENABLED_VARIABLE: "true"}, enabled=False, size="1MB") == Settings(size=10**6)
    assert not is_enabled({"enabled": False}, {ENABLED_VARIABLE: ""}), "an empty variable does not count"


@pytest.mark.parametrize("section", [{"size": "many"}, {"peer": []}, ["listen"], "none", {"secret": "short"}])
def test_what_is_switched_off_need_not_be_right(section: Any) -> None:
    assert parse(section, {ENABLED_VARIABLE: "false"}) == Settings(enabled=False)
    error(section)


def test_an_unclear_switch() -> None:
    assert error({"enabled": "maybe"}) == "groupcache.enabled: 'maybe' is not a boolean: give true or false"
    assert error({}, {ENABLED_VARIABLE: "2"}) == f"{ENABLED_VARIABLE}: '2' is not a boolean: give true or false"
