"""Signing keys on this machine: PKCS#8 files of mode 0600 in a folder of mode 0700.

``<name>.pem`` is the private key, encrypted unless its owner insisted otherwise; ``<name>.pub``
is the public one, so that listing keys asks for no passphrase. The private file is the truth:
a public file that does not belong to it is never used to sign or to show who signed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signing.errors import KeyUnusableError, MalformedError
from signing.keys import PrivateKey, PublicKey, generate_key, is_encrypted, load_private_key

from .errors import ForgeError, UsageError
from .files import create_private, read_private

DEFAULT_KEY: Final = "default"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# Asks for a passphrase: the argument says for which key. None means: nobody to ask.
Ask = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key in the store. ``encrypted`` says whether using it needs a passphrase."""

    name: str
    path: Path
    public: PublicKey
    encrypted: bool


class KeyStore:
    """The keys in one folder. An unlocked key is kept, so nobody is asked twice."""

    def __init__(self, root: Path, ask: Ask) -> None:
        self._root = root
        self._ask = ask
        self._unlocked: dict[Path, PrivateKey] = {}

    def create(self, name: str, algorithm: str, passphrase: bytes | None) -> StoredKey:
        """A new key under ``name``.

        Raises:
            ForgeError: ``already-exists``; keys are never overwritten.
        """
        path = self._path(name)
        if path.exists():
            raise ForgeError(
                "already-exists",
                f"key {name!r} exists already: {path}",
                hint="choose another name: forge key new NAME",
            )
        key = generate_key(algorithm)
        self._ensure_folder()
        # The public file first: a crash in between leaves a public key without use, never a
        # private one that nobody can find.
        public = path.with_suffix(".pub")
        with suppress(FileNotFoundError):
            public.unlink()
        create_private(public, key.public.pem, mode=0o644)
        create_private(path, key.to_pem(passphrase))
        self._unlocked[path] = key
        return StoredKey(name=name, path=path, public=key.public, encrypted=passphrase is not None)

    def names(self) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(path.stem for path in self._root.iterdir() if path.suffix == ".pem")
        return []

    def all(self) -> Iterator[StoredKey]:
        """Every key whose public half can be read, by name."""
        for name in self.names():
            with suppress(MalformedError, OSError):
                yield self.show(name)

    def show(self, name: str) -> StoredKey:
        """The key called ``name``, without unlocking it."""
        path = self._path(name)
        try:
            encrypted = is_encrypted(read_private(path))
        except FileNotFoundError:
            raise self._missing(name) from None
        public = path.with_suffix(".pub")
        try:
            pem = public.read_bytes()
        except FileNotFoundError:
            pem = self.load(name).public.pem
        return StoredKey(
            name=name,
            path=path,
            public=PublicKey.from_pem(pem, f"key {name}"),
            encrypted=encrypted,
        )

    def load(self, name: str) -> PrivateKey:
        """The private key, asking for its passphrase when it has one.

        Raises:
            ForgeError: ``key-missing``, or ``key-permissions`` when others could read the file.
            KeyUnusableError: passphrase needed or wrong, or the file is damaged.
        """
        path = self._path(name)
        if not path.exists():
            raise self._missing(name)
        return self.load_file(path, f"key {name}")

    def load_file(self, path: Path, label: str) -> PrivateKey:
        """A private key file anywhere, for instance of the authority."""
        if path in self._unlocked:
            return self._unlocked[path]
        try:
            pem = read_private(path)
        except FileNotFoundError:
            raise ForgeError("key-missing", f"{label}: there is no file {path}") from None
        passphrase = self._ask(label) if is_encrypted(pem) else None
        try:
            key = load_private_key(pem, passphrase)
        except KeyUnusableError as error:
            hint = error.hint
            if error.code == "key-passphrase-needed":
                hint = "run it on a terminal, or pass the passphrase with --passphrase-fd N"
            raise KeyUnusableError(error.code, f"{label}: {error.message}", hint) from None
        self._unlocked[path] = key
        return key

    def problems(self) -> list[str]:
        """What is wrong with the permissions here, one line each; empty when all is well."""
        found = []
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(self._root.stat().st_mode)
            if mode & 0o077:
                found.append(f"{self._root}: expected mode 0700, found {mode:04o}")
            for path in sorted(self._root.glob("*.pem")):
                mode = stat.S_IMODE(path.stat().st_mode)
                if mode & 0o077:
                    found.append(f"{path}: expected mode 0600, found {mode:04o}")
        return found

    def _missing(self, name: str) -> ForgeError:
        names = self.names()
        hint = "keys are: " + ", ".join(names) if names else "make one: forge key new"
        return ForgeError("key-missing", f"no key {name!r} on this machine", hint)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"key name: expected letters, digits, dots and hyphens, found {name!r}"
            )
        return self._root / f"{name}.pem"

    def _ensure_folder(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(self._root.stat().st_mode) & 0o077:
            os.chmod(self._root, 0o700)
