"""Which registries this person trusts: URL → fingerprint of the root, and that root's bytes.

pins.toml                 what was compared over another channel
<fingerprint>/            state of the registry with that root, shared by its mirrors
    1.root.json           the pinned root
    metadata/             what TUF's client has seen so far (rollback protection)
    log/                  the last checkpoint of the public log, proofs, evidence of forks
    status/               the last word of the status host, and the snapshot it names
    witnesses.json        the witnesses this person chose, where not the authority's count
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .config import dump_strings, read_strings
from .errors import ForgeError
from .files import write_private

if TYPE_CHECKING:
    from signing.tlog.policy import Witnesses

MAX_ROOT_BYTES: Final = 512_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A trusted registry: ``fingerprint`` is ``sha256:<hex>`` of ``root``."""

    url: str
    fingerprint: str
    root: bytes
    state_dir: Path


class TrustStore:
    """The pins in one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def pins(self) -> dict[str, str]:
        """``{url: fingerprint}``."""
        return read_strings(self._root / "pins.toml")

    def get(self, url: str) -> Pin | None:
        """The pin of ``url``. Raises ForgeError when the kept root is not the pinned one."""
        fingerprint = self.pins().get(url)
        return None if fingerprint is None else self._pin(url, fingerprint)

    def require(self, url: str) -> Pin:
        pin = self.get(url)
        if pin is None:
            raise ForgeError(
                "fingerprint-needed",
                f"{url} is not trusted yet",
                hint=f"forge trust add {url} --fingerprint sha256:…   "
                "(get the fingerprint from the operator, not from the registry)",
            )
        return pin

    def with_fingerprint(self, fingerprint: str) -> Pin | None:
        """Any registry that is trusted under this root."""
        for url, found in self.pins().items():
            if found == fingerprint:
                return self._pin(url, found)
        return None

    def add(self, url: str, fingerprint: str, root: bytes) -> Pin:
        """Pin ``url`` to the root whose fingerprint the caller has compared."""
        self._require_match(url, fingerprint, root)
        pin = Pin(url=url, fingerprint=fingerprint, root=root, state_dir=self._state(fingerprint))
        # The root first: a pin without its root could not be used.
        write_private(pin.state_dir / "1.root.json", root)
        write_private(self._root / "pins.toml", dump_strings(self.pins() | {url: fingerprint}))
        return pin

    def witnesses(self, fingerprint: str) -> Witnesses | None:
        """The witnesses this person chose for the registry with that root; None where the
        authority's choice counts."""
        from signing.encoding import Fields, parse_json
        from signing.tlog.note import COSIGNATURE
        from signing.tlog.policy import Witnesses, parse_keys

        path = self._state(fingerprint) / "witnesses.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        fields = Fields.of(parse_json(data, path.name), path.name)
        fields.only(("witnesses",), optional=("quorum",))
        return Witnesses(
            keys=parse_keys(fields.texts("witnesses"), COSIGNATURE, fields.path("witnesses")),
            quorum=fields.integer("quorum") if "quorum" in fields.value else None,
        )

    def set_witnesses(self, fingerprint: str, witnesses: Witnesses | None) -> None:
        """Keeps the choice; None goes back to the authority's."""
        from signing.encoding import canonical_json

        path = self._state(fingerprint) / "witnesses.json"
        if witnesses is None:
            path.unlink(missing_ok=True)
            return
        value: dict[str, object] = {"witnesses": [key.vkey for key in witnesses.keys]}
        if witnesses.quorum is not None:
            value["quorum"] = witnesses.quorum
        write_private(path, canonical_json(value))

    def remove(self, url: str) -> bool:
        """Forget the pin of ``url``; True when there was one. Rollback state is kept."""
        pins = self.pins()
        if pins.pop(url, None) is None:
            return False
        write_private(self._root / "pins.toml", dump_strings(pins))
        return True

    def _pin(self, url: str, fingerprint: str) -> Pin:
        state = self._state(fingerprint)
        root = (state / "1.root.json").read_bytes()
        self._require_match(url, fingerprint, root)
        return Pin(url=url, fingerprint=fingerprint, root=root, state_dir=state)

    def _state(self, fingerprint: str) -> Path:
        return self._root / fingerprint.removeprefix("sha256:")

    @staticmethod
    def _require_match(url: str, fingerprint: str, root: bytes) -> None:
        from signing.digests import sha256_hex

        found = f"sha256:{sha256_hex(root)}"
        if found != fingerprint:
            error = ForgeError(
                "fingerprint-mismatch",
                f"{url}: the registry's root is not the one you trust\n"
                f"expected {fingerprint}\nfound    {found}",
                hint="somebody may be in between, or this is another registry; "
                "ask its operator before going on",
                expected=fingerprint,
                found=found,
            )
            raise error
