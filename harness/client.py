"""A client for the demo's nodes: requests as root, one connection each."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

#: The path of the container that a cluster makes.
CONTAINER: Final = "/db/c"
USER: Final = "root"
PASSWORD: Final = "admin"
REQUEST_TIMEOUT: Final = 60.0


class NodeError(Exception):
    """A process that ended, or did not come to what was waited for; the message ends with its log."""


class Response(NamedTuple):
    """An answer over HTTP; the names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` where it is none."""
        return json.loads(self.body)


class HttpClient:
    """Requests as root to one server. Each has a connection of its own, so threads may share a client."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port

    def request(
        self,
        method: str,
        path: str,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        user: str | None = f"{USER}:{PASSWORD}",
    ) -> Response:
        """Send `content`, bytes or something for JSON; `user` is `name:password`, or None for nobody.

        Raises `OSError` or `http.client.HTTPException` where no answer comes; a status is never an error.
        """
        sent = {"Connection": "close", **(headers or {})}
        if user is not None:
            sent["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        if content is not None and not isinstance(content, bytes):
            content = json.dumps(content).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=REQUEST_TIMEOUT)
        try:
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            received = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, received, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> Response:
        return self.request("GET", path, **options)

    def post(self, path: str, content: Any = None, **options: Any) -> Response:
        return self.request("POST", path, content, **options)

    def patch(self, path: str, content: Any = None, **options: Any) -> Response:
        return self.request("PATCH", path, content, **options)

    def delete(self, path: str, **options: Any) -> Response:
        return self.request("DELETE", path, **options)

    def stats(self, cluster: bool = False) -> dict[str, Any]:
        """The answer of `@cache-stats` at the root, which reads no object. Raises `NodeError` where it is none."""
        answer = self.get(f"/@cache-stats{'?cluster=true' if cluster else ''}")
        if answer.status != 200:
            raise NodeError(f"@cache-stats answered {answer.status}: {answer.body!r}")
        stats: dict[str, Any] = answer.json()
        return stats
