"""Posting to addresses that others chose, without becoming their way into our network.

What a host's name means is looked up once for each try, and the connection goes to the very address
that was judged: a name that means another one a moment later (DNS rebinding) gains nothing.
Addresses that are not of the public internet are asked only where ``webhook_networks`` names their
network. Redirects are not followed, no proxy of the environment is used, and a receiver has so many
seconds for everything together, however slowly it, or who says what its name means, answers.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

from ..domain.hooks import host_of
from ..errors import RegistryError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[tuple[Any, ...]]]

SECONDS: Final = 10.0
MAX_ANSWER: Final = 1024
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")  # NAT64, RFC 6052 §2.1
_UNICAST: Final = ipaddress.ip_network("2000::/3")  # all that is given out of IPv6, RFC 4291 §2.4
_METADATA: Final = ipaddress.ip_address("168.63.129.16")  # of one cloud's machines, and not global


class NotPostedError(Exception):
    """There is no answer; the text says why, for who registered the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver said. ``text`` is the begin of the body, with all that is not text replaced;
    ``retry_after`` is the header."""

    status: int
    text: str
    retry_after: str | None


@dataclass(frozen=True, slots=True)
class Networks:
    """Which addresses may be asked: those of the public internet, and ``extra``."""

    extra: tuple[Network, ...] = ()

    def allow(self, address: Address) -> bool:
        """Whether the address may be asked. One that stands for another (IPv4 in IPv6, a
        translator's, a tunnel's) is judged as both."""
        inner = _inner(address)
        if inner is not None:
            return self.allow(inner)
        if any(address in network for network in self.extra if network.version == address.version):
            return True
        if address.is_multicast or address.is_reserved or address == _METADATA:
            return False
        return address.is_global and (address.version == 4 or address in _UNICAST)

    def require_host(self, url: str) -> None:
        """Raises RegistryError (``webhook-refused``) where ``url`` names an address that is not
        asked. What a name means is looked at when it is asked."""
        address = literal(urlsplit(url).hostname or "")
        if address is not None and not self.allow(address):
            raise RegistryError(
                "webhook-refused",
                f"{host_of(url)}: {address} is not an address of the public internet",
                "where receivers are in a network of your own, the registry's operator names it: "
                "webhook_networks",
            )


def literal(host: str) -> Address | None:
    """The address that ``host`` is; None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def resolve(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    """What the machine's resolver knows of ``host``, as `socket.getaddrinfo` says it."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


@dataclass(frozen=True, slots=True)
class Poster:
    """Posts to what ``networks`` allow, within ``seconds`` for everything."""

    networks: Networks
    seconds: float = SECONDS
    resolve: Resolve = resolve

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What the receiver answered.

        Raises:
            NotPostedError: it was not asked, or did not answer in time or not in HTTP.
        """
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host = parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        end = monotonic() + self.seconds
        raw = self._connect(host, port, end)
        # A copy of the socket, because TLS takes the first one away; ending it ends both, and so
        # whatever waits for a receiver that sends a byte now and then.
        guard = raw.dup()
        over = threading.Event()
        timer = threading.Timer(max(end - monotonic(), 0), _end, [guard, over])
        timer.daemon = True
        timer.start()
        try:
            connection = http.client.HTTPConnection(host, port)
            connection.default_port = 443 if secure else 80  # not repeated in the Host header
            connection.sock = _secured(raw, host) if secure else raw
            try:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("POST", path, body, {**headers, "Connection": "close"})
                response = connection.getresponse()
                text = response.read(MAX_ANSWER)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotPostedError(self._too_late if over.is_set() else _words(error)) from None
        finally:
            timer.cancel()
            guard.close()
            raw.close()
        if over.is_set():  # what was cut off looks like an answer that ended
            raise NotPostedError(self._too_late)
        return Answer(
            status=response.status,
            # PostgreSQL keeps no NUL in a text.
            text=text.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}"),
            retry_after=response.getheader("Retry-After"),
        )

    @property
    def _too_late(self) -> str:
        return f"no answer within {self.seconds:g} seconds"

    def _connect(self, host: str, port: int, end: float) -> socket.socket:
        found = self._resolved(host, port, end)
        allowed = [each for each in found if self.networks.allow(ipaddress.ip_address(each[4][0]))]
        if not allowed:
            # Not which: that is for those who may see our network.
            raise NotPostedError(
                f"{host} is not an address of the public internet, and of no network in "
                "webhook_networks"
            )
        problem = ""
        for family, kind, protocol, _, address in allowed[:4]:
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(max(end - monotonic(), 0.001))
                made.connect(address)
            except OSError as error:
                made.close()
                problem = _words(error)
            else:
                return made
        raise NotPostedError(f"no connection to {host}: {problem}")

    def _resolved(self, host: str, port: int, end: float) -> Sequence[tuple[Any, ...]]:
        """What the name means. The resolver knows no limit of ours, and its answer is up to who
        owns the name: it is asked in a thread that is left behind where that takes too long."""
        answers: SimpleQueue[Sequence[tuple[Any, ...]]] = SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self.resolve(host, port))
            except (OSError, UnicodeError):
                answers.put(())

        threading.Thread(target=ask, name="webhook name", daemon=True).start()
        try:
            found = answers.get(timeout=max(end - monotonic(), 0.001))
        except Empty:
            raise NotPostedError(self._too_late) from None
        if not found:
            raise NotPostedError(f"the name {host} is not known")
        return found


def _secured(raw: socket.socket, host: str) -> ssl.SSLSocket:
    return ssl.create_default_context().wrap_socket(raw, server_hostname=host)


def _end(guard: socket.socket, over: threading.Event) -> None:
    over.set()
    try:
        guard.shutdown(socket.SHUT_RDWR)
    except OSError:  # it had ended
        return


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {error.verify_message}"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it ended the connection without an answer"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"its answer is not HTTP: {type(error).__name__}"
