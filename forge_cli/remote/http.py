"""One HTTP client for everything: counted requests, patient retries, careful redirects.

* An access token goes to the origin it was given for and to no other: redirects are followed
  here, not in the library, and lose the ``Authorization`` header when the origin changes. So does
  ``If-Range``: another host has other validators, and would send a file from its beginning.
* 429 and 503 are waited out as ``Retry-After`` says (RFC 9110 §10.2.3), lost connections with a
  growing pause. Every request of ours may be repeated: reads by nature, writes because the
  registry answers the same write again with the same answer.
* Bodies arrive as they are stored (``Accept-Encoding: identity``): what is hashed is what was sent.
  Signed metadata alone may come compressed (`GZIP`); `body_of` lets it out in pieces no larger
  than what is asked for, so that no answer grows in memory beyond the limit that holds for it.
"""

from __future__ import annotations

import os
import random
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Protocol
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError, SSLError
from urllib3.response import BaseHTTPResponse

from .. import __version__
from ..errors import NetworkError

BLOCK_BYTES: Final = 1 << 20
GZIP: Final = {"Accept-Encoding": "gzip"}
_RETRY_STATUS: Final = frozenset({429, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
_MAX_WAIT_SECONDS: Final = 120.0
_INFLATE_BYTES: Final = 1 << 14
_MAX_IDLE_BYTES: Final = 1 << 16  # of compressed data that nothing came out of


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it went out; tests assert budgets on these."""

    method: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What is asked for; ``token`` is for the origin of ``url`` alone."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    token: str | None


@dataclass(slots=True, kw_only=True)
class Http:
    """Connections to whatever host; safe to share between threads.

    ``sleep`` is how retries wait: tests pass their own, transfers one that wakes on Ctrl-C.
    ``mirrors`` are asked for the signed files of a registry that does not answer, by its URL: what
    they send is verified like anybody's.
    """

    sleep: Callable[[float], object] = time.sleep
    attempts: int = 5
    timeout_seconds: float = 30.0
    sent: list[Sent] = field(default_factory=list)
    mirrors: dict[str, Sequence[str]] = field(default_factory=dict)
    _pools: dict[str | None, urllib3.PoolManager] = field(default_factory=dict)

    @contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        token: str | None = None,
    ) -> Iterator[BaseHTTPResponse]:
        """The answer with its body unread, after redirects and retries; closed afterwards.

        Raises:
            NetworkError: no answer, or still 429/503 when patience ended.
        """
        asked = _Request(method=method, url=url, headers=headers or {}, body=body, token=token)
        response = self._from_anywhere(asked)
        try:
            yield response
        except (HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise
            if not isinstance(error, HTTPError | ConnectionError | TimeoutError):
                raise
            raise lost(url, error) from error
        finally:
            _leave(response)

    def _from_anywhere(self, asked: _Request) -> BaseHTTPResponse:
        plain = (asked.method, asked.token) == ("GET", None)
        others = [replace(asked, url=url) for url in self._elsewhere(asked.url)] if plain else []
        if not others:
            return self._patiently(asked)
        try:
            response = self._patiently(asked)
        except NetworkError as error:
            for other in others:
                with suppress(NetworkError):
                    return self._patiently(other)
            raise error from None
        for other in others if response.status in _RETRY_STATUS else ():
            with suppress(NetworkError):
                _leave(response)
                response = self._patiently(other)
                if response.status not in _RETRY_STATUS:
                    break
        return response

    def _elsewhere(self, url: str) -> list[str]:
        """Where else the signed file at ``url`` may be."""
        return [
            mirror + url.removeprefix(base)
            for base, mirrors in self.mirrors.items()
            if url.startswith((f"{base}/tuf/", f"{base}/log/"))
            for mirror in mirrors
            if mirror != base
        ]

    def _patiently(self, asked: _Request) -> BaseHTTPResponse:
        url = asked.url
        for attempt in range(1, self.attempts + 1):
            last = attempt == self.attempts
            try:
                response = self._follow(asked)
            except (HTTPError, OSError) as error:
                if last or not _may_pass(error):
                    raise lost(url, error) from error
                self.sleep(pause_seconds(attempt))
                continue
            if response.status not in _RETRY_STATUS or last:
                return response
            wait = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            too_long = wait is not None and wait > _MAX_WAIT_SECONDS
            if too_long and response.status == 503 and _says_why(response):
                return response  # read-only: the reason is what people need
            _leave(response)
            if too_long:
                raise NetworkError(
                    f"{host_of(url)} asks to wait {wait:.0f} seconds",
                    hint="run the same command again later; it continues where it stopped",
                    code="too-many-requests",
                )
            self.sleep(pause_seconds(attempt) if wait is None else wait)
        raise AssertionError("unreachable")

    def _follow(self, asked: _Request) -> BaseHTTPResponse:
        url, origin = asked.url, _origin(asked.url)
        for _ in range(_MAX_REDIRECTS + 1):
            own = {"User-Agent": f"forge/{__version__}", "Accept-Encoding": "identity"}
            own |= asked.headers
            if _origin(url) != origin:
                own.pop("If-Range", None)
            # Only the origin that the token was given for ever sees it.
            elif asked.token is not None:
                own["Authorization"] = f"Bearer {asked.token}"
            response = self._send(asked, url, own)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                return response
            response.close()
            target = urljoin(url, location)
            check_redirect(url, target, asked.method)
            url = target
        raise NetworkError(f"{host_of(url)}: more than {_MAX_REDIRECTS} redirects in a row")

    def _send(self, asked: _Request, url: str, headers: dict[str, str]) -> BaseHTTPResponse:
        self.sent.append(Sent(asked.method, url))
        return self._pool(url).request(
            asked.method,
            url,
            headers=headers,
            body=asked.body,
            preload_content=False,
            decode_content=False,
            redirect=False,
            retries=False,
            timeout=urllib3.Timeout(connect=10.0, read=self.timeout_seconds),
        )

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_for(url)
        pool = self._pools.get(proxy)
        if pool is None:
            pool = (
                urllib3.PoolManager(maxsize=16)
                if proxy is None
                else urllib3.ProxyManager(proxy, maxsize=16)
            )
            self._pools[proxy] = pool
        return pool


def _says_why(response: BaseHTTPResponse) -> bool:
    """Whether the answer is a problem document (RFC 9457)."""
    return response.headers.get("Content-Type", "").startswith("application/problem+json")


def _leave(response: BaseHTTPResponse) -> None:
    """Give the connection back if its answer was read; a short refusal is read for that."""
    with suppress(HTTPError, OSError):
        if response.status >= 400 and not response.closed:
            response.read(1 << 16)
    # With the body read to its end the connection is back in the pool already, and this does
    # nothing; otherwise it is dropped, because the rest would stand before the next answer.
    response.close()


class Body(Protocol):
    """What a body is read from: at most so many bytes, none at its end."""

    def read(self, amount: int, /) -> bytes: ...


def body_of(response: BaseHTTPResponse, url: str) -> Body:
    """The body of an answer to a request with the headers `GZIP`.

    Raises:
        NetworkError: it comes in a form that was not asked for.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return response
    if encoding != "gzip":
        raise _badly_sent(url, "plain or gzip", encoding[:40])
    return _Inflated(response, url)


@dataclass(slots=True)
class _Inflated:
    """A gzipped body, inflated as far as it is read and no further."""

    response: BaseHTTPResponse
    url: str
    _inflate: zlib._Decompress = field(
        default_factory=lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)
    )
    _waiting: bytes = b""
    _taken: int = 0
    _given: int = 0

    def read(self, amount: int, /) -> bytes:
        if amount < 1:
            return b""  # to zlib 0 means: without limit
        while not self._inflate.eof:
            try:
                data = self._inflate.decompress(self._waiting, amount)
            except zlib.error:
                raise _badly_sent(self.url, "gzip", "something else") from None
            self._waiting = self._inflate.unconsumed_tail
            self._given += len(data)
            if data:
                return data
            if not self._waiting and not self._inflate.eof:
                self._take()
        # Read to its end, so that the connection serves the next request.
        if self._inflate.unused_data or self.response.read(1):
            raise _badly_sent(self.url, "one gzip member", "bytes behind it")
        return b""

    def _take(self) -> None:
        # Compressed data may hold nothing at all without end: no limit on what comes out stops it.
        if self._taken > self._given + _MAX_IDLE_BYTES:
            raise _badly_sent(self.url, "gzip", f"{self._taken} bytes that hold hardly anything")
        self._waiting = self.response.read(_INFLATE_BYTES)
        self._taken += len(self._waiting)
        if not self._waiting:
            raise _badly_sent(self.url, "gzip to its end", "an answer that was cut off")


def _badly_sent(url: str, expected: str, found: str) -> NetworkError:
    return NetworkError(
        f"{url}: expected an answer sent as {expected}, found {found}",
        hint="try again in a moment, or another mirror; a proxy between may alter what it carries",
    )


def read_limited(body: Body, limit: int) -> bytes:
    """The body, reading at most ``limit`` + 1 bytes: a longer one is recognised, not swallowed."""
    data = bytearray()
    while len(data) <= limit:
        block = body.read(min(BLOCK_BYTES, limit + 1 - len(data)))
        if not block:
            break
        data += block
    return bytes(data)


def pause_seconds(attempt: int) -> float:
    """How long to wait before attempt ``attempt`` + 1: 0.5, 1, 2, 4 … with some chance in it."""
    return float(min(30.0, 0.5 * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25))  # noqa: S311


def retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, as seconds or as a date; None without."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), 10**9))
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, (at.astimezone(UTC) - now).total_seconds())


def lost(where: str, error: BaseException) -> NetworkError:
    """What to say when no (whole) answer came from ``where``, an address or what it is to bring."""
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    host = host_of(where) if "://" in where else where
    if "WRONG_VERSION_NUMBER" in str(cause) or "RECORD_LAYER" in str(cause):
        return NetworkError(
            f"{host}: expected a TLS connection, found something else",
            hint=f"if it is served without encryption: {host.replace('https://', 'http://')}",
        )
    if isinstance(cause, SSLError) or "certificate" in str(cause).lower():
        return NetworkError(
            f"{host}: the TLS connection was not accepted: {cause}",
            hint="check the clock of this machine and the certificate authority in SSL_CERT_FILE",
        )
    text = str(cause)
    name = type(cause).__name__
    if "NameResolution" in name or "Name or service" in text or "nodename" in text:
        return NetworkError(
            f"{host}: no such host", hint="check the spelling, the network and the DNS server"
        )
    if "refused" in text.lower():
        return NetworkError(
            f"{host}: connection refused",
            hint="is the registry running there, and is the port right?",
        )
    if "Timeout" in name or "timed out" in text:
        return NetworkError(
            f"{host}: no answer in time", hint="run the same command again; it continues"
        )
    return NetworkError(
        f"{host}: the connection broke ({name})",
        hint="run the same command again; what arrived whole is kept",
    )


def _may_pass(error: Exception) -> bool:
    if isinstance(error, LocationParseError | urllib3.exceptions.LocationValueError):
        return False
    text = f"{error}".lower()
    # A refused connection or an unknown host will not heal within seconds: say so at once.
    return not any(word in text for word in ("refused", "certificate", "resolve", "not known"))


def check_redirect(url: str, target: str, method: str) -> None:
    """Raises NetworkError where nobody may be sent from ``url`` to ``target``."""
    old, new = urlsplit(url), urlsplit(target)
    if new.scheme not in ("http", "https") or not new.hostname:
        raise NetworkError(f"{host_of(url)} redirects to something that is not a web address")
    if old.scheme == "https" and new.scheme == "http":
        raise NetworkError(f"{host_of(url)} redirects from https to http, which is refused")
    if method not in ("GET", "HEAD", "PUT"):
        raise NetworkError(
            f"{host_of(url)} redirects a {method} to {host_of(target)}, which is refused",
            hint="use the registry's own URL",
        )


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default


def host_of(url: str) -> str:
    """Scheme, host and port, without what else an address may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for ``url``; the usual lower- and upper-case names."""
    parts = urlsplit(url)
    env = os.environ
    name = f"{parts.scheme}_proxy"
    proxy = env.get(name) or env.get(name.upper() if parts.scheme == "https" else "")
    proxy = proxy or env.get("all_proxy") or env.get("ALL_PROXY")
    if not proxy:
        return None
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    return None if proxy_bypass_environment(parts.netloc) else proxy
