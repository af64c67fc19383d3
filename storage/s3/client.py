"""From settings to an `S3Connection`: where the store is, who we are there, how patient we are."""

from __future__ import annotations

import configparser
import os
import re
import stat
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..checks import check_published_path
from ..errors import BackendError, InvalidArgumentError
from .bucket import Bucket

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_DEFAULT_REGION = "us-east-1"  # what stores without regions expect in signatures


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """How to reach a store. Empty texts leave a matter to the standard AWS environment and
    configuration files.

    ``public_endpoint`` is the store's address as clients know it, where that differs from
    ``endpoint``. ``credentials`` is a file in the form of ``~/.aws/credentials``, for its owner
    alone; its profile ``default`` counts. ``attempts`` counts the first one.
    """

    endpoint: str = ""
    public_endpoint: str = ""
    region: str = ""
    credentials: Path | None = None
    attempts: int = 5
    connect_timeout_seconds: float = 10
    read_timeout_seconds: float = 60


def parse_s3_url(url: str) -> tuple[str, str]:
    """(bucket, prefix) of ``s3://bucket/prefix``; the prefix is empty or ends in ``/``.

    Raises:
        InvalidArgumentError: not such a URL.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket):
        raise InvalidArgumentError(
            "url-malformed", f"object store: expected s3://bucket/prefix, found {ascii(url)[:80]}"
        )
    if prefix:
        check_published_path(prefix)
    return bucket, f"{prefix}/" if prefix else ""


@dataclass(frozen=True, slots=True)
class S3Connection:
    """A store and who we are there; for many threads, not across a fork."""

    _client: Any
    _signer: Any

    def bucket(self, url: str) -> Bucket:
        """The place that ``url`` (``s3://bucket/prefix``) names. Sends nothing yet."""
        name, prefix = parse_s3_url(url)
        return Bucket(self._client, name, prefix, signer=self._signer)


def connect(options: S3Options) -> S3Connection:
    """How to reach the store. Sends nothing yet.

    Raises:
        InvalidArgumentError: an endpoint that is none.
        BackendError: boto3 is not installed, or the file with the credentials is not usable.
    """
    session = _session(options)
    client = _client(session, options, options.endpoint)
    public = options.public_endpoint
    return S3Connection(client, _client(session, options, public) if public else client)


def _session(options: S3Options) -> Any:
    try:
        import botocore.session
    except ImportError:
        raise BackendError(
            "could not open the object store: boto3 is not installed",
            False,
            hint="pip install 'national-software-forge[s3]'",
        ) from None
    session = botocore.session.get_session()
    session.register_component("data_loader", _models(session.get_config_variable("data_path")))
    if options.region:
        session.set_config_variable("region", options.region)
    if options.credentials is not None:
        session.set_credentials(*_read_credentials(options.credentials))
    return session


@cache
def _models(search_path: str | None) -> Any:
    """What the library knows of S3 and of the places where Amazon offers it: two files of a
    megabyte each, whose reading is nine tenths of the making of a client. Each client reads them
    again, unless it is given a loader that has them."""
    from botocore.loaders import create_loader

    return create_loader(search_path)


def _client(session: Any, options: S3Options, endpoint: str) -> Any:
    from botocore.config import Config

    config = Config(
        signature_version="s3v4",
        connect_timeout=options.connect_timeout_seconds,
        read_timeout=options.read_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": options.attempts},
        max_pool_connections=64,  # as many as the server has threads
        # The sha256 of each body is part of its signature, so that the store refuses what was
        # altered on the way. The newer trailing checksums are refused by older stores.
        s3={"addressing_style": "path", "payload_signing_enabled": True},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return session.create_client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=session.get_config_variable("region") or _DEFAULT_REGION,
            config=config,
        )
    except ValueError:
        raise InvalidArgumentError(
            "url-malformed", f"object store: expected an http(s) URL, found {ascii(endpoint)[:80]}"
        ) from None


def _read_credentials(path: Path) -> tuple[str, str, str | None]:
    """The two keys, and the session token where there is one. No message repeats any of them."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise _unusable(path, f"{reason or 'unreadable'}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise _unusable(path, "others can read it", f"chmod 600 {os.fspath(path)}")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        section = parser["default"]
        return (
            section["aws_access_key_id"],
            section["aws_secret_access_key"],
            section.get("aws_session_token"),
        )
    except (configparser.Error, KeyError):
        raise _unusable(
            path, "expected [default] with aws_access_key_id and aws_secret_access_key"
        ) from None


def _unusable(path: Path, reason: str, hint: str | None = None) -> BackendError:
    return BackendError(
        f"could not read the credentials in {path}: {reason}",
        False,
        code="storage-permission",
        hint=hint,
    )
