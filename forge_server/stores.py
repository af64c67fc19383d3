"""Where the registry keeps blobs and published files: folders, or places in an object store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from signing.left_out import bring_back
from storage import (
    BlobAssembly,
    BlobStore,
    InvalidArgumentError,
    LocalAssembly,
    LocalBlobStore,
    LocalPublishedTree,
    PublishedTree,
)

from .errors import RegistryError
from .settings import DataFolder, Settings

if TYPE_CHECKING:
    from storage.s3 import S3Connection

_S3 = "s3://"
# Who asks whether we are ready waits for three to five seconds; two stores and a database do it.
_HURRIED: Final[Mapping[str, Any]] = {
    "attempts": 1, "connect_timeout_seconds": 1, "read_timeout_seconds": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """``assembly`` ends in ``blobs``."""

    blobs: BlobStore
    assembly: BlobAssembly
    tree: PublishedTree


def open_stores(folder: DataFolder, settings: Settings, *, hurried: bool = False) -> Stores:
    """The stores that ``settings`` name; by default two folders in ``folder``. Sends nothing.

    ``hurried`` is for who asks whether a store answers at all: an object store is asked once then,
    and has a second for it. Files are moved through patient ones.

    Raises:
        RegistryError: an ``s3://`` URL, endpoint or full path that is none
            (``settings-malformed``).
        BackendError: the credentials cannot be read.
    """
    connection = None
    if settings.blobs.startswith(_S3) or settings.public.startswith(_S3):
        connection = _connect(folder, settings, hurried)
    blobs, assembly = _open_blobs(folder, settings.blobs, connection)
    tree = _open_tree(folder, settings.public, connection, 1 if hurried else None)
    return Stores(blobs=blobs, assembly=assembly, tree=tree)


def require_usable(folder: DataFolder, settings: Settings, *, empty: bool = False) -> None:
    """Establishes that an object store that is to hold the published files answers and keeps
    conditions; with ``empty``, also that no registry has published there.

    Raises:
        RegistryError: one has (``folder-not-empty``).
        BackendError: the store fails, or ignores conditions.
    """
    if not settings.public.startswith(_S3):
        return
    from storage.s3 import S3PublishedTree

    tree = open_stores(folder, settings).tree
    assert isinstance(tree, S3PublishedTree)
    tree.require_conditions()
    if empty and (tree.exists("1.root.json") or tree.exists("timestamp.json")):
        raise RegistryError(
            "folder-not-empty",
            f"{settings.public}: expected an empty place, found the published files of a registry",
            "choose another bucket or prefix; what is published is never overwritten",
        )


def _open_blobs(
    folder: DataFolder, place: str, connection: S3Connection | None
) -> tuple[BlobStore, BlobAssembly]:
    if connection is None or not place.startswith(_S3):
        local = LocalBlobStore(folder.root / place if place else folder.blobs)
        return local, LocalAssembly(local)
    from storage.s3 import S3Assembly, S3BlobStore

    with _settings_named(folder, "blobs"):
        bucket = connection.bucket(place)
    store = S3BlobStore(bucket)
    return store, S3Assembly(store, bucket)


def _open_tree(
    folder: DataFolder, place: str, connection: S3Connection | None, attempts: int | None
) -> PublishedTree:
    if connection is None or not place.startswith(_S3):
        return LocalPublishedTree(folder.root / place if place else folder.public)
    from storage.s3 import S3PublishedTree

    with _settings_named(folder, "public"):
        bucket = connection.bucket(place)
        return S3PublishedTree(bucket, **({} if attempts is None else {"attempts": attempts}))


def _connect(folder: DataFolder, settings: Settings, hurried: bool) -> S3Connection:
    bring_back("boto3", "botocore")
    from storage.s3 import S3Options, connect

    credentials = Path(settings.s3_credentials) if settings.s3_credentials else None
    if credentials is not None and not credentials.is_absolute():
        raise _malformed(folder, f"s3_credentials: expected a full path, found {credentials}")
    with _settings_named(folder, "s3_endpoint"):
        return connect(
            S3Options(
                endpoint=settings.s3_endpoint,
                public_endpoint=settings.s3_public_endpoint,
                region=settings.s3_region,
                credentials=credentials,
                **(_HURRIED if hurried else {}),
            )
        )


@contextmanager
def _settings_named(folder: DataFolder, key: str) -> Iterator[None]:
    """Names the file and the key of a setting that the object store does not understand."""
    try:
        yield
    except InvalidArgumentError as error:
        raise _malformed(folder, f"{key}: {error.message}") from None


def _malformed(folder: DataFolder, what: str) -> RegistryError:
    return RegistryError(
        "settings-malformed", f"{os.fspath(folder.settings)}: {what}", "correct the file"
    )
