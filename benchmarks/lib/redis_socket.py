"""The driver of guillotina.contrib.redis over a unix socket; its own knows only TCP, which is slower."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio
from guillotina import app_settings
from guillotina.contrib.redis.driver import RedisDriver


class SocketDriver(RedisDriver):
    """The same driver, connected to `redis.socket` of the settings, a path."""

    async def _connect(self) -> None:
        self._conn_pool = redis.asyncio.ConnectionPool.from_url(f"unix://{app_settings['redis']['socket']}")
        self._pool = redis.asyncio.Redis(connection_pool=self._conn_pool)
        self._pubsub_channels: dict[str, Any] = {}


_driver = SocketDriver()  # type: ignore[no-untyped-call]


async def get_driver() -> SocketDriver:
    """Return the driver, as Guillotina expects it of a driver's module."""
    if not _driver.initialized:
        await _driver.initialize(asyncio.get_running_loop())  # type: ignore[no-untyped-call]
    return _driver
