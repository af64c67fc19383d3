"""Parts on the way straight to the registry's object store, past the registry.

The registry gives addresses that take one part each and nothing else: they are signed over its size
and digest, for a quarter of an hour. They need no other right, so the access token stays here.
Whatever goes wrong on this way, the part then goes through the registry; when the way was wrong
twice in a row it is not taken any more. What the store holds is believed by nobody: the registry
hashes the whole before it counts.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import ForgeError, NetworkError
from ..recipes import Segment
from .api import Api, member
from .http import check_redirect
from .sending import Body, Sender

_BATCH: Final = 16
_IN_A_ROW: Final = 2
_ATTEMPTS: Final = 3
# What a store may want signed. Nothing else that a registry says goes to another host.
_HEADER: Final = re.compile(r"(?i)x-amz-[a-z0-9-]{1,60}|content-(type|md5)")
_VALUE: Final = re.compile(r"[\x21-\x7e]{0,500}")


@dataclass(slots=True)
class DirectWay:
    """Whether this command sends parts to the store itself; ``closed`` says why it does not."""

    open: bool = False
    closed: str | None = None
    _failures: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def worked(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self, error: Exception) -> None:
        with self._lock:
            self._failures += 1
        if self._failures >= _IN_A_ROW:
            self.close(str(error))

    def close(self, reason: str) -> None:
        with self._lock:
            if self.open:
                self.open, self.closed = False, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    url: str
    headers: Mapping[str, str]
    good_until: float


@dataclass(slots=True, kw_only=True)
class DirectParts:
    """The parts ``todo`` of one upload. For several threads.

    ``sha256`` gives the digest of a segment, once for each: addresses are asked for in batches,
    ahead of their parts.
    """

    api: Api
    component: str
    upload: str
    todo: Sequence[tuple[int, Segment]]
    sha256: Callable[[Segment], bytes]
    sender: Sender
    way: DirectWay
    sent: int = 0
    monotonic: Callable[[], float] = time.monotonic
    _digests: dict[int, bytes] = field(default_factory=dict)
    _addresses: dict[int, _Address] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def digest(self, number: int, segment: Segment) -> bytes:
        """The sha256 of part ``number``."""
        found = self._digests.get(number)
        if found is None:
            found = self._digests[number] = self.sha256(segment)
        return found

    def send(self, number: int, body: Body) -> bool:
        """Whether the store has taken part ``number``; False: it goes through the registry.

        Raises:
            RemoteError, NetworkError: the registry refuses, or cannot be reached.
        """
        if not self.way.open:
            return False
        address = self._address(number)
        if address is None:
            return False
        try:
            check_redirect(self.api.url, address.url, "PUT")
            self.sender.put_elsewhere(address.url, address.headers, body, attempts=_ATTEMPTS)
        except NetworkError as error:
            if error.code == "window-closed":
                raise
            self._addresses.pop(number, None)
            self.way.failed(error)
            return False
        self.way.worked()
        with self._lock:
            self.sent += 1
        return True

    def _address(self, number: int) -> _Address | None:
        with self._lock:
            known = self._addresses.get(number)
            if known is None or known.good_until < self.monotonic():
                self._ask(number)
            return self._addresses.get(number)

    def _ask(self, number: int) -> None:
        """Addresses for this part and those behind it."""
        at = next(at for at, (each, _) in enumerate(self.todo) if each == number)
        batch = self.todo[at : at + _BATCH]
        rows = [[each, part.length, self.digest(each, part).hex()] for each, part in batch]
        asked_at = self.monotonic()
        answer = self.api.post(
            "uploads", self.upload, "addresses", body={"component": self.component, "parts": rows}
        )
        given = member(answer, "addresses", list)
        if not given:
            self.way.close("the registry gives no addresses for it")
        # Half of the time, so that what is taken up has enough left to begin with.
        good_until = asked_at + member(answer, "seconds", int) / 2
        for item in given:
            headers = _checked(member(item, "headers", dict))
            self._addresses[member(item, "number", int)] = _Address(
                url=member(item, "url"), headers=headers, good_until=good_until
            )


def _checked(headers: Mapping[str, Any]) -> dict[str, str]:
    """Those that may go along. The length is that of the body, whatever was said."""
    wanted = {name: value for name, value in headers.items() if name.lower() != "content-length"}
    for name, value in wanted.items():
        if not _HEADER.fullmatch(name) or not (isinstance(value, str) and _VALUE.fullmatch(value)):
            raise ForgeError(
                "registry-malformed",
                f"the registry's answer: headers: expected those of an object store, found "
                f"{name!r:.80}",
                hint="the registry may be newer or older than this client",
            )
    return wanted
