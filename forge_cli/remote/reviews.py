"""What reviewer bodies say of a release: their roles through TUF, their statements by digest.

Asked for only where somebody needs it: an installation without a policy makes no request for it.
A body whose role does not verify any more, or was not renewed, is told as a lapse; it stops neither
the other bodies nor anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signing.assessment import Assessment, assess
from signing.bodies import ReviewTarget, body_of, is_reviews, target_path
from signing.errors import VerificationError
from signing.manifest import Manifest, parse_manifest
from signing.names import ComponentName
from signing.reviews import BodyWord, Said, about, gather
from signing.roles import Delegation, IndexEntry, delegations_of, parse_targets
from signing.verify import subject_of

from ..border import sound
from ..errors import ForgeError, NetworkError

if TYPE_CHECKING:
    from .trust import View


@dataclass(frozen=True, slots=True)
class Reviews:
    """``view`` is the verified view of the registry from which all of it comes."""

    view: View

    def bodies(self) -> dict[str, Delegation]:
        """``{body: delegation}`` as the authority's targets role says."""
        with sound("the targets role"):
            named = delegations_of(self.view.targets, "targets")
            return {body_of(role): each for role, each in named.items() if is_reviews(role)}

    def words(self, name: ComponentName, version: str) -> tuple[BodyWord, ...]:
        """What each body says of the release. Of a body whose role does not verify there is the
        role alone, so that whoever looks at it can tell why it does not count."""
        words = []
        for delegation in self.bodies().values():
            role = delegation.role
            if not self.view.has_role(role):
                continue  # named, and silent so far
            try:
                words.append(self._word(role, name, version))
            except VerificationError:
                words.append(BodyWord(role=role, data=self.view.stale_role(role)))
        return tuple(words)

    def said(self, name: ComponentName, version: str) -> Said:
        """What of it counts, judged by the moment of the view."""
        targets = parse_targets(self.view.targets, "targets").signed
        return gather(targets, self.words(name, version), name, version, self.view.now)

    def assess(self, name: ComponentName, entry: IndexEntry) -> Assessment:
        """The level of a release, and why."""
        version = str(entry.version)
        said = self.said(name, version)
        state = self.view.require(name)
        manifest = self.manifest(name, entry)
        signers = (state.delegation, state.organisation_delegation)
        subject = subject_of(manifest, signers, said.critical_since(manifest.digest))
        return assess(subject, said.decisions, self.view.now, unread=said.lapses)

    def manifest(self, name: ComponentName, entry: IndexEntry) -> Manifest:
        """The manifest that the signed index names."""
        with sound(str(name)):
            return parse_manifest(self.view.evidence(name, entry).manifest)

    def role(self, body: str) -> bytes | None:
        """The body's role for those who sign the next one: it may have expired, and the keys may
        be others now. None where it has none yet."""
        role = self.bodies()[body].role
        return self.view.stale_role(role) if self.view.has_role(role) else None

    def _word(self, role: str, name: ComponentName, version: str) -> BodyWord:
        body = body_of(role)
        data = self.view.load_role(target_path(body, name, version, "vsa"), role)
        with sound(f"the role {role}"):
            listed = about(parse_targets(data, role).signed, body, name, version)
        return BodyWord(role=role, data=data, envelopes=dict(self._envelopes(listed)))

    def _envelopes(self, listed: list[ReviewTarget]) -> Iterator[tuple[str, bytes]]:
        for one in listed:
            try:
                yield one.path, self.view.target(one.path, one.sha256, one.size)
            except NetworkError:
                raise
            except (ForgeError, VerificationError):
                continue  # withheld or swapped: its absence is told when the words are gathered
