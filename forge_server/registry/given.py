"""What every registry is given when it is opened, and how it makes the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar, cast, overload

from storage import BlobAssembly, BlobStore, PublishedTree

from ..db.engine import Database
from ..services.clock import Clock
from ..services.log import TransparencyLog
from ..services.log_files import History
from ..services.log_keys import LogKeys
from ..services.online_keys import KeyRing
from ..settings import DataFolder, Settings

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Given:
    """The places and keys of a registry, and its clock."""

    folder: DataFolder
    settings: Settings
    fingerprint: str | None  # None until an authority is adopted
    database: Database
    tree: PublishedTree
    blobs: BlobStore
    assembly: BlobAssembly  # ends in `blobs`
    keys: KeyRing
    log_keys: LogKeys
    history: History
    log: TransparencyLog
    clock: Clock
    making: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)


class made_once(Generic[T]):  # a decorator, as `functools.cached_property` is
    """A method that makes a service of a `Given`, which has one of it, as an attribute."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, registry: None, owner: type) -> Self: ...
    @overload
    def __get__(self, registry: Given, owner: type) -> T: ...
    def __get__(self, registry: Given | None, owner: type) -> T | Self:
        if registry is None:
            return self
        # There must be one of each: some hold what their callers wait in turn for. It is found
        # where attributes are looked for first, so this is not asked again.
        with registry.making:
            if self._name not in registry.__dict__:
                registry.__dict__[self._name] = self._make(registry)
        return cast(T, registry.__dict__[self._name])
