"""The keys that sign the log's checkpoints: all that are held.

A fresh key lies beside the old one from when it is made. Checkpoints bear the signature of each,
so that whoever trusts the one or the other finds what it needs while the authority changes over;
unknown signatures are ignored by everybody (c2sp.org/signed-note).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from signing.errors import MalformedError
from signing.keys import PrivateKey, load_private_key
from signing.tlog.checkpoint import Checkpoint, log_key, sign_checkpoint
from signing.tlog.note import Note, NoteKey, merge_signatures

from ..errors import RegistryError


@dataclass(slots=True)
class LogKeys:
    """The log's name and keys in ``folder``: ``log.vkey`` says the name, ``log.pem`` and later
    ``log-<beginning of the key id>.pem`` are the keys. Whoever changed the name would begin another
    log."""

    folder: Path
    _held: dict[Path, PrivateKey] | None = None

    @property
    def origin(self) -> str:
        """The log's name.

        Raises:
            RegistryError: there is none to be read (``read-only``).
        """
        try:
            text = (self.folder / "log.vkey").read_text("utf-8").strip()
            return NoteKey.parse(text, "log.vkey").name
        except (OSError, UnicodeDecodeError, MalformedError) as error:
            raise self._missing(error) from error

    def held(self) -> list[PrivateKey]:
        """Every key, the first one first."""
        return list(self.files().values())

    def files(self) -> dict[Path, PrivateKey]:
        """``{file: key}``, the first one first; what was added a moment ago is among them.

        Raises:
            RegistryError: none can be read (``read-only``).
            KeyUnusableError: a file that is not a private key.
        """
        try:
            paths = [self.folder / "log.pem", *sorted(self.folder.glob("log-*.pem"))]
            if self._held is None or list(self._held) != paths:
                self._held = {path: load_private_key(path.read_bytes()) for path in paths}
        except OSError as error:
            raise self._missing(error) from error
        return self._held

    def verifiers(self) -> list[NoteKey]:
        """The public sides."""
        origin = self.origin
        return [log_key(origin, key) for key in self.held()]

    def sign(self, checkpoint: Checkpoint) -> Note:
        """The checkpoint with the signature of every key."""
        first, *others = [sign_checkpoint(checkpoint, key) for key in self.held()]
        return merge_signatures(first, [line for note in others for line in note.signatures])

    def _missing(self, error: Exception) -> RegistryError:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return RegistryError(
            "read-only", f"expected the log's key in log.pem and log.vkey, found {reason}"
        )
