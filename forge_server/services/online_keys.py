"""The server's own two keys: which of those it holds sign now, and why none can.

The root decides, not the server. Fresh keys lie beside the old ones until a root names them;
from the transaction in which that root arrives they sign, in every process, without a restart.
When the root names keys that are not here, nothing is signed and everybody is told why.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from signing.errors import SigningError
from signing.keys import PrivateKey, load_private_key
from signing.roles import keys_of_root, parse_root

from ..errors import RegistryError

ONLINE_ROLES = ("snapshot", "timestamp")


@dataclass(frozen=True, slots=True)
class OnlineKeys:
    """The only two keys that the server signs with."""

    snapshot: PrivateKey
    timestamp: PrivateKey


@dataclass(slots=True)
class KeyRing:
    """The key files in ``folder``: ``snapshot.pem``, ``timestamp.pem``, and later ones beside
    them as ``<role>-<beginning of the key id>.pem``."""

    folder: Path
    _chosen: tuple[bytes, OnlineKeys] | None = None

    def files(self, role: str) -> dict[Path, PrivateKey]:
        """``{file: key}`` of all that is held for ``role``; empty when there is none.

        Raises:
            OSError: a file cannot be read.
            KeyUnusableError: a file that is not a private key.
        """
        paths = sorted({*self.folder.glob(f"{role}.pem"), *self.folder.glob(f"{role}-*.pem")})
        return {path: load_private_key(path.read_bytes()) for path in paths}

    def choose(self, root: bytes | None) -> OnlineKeys:
        """The keys that ``root`` lists.

        Raises:
            RegistryError: there is no root yet, or it lists others (``read-only``).
        """
        if root is None:
            raise RegistryError("read-only", "no authority has been adopted yet")
        if self._chosen is not None and self._chosen[0] == root:
            return self._chosen[1]
        try:
            keys = OnlineKeys(*(self._listed(root, role) for role in ONLINE_ROLES))
        except SigningError as error:
            raise RegistryError("read-only", f"its online keys: {error.message}") from error
        except OSError as error:
            raise RegistryError("read-only", "its online keys cannot be read") from error
        self._chosen = (root, keys)
        return keys

    def _listed(self, root: bytes, role: str) -> PrivateKey:
        listed = keys_of_root(parse_root(root).signed, role)
        held = list(self.files(role).values())
        for key in held:
            if key.public in listed:
                return key
        raise RegistryError(
            "read-only",
            f"its online keys are not those that the root lists (the server's {role} key: "
            f"expected {', '.join(key.keyid[:12] for key in listed)}, "
            f"found {', '.join(key.public.keyid[:12] for key in held) or 'none'})",
            "the operator brings that key, or the authority names one of these",
        )

    def why_read_only(self, root: bytes | None) -> str | None:
        """Why nothing can be signed under ``root``; None when it can."""
        try:
            self.choose(root)
        except RegistryError as error:
            return error.message
        return None
