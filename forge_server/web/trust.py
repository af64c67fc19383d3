"""The trust sentence: in plain words who signed a release, who looked at it, and what is known
against it. Nothing in it is a claim of the publisher.

Each case is a whole sentence of its own in the catalogues, because languages do not build sentences
out of the same pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flask_babel import pgettext
from markupsafe import Markup

from signing.deprecation import Deprecation
from signing.status import QUARANTINED, Withheld

from ..services.assurance import Assurance
from ..services.pages_component import Owner, Signing
from ..services.withheld import HELD, REMOVED
from . import assurance, languages
from .assurance import filled
from .rendering import bdi


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a release stands. ``states`` are those that must be shown before anything else, the
    gravest first; none of them: it is in force."""

    states: Sequence[str]
    withheld: Withheld | None
    yanked: str | None
    yanked_successor: str | None
    deprecated: Deprecation | None
    expired_at: datetime | None

    @property
    def usable(self) -> bool:
        """Whether `forge install` would take it without being told to."""
        return self.withheld is None and self.yanked is None and self.expired_at is None


def standing(
    *,
    yanked: str | None,
    withheld: Withheld | None,
    signing: Signing | None,
    now: datetime,
    yanked_successor: str | None = None,
    deprecated: Deprecation | None = None,
) -> Standing:
    """From what the registry knows of a release to how it stands."""
    expired = signing.expires if signing is not None and signing.expires <= now else None
    states = [
        state
        for state, holds in (
            ("" if withheld is None else withheld.state, withheld is not None),
            ("expired", expired is not None),
            ("yanked", yanked is not None),
            ("deprecated", deprecated is not None),
        )
        if holds
    ]
    return Standing(
        states=states, withheld=withheld, yanked=yanked, yanked_successor=yanked_successor,
        deprecated=deprecated, expired_at=expired,
    )  # fmt: skip


def sentence(owner: Owner, published_at: datetime, standing: Standing, known: Assurance) -> Markup:
    """A few sentences for the top of a page."""
    signed = filled(
        pgettext("trust", "Signed by %(who)s on %(when)s."),
        who=bdi(owner.title(languages.language())),
        when=languages.day(published_at),
    )
    # Of what is stopped nothing else matters.
    rest = () if standing.withheld is not None else assurance.sentences(known)
    return Markup(" ").join([signed, *_state(standing), *rest])


def _state(standing: Standing) -> list[Markup]:
    if standing.withheld is not None:
        words = _stopped(standing.withheld.state)
        return [filled(words, since=languages.day(standing.withheld.since))]
    if standing.expired_at is not None:
        text = pgettext(
            "trust",
            "The signature of its index expired on %(when)s: it cannot be installed until its "
            "publisher signs again.",
        )
        return [filled(text, when=languages.day(standing.expired_at))]
    if standing.yanked is not None:
        return [filled(pgettext("trust", "Its publisher withdrew it: choose another version."))]
    if standing.deprecated is not None:
        return [filled(pgettext("trust", "Its publisher advises to use something else."))]
    return []


def _stopped(state: str) -> str:
    words = pgettext("trust", "It was revoked for good on %(since)s: do not use it.")
    if state == QUARANTINED:
        words = pgettext("trust", "The security desk stopped it on %(since)s: do not use it.")
    elif state == HELD:
        words = pgettext("trust", "The registry has held it back since %(since)s: do not use it.")
    elif state == REMOVED:
        words = pgettext("trust", "Its files were removed on %(since)s by order of an authority.")
    return str(words)
