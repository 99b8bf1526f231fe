"""An HTTP client for nodes: requests as root, each over a connection of its own."""

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


def authorization(user: str = f"{USER}:{PASSWORD}") -> str:
    """Return the value of the Authorization header for a `name:password`, by default root's."""
    return f"Basic {base64.b64encode(user.encode()).decode()}"


class NodeError(Exception):
    """A process ended, or did not get as far as expected in time; the message ends with its log."""


class Response(NamedTuple):
    """A response over HTTP; the names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises `ValueError` where it is not JSON."""
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
        """Send a request and return the response.

        `content` is bytes, or a value that is sent as JSON; `user` is `name:password`, None for an anonymous request.
        Raises `OSError` or `http.client.HTTPException` where no response comes; no status is an error.
        """
        sent = {"Connection": "close", **(headers or {})}
        if user is not None:
            sent["Authorization"] = authorization(user)
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
        """Return the statistics, which the root answers without reading an object. Raises `NodeError` for an error."""
        answer = self.get(f"/@cache-stats{'?cluster=true' if cluster else ''}")
        if answer.status != 200:
            raise NodeError(f"@cache-stats answered {answer.status}: {answer.body!r}")
        stats: dict[str, Any] = answer.json()
        return stats
