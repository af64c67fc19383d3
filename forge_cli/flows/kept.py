"""What there is to choose from: the registry's signed indexes, or where nobody is to be asked, what
was verified on this machine before.

The cache is a convenience and no authority: what is chosen from it is proven again like anything
else (`proof.Prover`), so whoever writes into it may hide a release or a yank, and forge none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from signing.errors import SigningError, WithheldError
from signing.evidence import Evidence
from signing.manifest import parse_manifest
from signing.names import ComponentName
from signing.roles import IndexEntry, delegations_of, releases_of, role_version
from signing.status import Withheld
from signing.verify import verify_release

from ..context import Context
from ..errors import NetworkError
from ..remote.trust import ComponentState, View
from .withheld import known_status

ONLY_KEPT: Final = "nobody is asked (offline), so only what was verified on this machine is known"
_ASK_ONCE: Final = "ask once where there is a network; what is verified then stays known here"


class Choices(Protocol):
    """An index of releases."""

    def releases(self, name: ComponentName) -> Mapping[str, IndexEntry] | None:
        """``{version: entry}``; None when nobody knows the component."""
        ...

    def require(self, name: ComponentName) -> ComponentState:
        """What is signed about a component that somebody knows.

        Raises:
            ForgeError: ``not-found``, or offline ``network``.
        """
        ...

    def evidence(
        self, name: ComponentName, entry: IndexEntry, *, reviews: bool = False
    ) -> Evidence:
        """What proves the release; nothing in it was judged here."""
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

    def require(self, name: ComponentName) -> ComponentState:
        return self.view.require(name)

    def evidence(
        self, name: ComponentName, entry: IndexEntry, *, reviews: bool = False
    ) -> Evidence:
        return self.view.evidence(name, entry, reviews=reviews)

    def withheld(self, entry: IndexEntry) -> Withheld | None:
        return self.view.withheld(entry)

    def hint(self, name: ComponentName) -> str | None:
        return self.view.near(name)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was verified under the pinned root on this machine, as of the newest index of each
    component that came with it and still verifies."""

    context: Context
    _known: dict[ComponentName, tuple[ComponentState, dict[str, Evidence]]] = field(
        default_factory=dict
    )

    def releases(self, name: ComponentName) -> Mapping[str, IndexEntry] | None:
        """Raises NetworkError: nothing of the component was verified here."""
        state, kept = self._component(name)
        return {
            version: entry
            for version, entry in state.releases.items()
            if entry.manifest_sha256 in kept
        }

    def require(self, name: ComponentName) -> ComponentState:
        """Raises NetworkError, as `releases`. The index may name releases that are not here."""
        return self._component(name)[0]

    def evidence(
        self, name: ComponentName, entry: IndexEntry, *, reviews: bool = False
    ) -> Evidence:
        return self._component(name)[1][entry.manifest_sha256]

    def withheld(self, entry: IndexEntry) -> Withheld | None:
        status = known_status(self.context, self.context.pin)
        return None if status is None else status.find(entry.manifest_sha256)

    def hint(self, name: ComponentName) -> str | None:
        return f"{ONLY_KEPT}; {_ASK_ONCE}"

    def _component(self, name: ComponentName) -> tuple[ComponentState, dict[str, Evidence]]:
        if name not in self._known:
            kept = self._kept(name)
            newest = sorted(kept.values(), key=lambda one: role_version(one.project), reverse=True)
            state = next((_state(name, one) for one in newest if self._verifies(name, one)), None)
            if state is None:
                raise NetworkError(
                    f"{name}: nothing of it was verified on this machine, and nobody is asked "
                    "(offline)",
                    hint=_ASK_ONCE,
                )
            self._known[name] = state, kept
        return self._known[name]

    def _verifies(self, name: ComponentName, evidence: Evidence) -> bool:
        """Whether all that is signed holds; the release that came with it may be withheld."""
        report = verify_release(
            evidence,
            name,
            None,
            fingerprint=self.context.pin.fingerprint,
            now=self.context.now,
            observed=None,
            forge_toml=None,
            witnesses=self.context.trust.witnesses(self.context.pin.fingerprint),
        )
        failure = report.first_failure
        return failure is None or isinstance(failure.error, WithheldError)

    def _kept(self, name: ComponentName) -> dict[str, Evidence]:
        """``{digest of the manifest: evidence}`` of what is kept of the component."""
        wanted, found = (str(name), self.context.pin.fingerprint), {}
        for data in self.context.cache.all_evidence():
            # Somebody's bytes: what is spoilt is not there.
            with suppress(ValueError, KeyError, TypeError, AttributeError, SigningError):
                value = json.loads(data)
                if (value["component"], value["fingerprint"]) != wanted:
                    continue
                evidence = Evidence.from_json(str(value["evidence"]).encode())
                releases_of(evidence.project, name)
                found[parse_manifest(evidence.manifest).digest] = evidence
        return found


def _state(name: ComponentName, evidence: Evidence) -> ComponentState:
    """What verified evidence says of the component."""
    return ComponentState(
        component=name,
        organisation=evidence.organisation,
        project=evidence.project,
        releases=releases_of(evidence.project, name),
        log_proof=evidence.log_proof,
        delegation=delegations_of(evidence.organisation, name.org).get(name.role),
        organisation_delegation=delegations_of(evidence.registrar, "registrar")[name.org],
    )


def choices(context: Context) -> Choices:
    """What a command may choose from.

    Raises:
        NetworkError, SigningError: as `View.refresh`.
    """
    if context.offline:
        return Remembered(context)
    try:
        context.view.refresh()
    except NetworkError as error:
        if any(True for _ in context.cache.all_evidence()):
            also = "without a network, --offline uses what was verified on this machine"
            error.hint = f"{error.hint}\n{also}" if error.hint else also
        raise
    return Signed(context.view)
