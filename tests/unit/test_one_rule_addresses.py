"""Which addresses a process may use is checked by the settings and by the library: both decide the same.

The settings say what is wrong in the user's words. The library checks again what comes from peers, too, and refuses
TCP without authentication whoever calls it (R15). Host names, ranges of ports and the other spellings that the settings
allow are parsed by them alone: the library gets the canonical spelling.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guillotina_groupcache.interfaces import ConfigurationError, LibraryError
from guillotina_groupcache.native import Node
from guillotina_groupcache.settings.addresses import Host
from guillotina_groupcache.settings.model import Settings
from guillotina_groupcache.settings.parser import parse
from tests.unit.life_node import ALONE
from tests.unit.sections import SECRET

#: Two addresses that no process can listen on: one needs no secret, the other is TCP. An open that fails there has
#: found nothing wrong with its addresses, and has opened no socket.
NO_FOLDER = "unix:/no-such-folder/socket"
NO_INTERFACE = "192.0.2.1:9000"
TLS = {"cert": "/no-such-file", "key": "/no-such-file", "ca": "/no-such-file"}

# No deadline: how long an example takes says nothing on a machine that others use as well.
patient = settings(deadline=None)

#: Characters whose class is the same in the versions of Unicode that Python and Go have.
CHARACTERS = st.one_of(
    st.characters(max_codepoint=0x24F),
    st.sampled_from("\xad\u200b\u2028\u3000\ufeff\ue000漢🍏ﬁ"),
)
PORTS = st.one_of(st.integers(1, 70000).map(str), st.text("0123456789-+ x²", max_size=6)).filter(
    # The library lets the system choose a free port; the settings do not.
    lambda port: port.strip("0") != ""
)
HOSTS = st.sampled_from(
    ["localhost", "cache.example.org", "127.0.0.1", "10.1.2.3", "[::1]", "[2001:db8::1]", "0.0.0.0", "[::]", "[0:0::0]"]
)


def parsed(section: dict[str, Any]) -> Settings | None:
    """The settings of a section; None if they are refused."""
    try:
        return parse(section, {})
    except ConfigurationError:
        return None


def refusal(listen: list[str], advertise: str = "", secret: str = "", tls: dict[str, str] | None = None) -> str:
    """Why the library refuses a configuration; "" if only because no process can listen at its first address."""
    config = {**ALONE, "alone": False, "listen": listen, "advertise": advertise, "secret": secret, "tls": tls}
    with pytest.raises(LibraryError) as raised:
        Node(config)
    text = str(raised.value)
    return "" if text.startswith(f"listen {listen[0]}: ") or (tls and text.startswith("tls: cannot use")) else text


def agree(address: str, **authentication: Any) -> None:
    """Both accept an address to listen on, or both refuse it."""
    accepted = parsed({"listen": address, **authentication})
    if accepted is None:
        assert refusal([NO_FOLDER, address], **authentication), f"only the settings refuse {address!r}"
        return
    assert accepted.listen is not None
    spelled = [str(one) for one in accepted.listen.addresses]
    # Where an address stands for all of a host the settings find one to advertise.
    advertise = "192.0.2.1" if accepted.listen.wildcard else ""
    first = NO_INTERFACE if accepted.listen.tcp else NO_FOLDER
    assert refusal([first, *spelled], advertise, **authentication) == "", f"only the library refuses {address!r}"


@patient
@given(st.text(CHARACTERS, max_size=120), st.sampled_from(["/", "/", "/run/", "", "@"]))
@example("x" * 106, "/")
@example("x" * 107, "/")
@example("ä" * 53, "/")
@example("ä" * 54, "/")
@example("a b", "/")
@example("a\0b", "/")
@example("a\nb", "/")
@example("../b", "/a/")
def test_a_unix_socket(path: str, prefix: str) -> None:
    agree(f"unix:{prefix}{path}")


@patient
@given(HOSTS, PORTS)
@example("127.0.0.1", "1")
@example("127.0.0.1", "65535")
@example("127.0.0.1", "65536")
@example("127.0.0.1", "http")
@example("127.0.0.1", "-1")
@example("127.0.0.1", "0080")
def test_a_port(host: str, port: str) -> None:
    agree(f"{host}:{port}", secret=SECRET)


@pytest.mark.parametrize("address", ["9000", "127.0.0.1", "::1", "::1:9000", "[::1]", "unix", "a:b:c", ":", ":9000"])
def test_text_that_is_not_an_address(address: str) -> None:
    assert parsed({"listen": address, "secret": SECRET}) is None
    assert refusal([NO_FOLDER, address], secret=SECRET)


@pytest.mark.parametrize("address", ["127.0.0.1:9000", "[::1]:9000", "localhost:9000", "10.0.0.1:9000", "unix:/run/x"])
@pytest.mark.parametrize("authentication", [{}, {"secret": SECRET}, {"tls": TLS}], ids=["none", "secret", "tls"])
def test_tcp_needs_a_secret_or_tls(address: str, authentication: dict[str, Any]) -> None:
    agree(address, **authentication)


def test_a_secret_and_tls() -> None:
    both = {"secret": SECRET, "tls": TLS}
    assert parsed({"listen": "127.0.0.1:9000", **both}) is None
    assert "only one is allowed" in refusal(["127.0.0.1:9000"], **both)


@pytest.mark.parametrize("length", range(1, 20))
def test_the_length_of_a_secret(length: int) -> None:
    agree("127.0.0.1:9000", secret="x" * length)


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "[::]"])
def test_an_address_of_a_whole_host_is_not_advertised(wildcard: str) -> None:
    with pytest.raises(ValueError, match="stands for every address of a host"):
        Host.parse(wildcard)
    for listen, advertise in ((f"{wildcard}:9000", ""), (NO_INTERFACE, wildcard), (NO_INTERFACE, f"{wildcard}:9000")):
        assert "stands for every address of a host" in refusal([listen], advertise, secret=SECRET)


@patient
@given(HOSTS, st.one_of(st.just(""), PORTS.map(":{}".format)))
def test_an_advertised_address(host: str, port: str) -> None:
    section = {"listen": NO_INTERFACE, "advertise": host + port, "secret": SECRET}
    accepted = parsed(section)
    refused = refusal([NO_INTERFACE], str(accepted.advertise) if accepted else host + port, secret=SECRET)
    assert (accepted is None) == (refused != ""), refused
