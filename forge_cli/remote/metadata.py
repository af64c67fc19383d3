"""Files of signed metadata as they come over the wire: read up to their signed length, and what
goes wrong with them told in our own words.

Nothing here is trusted for having been fetched: `trust` verifies it, or its digest was signed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tuf.api import exceptions as tuf_errors
from tuf.ngclient.fetcher import FetcherInterface
from urllib3.response import BaseHTTPResponse

from signing.errors import VerificationError
from signing.roles import MAX_SNAPSHOT_BYTES

from ..errors import ForgeError, NetworkError, NotThereError
from ..output import clean
from .http import BLOCK_BYTES, GZIP, Http, body_of, read_limited


class Fetcher(FetcherInterface):
    """TUF's downloads through our HTTP client, so that they are counted, proxied and retried."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def download_bytes(self, url: str, max_length: int) -> bytes:
        # Where a length is signed TUF's client asks for as much, whatever it is configured to read;
        # and that of the snapshot is signed by a key that the server holds.
        return super().download_bytes(url, min(max_length, MAX_SNAPSHOT_BYTES))

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._blocks(url)

    def _blocks(self, url: str) -> Iterator[bytes]:
        with self._http.open("GET", url, headers=GZIP) as response:
            if response.status >= 400:
                raise tuf_errors.DownloadHTTPError(f"{url}: {response.status}", response.status)
            body = body_of(response, url)
            while block := body.read(min(BLOCK_BYTES, 1 << 16)):
                yield block


def fetch_target(http: Http, url: str, path: str, digest: str, size: int) -> bytes:
    """A small target file (manifest or bundle), read up to its signed size and hashed."""
    from signing.digests import sha256_hex

    folder, _, name = path.rpartition("/")
    address = f"{url}/tuf/targets/{folder}/{digest}.{name}"
    with http.open("GET", address, headers=GZIP) as response:
        if response.status >= 400:
            raise not_served(address, response.status)
        data = read_limited(body_of(response, address), size)
    if len(data) != size:
        found = f"more than {size}" if len(data) > size else str(len(data))
        raise VerificationError("length-mismatch", path, f"{size} bytes", f"{found} bytes")
    if (found := sha256_hex(data)) != digest:
        raise VerificationError("digest-mismatch", path, f"sha256 {digest}", found)
    return data


def not_served(address: str, status: int, response: BaseHTTPResponse | None = None) -> ForgeError:
    """A signed file that the registry does not hand out; ``response`` may say why."""
    if status == 451 and response is not None:
        return _withheld(address, response)
    if status in (403, 451):
        return ForgeError("blocked", f"{address}: the registry withholds it ({status})")
    kind = NotThereError if status in (404, 410) else NetworkError
    return kind(
        f"{address}: the registry answered {status} for a file that its metadata promises",
        hint="try again in a moment, or another mirror",
    )


def _withheld(address: str, response: BaseHTTPResponse) -> ForgeError:
    from .api import problem

    said = problem(response, logged_in=False)
    code = said.code if said.code in ("withheld", "taken-down") else "withheld"
    facts = {key: value for key, value in said.facts.items() if isinstance(value, str)}
    message = f"{address}: the registry does not hand it out: {clean(said.message)}"
    return ForgeError(code, message, None if said.hint is None else clean(said.hint), **facts)


@contextmanager
def tuf_said(what: str) -> Iterator[None]:
    """TUF's exceptions as ours. The order matters: some are subclasses of others."""
    try:
        yield
    except tuf_errors.DownloadLengthMismatchError as error:
        raise VerificationError(
            "length-mismatch",
            what,
            f"no more bytes than were signed, and at most {MAX_SNAPSHOT_BYTES}",
            error,
        ) from error
    except tuf_errors.DownloadHTTPError as error:
        raise not_served(what, error.status_code) from error
    except tuf_errors.DownloadError as error:
        cause = error.__cause__
        raise cause if isinstance(cause, NetworkError) else NetworkError(str(error)) from error
    except tuf_errors.ExpiredMetadataError as error:
        raise VerificationError(
            "expired",
            what,
            "metadata that has not expired",
            error,
            "the registry or a mirror may be frozen, or the clock here is wrong: forge doctor",
        ) from error
    except tuf_errors.BadVersionNumberError as error:
        raise VerificationError(
            "rollback",
            what,
            "a version no older than the one seen before",
            error,
            "the registry or a mirror offers an old state: do not use it, tell its operator",
        ) from error
    except tuf_errors.UnsignedMetadataError as error:
        raise VerificationError(
            "threshold-not-met", what, "enough signatures by the listed keys", error
        ) from error
    except tuf_errors.LengthOrHashMismatchError as error:
        raise VerificationError("digest-mismatch", what, "the signed bytes", error) from error
    except tuf_errors.RepositoryError as error:
        raise VerificationError("chain-broken", what, "valid TUF metadata", error) from error
