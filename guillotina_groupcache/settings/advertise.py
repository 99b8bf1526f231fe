"""The host that peers dial where `listen` stands for all addresses of a host and `advertise` is not given."""

from __future__ import annotations

import logging
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from guillotina_groupcache.interfaces import ConfigurationError
from guillotina_groupcache.settings.addresses import Host, Listen

logger = logging.getLogger("guillotina_groupcache")

#: Seconds that the database may take to answer from which address this process connects.
TIMEOUT: Final = 3.0

#: Addresses that are reserved for documentation: the route to them is the default route.
_FAR_AWAY: Final = {4: (socket.AF_INET, "192.0.2.1"), 6: (socket.AF_INET6, "2001:db8::1")}

Ip = IPv4Address | IPv6Address


async def find_host(listen: Listen, storage: Any) -> Host:
    """The address from which this host connects to the database; without one, that of its default route.

    The peers use the same database, so they probably reach this host by the same network. Raises `ConfigurationError`
    where no address is found that another host could dial.
    """
    address = str(listen.addresses[0])
    versions = (6, 4) if address.startswith("[") else (4,)
    ip = await _seen_by_database(storage)
    if ip is None or ip.version not in versions or not _is_own(ip):
        ip = next((found for version in versions if (found := _source(version)) and _is_own(found)), None)
    if ip is None:
        raise ConfigurationError(
            f"groupcache.listen: {address!r} stands for every address of this host, and none was found that the"
            " peers could reach: give advertise, the host that they dial"
        )
    return Host(f"[{ip}]" if ip.version == 6 else str(ip))


async def _seen_by_database(storage: Any) -> Ip | None:
    """The address of this process' connections, as the database sees it."""
    try:
        async with storage.pool.acquire(timeout=TIMEOUT) as connection:
            text = await connection.fetchval("SELECT host(inet_client_addr())", timeout=TIMEOUT)
    except Exception as error:
        logger.warning("groupcache: the database does not say from which address this process connects: %r", error)
        return None
    return None if text is None else ip_address(text)


def _source(version: int) -> Ip | None:
    """The address from which this host would send to a distant one. Nothing is sent."""
    family, far_away = _FAR_AWAY[version]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far_away, 9))
            return ip_address(probe.getsockname()[0])
    except OSError:
        return None


def _is_own(ip: Ip) -> bool:
    """Whether it is an address of this host alone, and not one that every host has."""
    if ip.is_loopback or ip.is_link_local or ip.is_unspecified:
        return False
    try:
        with socket.socket(_FAR_AWAY[ip.version][0], socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
