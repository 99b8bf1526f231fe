"""The `groupcache` section: every default, every spelling that is allowed, and every error in full."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from guillotina_groupcache.addresses import Address
from guillotina_groupcache.interfaces import ConfigurationError, GroupcacheError
from guillotina_groupcache.settings import SECRET_VARIABLE, Secret, Settings, Tls, parse

SECRET = "correct horse battery staple"
TLS = {"cert": "/etc/g/cert.pem", "key": "/etc/g/key.pem", "ca": "/etc/g/ca.pem"}


def settings(environ: dict[str, str] | None = None, **section: Any) -> Settings:
    return parse(section, environ or {})


def error(section: Any, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(section, environ or {})
    message = str(caught.value)
    assert "\n" not in message
    assert isinstance(caught.value, GroupcacheError) and isinstance(caught.value, ValueError)
    return message


@pytest.mark.parametrize(
    "section", [None, {}, dict.fromkeys(("listen", "peers", "secret", "tls", "size", "ttl", "push"))]
)
def test_defaults(section: Any) -> None:
    found = parse(section, {})
    assert found == Settings()
    assert found.listen is None
    assert found.peers == ()
    assert found.secret is None
    assert found.tls is None
    assert found.size == 256_000_000
    assert found.ttl == 3600
    assert found.push is True
    assert found.alone


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
    assert str(found.listen) == "127.0.0.1:9000"
    assert [str(peer) for peer in found.peers] == ["127.0.0.1:9000", "127.0.0.1:9001", "127.0.0.1:9002"]
    assert found.listen in found.peers
    assert found.secret is not None and found.secret.reveal() == SECRET
    assert not found.alone


def test_the_strings_of_the_environment() -> None:
    # guillotina.commands.get_settings: G_groupcache__size=1GiB and --override=groupcache.push=false
    found = settings(listen=" none ", peers=" 127.0.0.1:1, [::1]:2 ,unix:/g,", size=" 1GiB ", ttl="0", push="false")
    assert found == Settings(
        peers=tuple(map(Address.parse, ("127.0.0.1:1", "[::1]:2", "unix:/g"))), size=2**30, ttl=0, push=False
    )
    assert settings(listen="", peers="").alone


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
    ("text", "canonical", "local"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000", True),
        ("127.8.9.1:1", "127.8.9.1:1", True),
        ("[::1]:65535", "[::1]:65535", True),
        ("[0:0::1]:09000", "[::1]:9000", True),
        ("localhost:9000", "localhost:9000", True),
        ("LocalHost:9000", "localhost:9000", True),
        ("unix:/run/g/0.sock", "unix:/run/g/0.sock", True),
        ("unix:/" + "g" * 106, "unix:/" + "g" * 106, True),
        ("unix:/a:b c", "unix:/a:b c", True),
        ("10.0.0.1:9000", "10.0.0.1:9000", False),
        ("[2001:DB8::1]:9000", "[2001:db8::1]:9000", False),
        ("[fe80::1%eth0]:9000", "[fe80::1%eth0]:9000", False),
        ("node-1.example.org:9000", "node-1.example.org:9000", False),
        ("node_1:9000", "node_1:9000", False),
        ("localhost.example.org:9000", "localhost.example.org:9000", False),
    ],
)
def test_address(text: str, canonical: str, local: bool) -> None:
    assert Address.parse(text) == Address(canonical, local)
    assert str(Address.parse(text)) == canonical


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
        ("0.0.0.0:9000", "stands for every address of a host: give the one at which the peers reach it"),
        ("[::]:9000", "stands for every address of a host: give the one at which the peers reach it"),
        ("unix:", "has no absolute path: give unix:/path"),
        ("unix:g.sock", "has no absolute path: give unix:/path"),
        ("unix:/g\0", "has a NUL in its path: give unix:/path without it"),
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
    allowed = "give addresses as a list or with commas between them"
    assert error({"peers": value}) == f"groupcache.peers: {value!r} is not a list: {allowed}"


def test_a_long_value_is_shortened() -> None:
    message = error({"listen": "x" * 5000})
    assert len(message) < 250 and message.endswith(FORMS)


def test_duplicate_peers_are_folded() -> None:
    found = settings(peers=["[::1]:2", "localhost:1", "[0::1]:2", "LOCALHOST:1"])
    assert [str(peer) for peer in found.peers] == ["[::1]:2", "localhost:1"]


# Roles


def test_peers_without_listen_are_a_client() -> None:
    found = settings(peers=["127.0.0.1:1"])
    assert found.listen is None and not found.alone


def test_listen_without_peers_is_a_cluster_of_one() -> None:
    found = settings(listen="127.0.0.1:1")
    assert found.peers == () and not found.alone


def test_a_command_is_a_client_of_the_server_it_runs_beside() -> None:
    server = settings(listen="127.0.0.1:1", peers=["127.0.0.1:2"], secret=SECRET, size="2MB", ttl=5, push=False)
    command = server.for_command()
    assert command.listen is None
    assert set(map(str, command.peers)) == {"127.0.0.1:1", "127.0.0.1:2"}
    assert dataclasses.replace(command, listen=server.listen, peers=server.peers) == server


def test_a_command_has_the_server_among_its_peers_once() -> None:
    command = settings(listen="127.0.0.1:1", peers=["127.0.0.1:2", "127.0.0.1:1"]).for_command()
    assert sorted(map(str, command.peers)) == ["127.0.0.1:1", "127.0.0.1:2"]


def test_a_command_beside_a_cluster_of_one_is_not_alone() -> None:
    assert not settings(listen="127.0.0.1:1").for_command().alone


def test_a_command_without_server_address_keeps_its_settings() -> None:
    assert settings().for_command() == settings()
    assert settings(peers="unix:/g").for_command() == settings(peers="unix:/g")


# Secret and tls


def test_the_secret_from_the_environment_goes_before_the_file() -> None:
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


OPEN = (
    "can be reached from other hosts: give a secret or tls as well,"
    " or an address of 127.0.0.0/8, [::1], localhost or unix:/path"
)


@pytest.mark.parametrize("address", ["10.0.0.1:9000", "[2001:db8::1]:9000", "node-1:9000"])
def test_an_open_address_needs_a_secret_or_tls(address: str) -> None:
    assert error({"listen": address}) == f"groupcache.listen: {address!r} {OPEN}"
    assert error({"listen": "127.0.0.1:1", "peers": ["unix:/g", address]}) == (f"groupcache.peers: {address!r} {OPEN}")
    for section in ({"secret": SECRET}, {"tls": TLS}):
        assert str(settings(listen=address, peers=[address], **section).listen) == address


# The section as a whole


def test_unknown_keys() -> None:
    allowed = "known are listen, peers, secret, tls, size, ttl, push"
    assert error({"sise": 1}) == f"groupcache: 'sise' is not a known key (did you mean size?): {allowed}"
    assert error({"driver": None}) == f"groupcache: 'driver' is not a known key: {allowed}"
    assert error({5: 1}) == f"groupcache: 5 is not a known key: {allowed}"


@pytest.mark.parametrize("section", [SECRET, [SECRET], True])
def test_what_is_not_a_section_is_not_shown(section: Any) -> None:
    kind = type(section).__name__
    allowed = "give a mapping of listen, peers, secret, tls, size, ttl, push"
    assert error(section) == f"groupcache: a {kind} is not a section: {allowed}"
