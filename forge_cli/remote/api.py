"""The registry's `/api/v1`, as far as it is not signed: accounts, offers, search.

Answers are read leniently: unknown members are ignored, missing ones are an error that names
them. Nothing from here is shown as verified.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from urllib3.response import BaseHTTPResponse

from ..errors import ForgeError, RemoteError
from .http import Http, read_limited

MAX_ANSWER_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """`/api/v1` of the registry at ``url``; ``token`` None means anonymous."""

    http: Http
    url: str
    token: str | None = None

    def get(self, *path: str, query: Mapping[str, object] | None = None) -> Any:
        """The JSON answer to a GET of ``path`` (its parts, not yet quoted)."""
        return self._call("GET", path, query=query)

    def post(self, *path: str, body: Mapping[str, object]) -> Any:
        return self._call("POST", path, body=body)

    def put(self, *path: str, body: Mapping[str, object]) -> Any:
        return self._call("PUT", path, body=body)

    def delete(self, *path: str) -> Any:
        return self._call("DELETE", path)

    def has(self, *path: str, query: Mapping[str, object]) -> bool:
        """Whether something is at ``path``, by a HEAD."""
        url = f"{self.address(*path)}?{urlencode(query)}"
        with self.http.open("HEAD", url, token=self.token) as response:
            if response.status == 404:
                return False
            self.require_success(response)
            return True

    def text(self, *path: str) -> bytes:
        """The bytes of a GET, as they came."""
        with self.http.open("GET", self.address(*path), token=self.token) as response:
            self.require_success(response)
            return read_limited(response, MAX_ANSWER_BYTES)

    def address(self, *path: str) -> str:
        return "/".join([f"{self.url}/api/v1", *(quote(part, safe="") for part in path)])

    def require_token(self) -> None:
        """Raises ForgeError when this command needs an account and there is none."""
        if self.token is None:
            raise ForgeError(
                "not-logged-in",
                f"not logged in to {self.url}",
                hint=f"forge login {self.url} --token-file FILE   (or set FORGE_TOKEN)",
            )

    def require_success(self, response: BaseHTTPResponse) -> None:
        """Raises RemoteError when the answer is a refusal; reads its problem document."""
        if response.status >= 400:
            raise problem(response, logged_in=self.token is not None)

    def _call(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Any:
        url = self.address(*path) + ("/" if not path else "")
        if query:
            url += "?" + urlencode(query)
        headers = {"Accept": "application/json, application/problem+json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        with self.http.open(method, url, headers=headers, body=data, token=self.token) as response:
            self.require_success(response)
            text = read_limited(response, MAX_ANSWER_BYTES)
        if not text:
            return {}
        return _json(text, url)


def _json(text: bytes, url: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ForgeError(
            "registry-malformed",
            f"{url}: expected JSON, found something else",
            hint="is this the URL of a registry?",
        ) from None


def member(answer: Any, name: str, kind: type = str) -> Any:
    """``answer[name]``, which must be a ``kind``. Raises ForgeError naming what is missing."""
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        raise ForgeError(
            "registry-malformed",
            f"the registry's answer: {name}: expected {kind.__name__}, found {value!r:.60}",
            hint="the registry may be newer or older than this client",
        )
    return value


def problem(response: BaseHTTPResponse, *, logged_in: bool) -> RemoteError:
    """The refusal in ``response`` (RFC 9457, or whatever a proxy in between made of it)."""
    document: Any = {}
    if "json" in response.headers.get("Content-Type", ""):
        try:
            document = json.loads(read_limited(response, 1 << 20))
        except (ValueError, RecursionError):
            document = {}
    if not isinstance(document, dict):
        document = {}
    known = {"type", "title", "status", "detail", "code", "hint", "request_id"}
    facts = {
        key: value
        for key, value in document.items()
        if key not in known and key.isidentifier() and key not in ("message", "self")
    }
    status = response.status
    text = _text(document, "detail") or _text(document, "title")
    return RemoteError(
        _text(document, "code") or f"http-{status}",
        text or f"the registry answered {status}",
        (None if status == 401 and logged_in else _text(document, "hint"))
        or _hint(status, logged_in=logged_in),
        status=status,
        request_id=_text(document, "request_id") or response.headers.get("X-Request-Id"),
        **facts,
    )


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


def _hint(status: int, *, logged_in: bool) -> str | None:
    if status == 401:
        if logged_in and os.environ.get("FORGE_TOKEN"):
            return "the token in FORGE_TOKEN is unknown, expired or revoked: set another, or none"
        return (
            "the token is unknown, expired or revoked: forge login"
            if logged_in
            else "log in first: forge login"
        )
    if status in (502, 503, 504):
        return "the registry is busy or down; run the same command again later"
    return None
