"""A component: what it does, who answers for it, how it stands, and the tabs beneath."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

from flask import Response, request
from markupsafe import Markup

from signing.names import ComponentName
from signing.tensors import reader_for

from ...api.requests import query_integer, registry
from ...errors import RegistryError
from ...search.base import Hit
from ...services.assurance import Assurance
from ...services.catalogue import ComponentDetails, VersionItem
from ...services.pages_component import MAX_FILES, Owner, Signing, Text
from .. import assurance, languages, trust
from ..markdown import MAX_BYTES, Places, paths_in, render
from ..rendering import page, to

SLOW_BITS_PER_SECOND: Final = 1_000_000
_MAX_VERSIONS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What the head of every page of a component shows. ``item`` is the version that is shown."""

    name: ComponentName
    details: ComponentDetails
    item: VersionItem
    owner: Owner
    signing: Signing | None
    standing: trust.Standing
    assurance: Assurance
    told: Hit | None

    @property
    def title(self) -> str | None:
        """What the card in the reader's language calls it."""
        return self.told.title.get(languages.language()) if self.told else None

    @property
    def summary(self) -> str:
        """What it does: in the reader's language where its card says it so."""
        found = self.told.summary.get(languages.language()) if self.told else None
        return found or self.details.summary

    @property
    def slow_seconds(self) -> int:
        """How long its files take on a slow line."""
        return -(-self.item.size * 8 // SLOW_BITS_PER_SECOND)


def sheet(organisation: str, name: str, version: str | None = None) -> Sheet:
    """The component, at its latest version unless another is named.

    Raises:
        RegistryError: no such component (``component-not-found``) or version (``not-found``).
    """
    parsed = ComponentName.parse(f"{organisation}/{name}", "address")
    details = registry().catalogue.component(parsed)
    wanted = version or details.latest
    item = next((one for one in details.versions if one.version == wanted), None)
    if item is None:
        raise RegistryError(
            "not-found", f"{parsed}: expected a published version, found {wanted!r:.70}"
        )
    signing = registry().component_pages.signing(parsed)
    told = registry().index.told(parsed)
    return Sheet(
        name=parsed,
        details=details,
        item=item,
        owner=registry().component_pages.owner(parsed.org),
        signing=signing,
        standing=trust.standing(
            yanked=item.yanked,
            withheld=item.withheld,
            signing=signing,
            now=registry().clock(),
            yanked_successor=item.yanked_successor,
            deprecated=item.deprecated,
        ),
        assurance=registry().assurances.of(parsed, item.version, item.manifest_sha256),
        told=told if told and told.version == item.version else None,
    )


def sentence(found: Sheet) -> Markup:
    """The trust sentence of the version that is shown."""
    return trust.sentence(found.owner, found.item.published_at, found.standing, found.assurance)


def tab(which: str, found: Sheet, **values: object) -> Response:
    """A page of a component, with its head."""
    return page(
        f"component_{which}.html",
        sheet=found,
        tab=which,
        sentence=sentence(found),
        **values,
    )


def card(organisation: str, name: str) -> Response:
    """The card, in the reader's language where the publisher wrote it in that."""
    found = sheet(organisation, name)
    texts = registry().component_pages.texts(found.name, found.item.version, found.details.card)
    text = _choose(texts)
    body = None if text is None else _body(found, text)
    return tab("card", found, texts=texts, text=text, body=body, source=texts[0] if texts else None)


def _choose(texts: list[Text]) -> Text | None:
    asked = request.args.get("card", languages.language())
    by_language = {text.language: text for text in texts}
    return by_language.get(asked) or (texts[0] if texts else None)


def _body(found: Sheet, text: Text) -> object:
    """The card as HTML; None where its bytes are gone or too many to be shown."""
    data = registry().release_pages.small_blob(text.sha256, MAX_BYTES)
    if data is None:
        return None
    words = data.decode("utf-8", "replace")
    return render(words, _places(found, text.path, words))


def _places(found: Sheet, path: str, words: str) -> Places:
    folder = posixpath.dirname(path)
    wanted = {posixpath.normpath(posixpath.join(folder, each)) for each in paths_in(words)}
    files = registry().component_pages.named_files(found.name, found.item.version, wanted)

    def image(inside: str) -> str | None:
        if inside not in files:
            return None
        return to(
            "image", organisation=found.name.org, name=found.name.name,
            version=found.item.version, path=inside,
        )  # fmt: skip

    def file(inside: str) -> str | None:
        return f"/blobs/{files[inside].sha256}" if inside in files else None

    return Places(folder=folder, image=image, file=file)


def versions(organisation: str, name: str) -> Response:
    """Every version, and what differs between two of them."""
    found = sheet(organisation, name)
    known = [one.version for one in found.details.versions]
    new = request.args.get("new") or found.item.version
    old = request.args.get("old") or _before(known, new)
    differences = None
    if new in known and old in known and new != old:
        differences = registry().component_pages.difference(found.name, old, new)
    first = query_integer("first", 0, low=0, high=10**6)
    return tab(
        "versions", found, known=known, new=new, old=old, differences=differences, first=first,
        shown=found.details.versions[first : first + _MAX_VERSIONS], step=_MAX_VERSIONS,
    )  # fmt: skip


def _before(known: list[str], version: str) -> str | None:
    at = known.index(version) + 1 if version in known else len(known)
    return known[at] if at < len(known) else None


def files(organisation: str, name: str) -> Response:
    """The files of the version that is shown."""
    found = sheet(organisation, name, request.args.get("version"))
    first = query_integer("first", 0, low=0, high=10**6)
    listed = registry().component_pages.files(found.name, found.item.version, first)
    path = request.args.get("tensors")
    header = None
    if path is not None:
        header = registry().tensors.header(found.name, found.item.version, path)
    return tab(
        "files", found, files=listed, step=MAX_FILES, header=header,
        tensor_first=query_integer("tensor", 0, low=0, high=10**6), has_tensors=reader_for,
    )  # fmt: skip


def lineage(organisation: str, name: str) -> Response:
    """What it stands on, and what stands on it."""
    found = sheet(organisation, name)
    reading = registry().component_pages
    return tab(
        "lineage",
        found,
        requires=reading.requires(found.item.requires),
        required_by=reading.required_by(found.name),
    )


def security(organisation: str, name: str) -> Response:
    """Signature, keys and log; scans, findings and reviews, where there are any."""
    found = sheet(organisation, name)
    return tab("security", found, reviewed=assurance.reviews(found.assurance))


def use(organisation: str, name: str) -> Response:
    """How to get it, command by command."""
    return tab("use", sheet(organisation, name))


def history(organisation: str, name: str) -> Response:
    """Everything that happened to it."""
    found = sheet(organisation, name)
    return tab("history", found, happenings=registry().component_pages.history(found.name))
