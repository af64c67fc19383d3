"""Asking another Python index, which may be slow, away or hostile.

Requests go to the origins that the operator named and nowhere else, redirects included. What comes
is bounded in bytes and in time, and never unpacked: a body that claims an encoding is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final
from urllib.parse import urljoin

import urllib3

from ..domain.origins import origin_of

_JSON: Final = "application/vnd.pypi.simple.v1+json"
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MOST_REDIRECTS: Final = 3
_BLOCK_BYTES: Final = 64 * 1024
_LEAST_BYTES_A_SECOND: Final = 32 * 1024  # slower than that for long is no download


class UpstreamError(Exception):
    """The upstream did not give what was asked for; says why."""


class NotThereError(UpstreamError):
    """The upstream says that there is nothing at the address."""


@dataclass(frozen=True, slots=True)
class Page:
    """``url`` is the address that the bytes came from in the end."""

    url: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamHttp:
    """``base`` is the address of the index with a final slash, and one of ``origins``.
    ``timeout_seconds`` is how long it may take to begin an answer, and to send a page."""

    base: str
    origins: frozenset[str]
    timeout_seconds: float
    max_page_bytes: int
    clock: Callable[[], float] = monotonic
    _pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(maxsize=8, retries=False)
    )

    def page(self, name: str) -> Page:
        """The page of a project, as JSON.

        Raises:
            NotThereError: it has none.
            UpstreamError: anything else.
        """
        with self._answer(f"{self.base}{name}/", _JSON) as (response, url):
            found = response.headers.get("Content-Type", "").partition(";")[0].strip()
            if found != _JSON:
                raise UpstreamError(f"{url}: expected {_JSON}, found {found!r:.80}")
            return Page(url, self._whole(response, url, self.max_page_bytes))

    def small(self, url: str, most: int) -> bytes:
        """What is at ``url``, of at most ``most`` bytes. Raises as `page`."""
        with self._answer(url, "*/*") as (response, found):
            return self._whole(response, found, most)

    @contextmanager
    def file(self, url: str, size: int) -> Iterator[Body]:
        """The bytes at ``url`` one after the other; ``size`` of them are expected. Raises as
        `page`, and so does reading."""
        with self._answer(url, "*/*") as (response, found):
            seconds = self.timeout_seconds + size / _LEAST_BYTES_A_SECOND
            yield Body(response, found, self.clock, self.clock() + seconds)

    @contextmanager
    def _answer(self, url: str, accept: str) -> Iterator[tuple[Any, str]]:
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._ask(url, accept)
            try:
                if response.status not in _REDIRECTS:
                    self._require_plain(response, url)
                    yield response, url
                    return
                url = urljoin(url, response.headers.get("Location", ""))
            finally:
                response.close()  # whatever is left of it is not read
        raise UpstreamError(f"{url}: expected at most {_MOST_REDIRECTS} redirects, found more")

    def _ask(self, url: str, accept: str) -> Any:
        if origin_of(url) not in self.origins:
            raise UpstreamError(
                f"{url!r:.200}: expected an address at {' or '.join(sorted(self.origins))}, "
                "found another"
            )
        try:
            return self._pool.request(
                "GET",
                url,
                headers={"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "forge"},
                timeout=self.timeout_seconds,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise UpstreamError(f"{url}: {_why(error)}") from error

    def _require_plain(self, response: Any, url: str) -> None:
        if response.status in (404, 410):
            raise NotThereError(f"{url}: answered {response.status}")
        if response.status != 200:
            raise UpstreamError(f"{url}: expected 200, found {response.status}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() != "identity":
            raise UpstreamError(f"{url}: expected plain bytes, found Content-Encoding {encoding}")

    def _whole(self, response: Any, url: str, most: int) -> bytes:
        body = Body(response, url, self.clock, self.clock() + self.timeout_seconds)
        data = bytearray()
        while block := body.read(_BLOCK_BYTES):
            data += block
            if len(data) > most:
                raise UpstreamError(f"{url}: expected at most {most} bytes, found more")
        return bytes(data)


@dataclass(slots=True)
class Body:
    """The bytes of an answer, until ``ends_at`` by ``clock``: the timeout of a socket alone begins
    anew with every byte."""

    response: Any
    url: str
    clock: Callable[[], float]
    ends_at: float

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; b"" at the end. Raises UpstreamError."""
        if self.clock() > self.ends_at:
            raise UpstreamError(f"{self.url}: too slow")
        try:
            data: bytes = self.response.read1(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UpstreamError(f"{self.url}: {_why(error)}") from error
        return data


def _why(error: Exception) -> str:
    """Without the objects that the library shows."""
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # a timeout as well, to them
        return "no connection"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "no answer in time"
    return type(error).__name__
