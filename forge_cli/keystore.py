"""Signing keys on this machine: PKCS#8 files of mode 0600 in a folder of mode 0700.

``<name>.pem`` is the private key, encrypted unless its owner insisted otherwise; ``<name>.pub``
is the public one, so that listing keys asks for no passphrase. The private file is the truth:
a public file that does not belong to it is never used to sign or to show who signed.

Where the private key is elsewhere, ``<name>.ref`` stands for it: one line, a ``pkcs11:`` URI or
an ``exec:`` command. What it signs is checked against the public file before it is used.
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
from signing.keys import (
    PrivateKey,
    PublicKey,
    SigningKey,
    generate_key,
    is_encrypted,
    load_private_key,
)

from .errors import ForgeError, UsageError
from .files import create_private, read_private
from .signers import is_external, open_external, scheme_of

DEFAULT_KEY: Final = "default"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# Asks for a passphrase: the argument says for which key. None means: nobody to ask.
Ask = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key in the store. ``encrypted`` says whether using it needs a passphrase.

    ``reference`` is where the private half is when it is not in a file; ``name`` may be such a
    reference or a path itself, for a key that the store does not hold.
    """

    name: str
    path: Path
    public: PublicKey
    encrypted: bool
    reference: str | None = None

    @property
    def guarded_by(self) -> str:
        """``passphrase``, ``token``, ``command``, or ``no passphrase``."""
        if self.reference is not None:
            return {"pkcs11": "token", "exec": "command"}[scheme_of(self.reference)]
        return "passphrase" if self.encrypted else "no passphrase"


class KeyStore:
    """The keys in one folder. An unlocked key is kept, so nobody is asked twice."""

    def __init__(self, root: Path, ask: Ask) -> None:
        self._root = root
        self._ask = ask
        self._unlocked: dict[Path, PrivateKey] = {}
        self._external: dict[str, SigningKey] = {}

    def create(self, name: str, algorithm: str, passphrase: bytes | None) -> StoredKey:
        """A new key under ``name``.

        Raises:
            ForgeError: ``already-exists``; keys are never overwritten.
        """
        path = self.require_free(name)
        key = generate_key(algorithm)
        self._write_public(path, key.public)
        create_private(path, key.to_pem(passphrase))
        self._unlocked[path] = key
        return StoredKey(name=name, path=path, public=key.public, encrypted=passphrase is not None)

    def add(self, name: str, reference: str, public: PublicKey) -> StoredKey:
        """Remembers under ``name`` a key whose private half is elsewhere.

        Raises:
            ForgeError: ``already-exists``.
        """
        path = self.require_free(name)
        self._write_public(path, public)
        create_private(path.with_suffix(".ref"), f"{reference}\n".encode())
        return self.show(name)

    def require_free(self, name: str) -> Path:
        """Where a new key called ``name`` goes. Raises ForgeError (``already-exists``)."""
        path = self._path(name)
        for taken in (path, path.with_suffix(".ref")):
            if taken.exists():
                raise ForgeError(
                    "already-exists",
                    f"key {name!r} exists already: {taken}",
                    hint="choose another name: forge key new NAME",
                )
        return path

    def _write_public(self, path: Path, key: PublicKey) -> None:
        # The public file first: a crash in between leaves a public key without use, never a
        # private one that nobody can find.
        self._ensure_folder()
        public = path.with_suffix(".pub")
        with suppress(FileNotFoundError):
            public.unlink()
        create_private(public, key.pem, mode=0o644)

    def names(self) -> list[str]:
        with suppress(FileNotFoundError):
            # Not `stem` and `suffix` alone: a name may hold dots.
            return sorted(
                path.name.removesuffix(path.suffix)
                for path in self._root.iterdir()
                if path.suffix in (".pem", ".ref")
            )
        return []

    def all(self) -> Iterator[StoredKey]:
        """Every key whose public half can be read, by name."""
        for name in self.names():
            with suppress(MalformedError, OSError):
                yield self.show(name)

    def show(self, name: str) -> StoredKey:
        """The key called ``name``, without unlocking it where that can be helped."""
        if is_external(name):
            public = self._open(name, None).public
            return StoredKey(name=name, path=Path(), public=public, encrypted=False, reference=name)
        if _is_path(name):
            key = self.load(name)
            return StoredKey(name=name, path=Path(name), public=key.public, encrypted=False)
        path = self._path(name)
        if (reference := self._reference(path)) is not None:
            return StoredKey(
                name=name,
                path=path.with_suffix(".ref"),
                public=self._public_of(path, name),
                encrypted=False,
                reference=reference,
            )
        try:
            encrypted = is_encrypted(read_private(path))
        except FileNotFoundError:
            raise self._missing(name) from None
        try:
            public = self._public_of(path, name)
        except FileNotFoundError:
            public = self.load(name).public
        return StoredKey(name=name, path=path, public=public, encrypted=encrypted)

    def load(self, name: str) -> SigningKey:
        """The key called ``name``, asking for its passphrase when it has one.

        ``name`` may be a ``pkcs11:`` or ``exec:`` reference, or a path: anything with a slash or
        ending in ``.pem``.

        Raises:
            ForgeError: ``key-missing``, or ``key-permissions`` when others could read the file.
            KeyUnusableError: passphrase needed or wrong, or the file is damaged.
        """
        if is_external(name):
            return self._open(name, None)
        if _is_path(name):
            return self.load_file(Path(name), f"key {Path(name).name}")
        path = self._path(name)
        if (reference := self._reference(path)) is not None:
            return self._open(reference, self._public_of(path, name))
        if not path.exists():
            raise self._missing(name)
        return self.load_file(path, f"key {name}")

    def _open(self, reference: str, public: PublicKey | None) -> SigningKey:
        if reference not in self._external:
            self._external[reference] = open_external(reference, public, self._ask)
        return self._external[reference]

    def _reference(self, path: Path) -> str | None:
        try:
            # Private, because whoever could change it could choose what is run or asked.
            return read_private(path.with_suffix(".ref")).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return None

    def _public_of(self, path: Path, name: str) -> PublicKey:
        return PublicKey.from_pem(path.with_suffix(".pub").read_bytes(), f"key {name}")

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
            for path in sorted([*self._root.glob("*.pem"), *self._root.glob("*.ref")]):
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


def _is_path(name: str) -> bool:
    return os.sep in name or name.endswith(".pem")
