"""What there is to choose from: the registry's signed indexes, or where nobody is to be asked, what
was verified on this machine before.

The cache is a convenience and no authority: what is chosen from it is proven again like anything
else (`proof.Prover`), so whoever writes into it may hide a release or a yank, and forge none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from signing.errors import SigningError
from signing.manifest import parse_manifest
from signing.names import ComponentName
from signing.roles import IndexEntry, releases_of, role_version
from signing.status import Withheld

from ..context import Context
from ..errors import NetworkError
from .withheld import known_status

if TYPE_CHECKING:
    from ..remote.trust import View

ONLY_KEPT: Final = "nobody is asked (offline), so only what was verified on this machine is known"
_ASK_ONCE: Final = "ask once where there is a network; what is verified then stays known here"


class Choices(Protocol):
    """An index of releases."""

    def releases(self, name: ComponentName) -> Mapping[str, IndexEntry] | None:
        """``{version: entry}``; None when nobody knows the component."""
        ...

    def withheld(self, entry: IndexEntry) -> Withheld | None: ...

    def hint(self, name: ComponentName) -> str | None:
        """What to tell somebody who found nothing under ``name``."""
        ...


@dataclass(frozen=True, slots=True)
class Signed:
    """What the registry has now."""

    view: View

    def releases(self, name: ComponentName) -> Mapping[str, IndexEntry] | None:
        state = self.view.component(name)
        return None if state is None or state.delegation is None else state.releases

    def withheld(self, entry: IndexEntry) -> Withheld | None:
        return self.view.withheld(entry)

    def hint(self, name: ComponentName) -> str | None:
        return self.view.near(name)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was verified under the pinned root on this machine, as of the newest index of each
    component that came with it."""

    context: Context

    def releases(self, name: ComponentName) -> Mapping[str, IndexEntry] | None:
        """Raises NetworkError: nothing of the component was verified here."""
        kept = list(self._kept(name))
        if not kept:
            raise NetworkError(
                f"{name}: nothing of it was verified on this machine, and nobody is asked "
                "(offline)",
                hint=_ASK_ONCE,
            )
        index = releases_of(max((role for _, role in kept), key=role_version), name)
        digests = {digest for digest, _ in kept}
        return {
            version: entry for version, entry in index.items() if entry.manifest_sha256 in digests
        }

    def withheld(self, entry: IndexEntry) -> Withheld | None:
        status = known_status(self.context, self.context.pin)
        return None if status is None else status.find(entry.manifest_sha256)

    def hint(self, name: ComponentName) -> str | None:
        return f"{ONLY_KEPT}; {_ASK_ONCE}"

    def _kept(self, name: ComponentName) -> Iterator[tuple[str, bytes]]:
        """The digest of each kept manifest with the component's index that came with it."""
        wanted = (str(name), self.context.pin.fingerprint)
        for data in self.context.cache.all_evidence():
            # Somebody's bytes: what is spoilt is not there.
            with suppress(ValueError, KeyError, TypeError, AttributeError, SigningError):
                value = json.loads(data)
                if (value["component"], value["fingerprint"]) != wanted:
                    continue
                evidence = json.loads(value["evidence"])
                role = str(evidence["project"]).encode()
                releases_of(role, name)
                yield parse_manifest(str(evidence["manifest"]).encode()).digest, role


def choices(context: Context) -> Choices:
    """What a command may choose from."""
    return Remembered(context) if context.offline else Signed(context.view)
