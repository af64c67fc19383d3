"""What the registrar signs about an organisation, and the organisation applied with.

``kind`` and ``display_name`` are always there; the region, the names in the languages of the
country, and how to reach it were added later, so metadata without them still reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .encoding import Fields, is_plain
from .errors import MalformedError

ORG_KINDS = ("government", "startup", "academic", "company")
NAME_LANGUAGES = ("ar", "fr", "zgh", "en")
# ISO 3166-2:MA, the twelve regions.
REGIONS: Mapping[str, str] = {
    "MA-01": "Tanger-Tétouan-Al Hoceïma",
    "MA-02": "L'Oriental",
    "MA-03": "Fès-Meknès",
    "MA-04": "Rabat-Salé-Kénitra",
    "MA-05": "Béni Mellal-Khénifra",
    "MA-06": "Casablanca-Settat",
    "MA-07": "Marrakech-Safi",
    "MA-08": "Drâa-Tafilalet",
    "MA-09": "Souss-Massa",
    "MA-10": "Guelmim-Oued Noun",
    "MA-11": "Laâyoune-Sakia El Hamra",
    "MA-12": "Dakhla-Oued Ed-Dahab",
}
FIELDS = ("kind", "display_name")
OPTIONAL_FIELDS = ("region", "names", "contact")
_MAX_CHARS = 120
_MAX_CONTACT_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgProfile:
    """``region`` is a code of `REGIONS`, ``names`` maps some of `NAME_LANGUAGES` to a name."""

    kind: str
    display_name: str
    region: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    contact: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The members as they stand in signed documents; what is not known is left out."""
        value: dict[str, Any] = {"kind": self.kind, "display_name": self.display_name}
        if self.region is not None:
            value["region"] = self.region
        if self.names:
            value["names"] = dict(self.names)
        if self.contact is not None:
            value["contact"] = self.contact
        return value

    @classmethod
    def read(cls, fields: Fields) -> OrgProfile:
        """Reads the members from ``fields``, which may hold others.

        Raises:
            MalformedError: an unknown kind, region or language, or text of several lines.
        """
        profile = cls(
            kind=fields.text("kind"),
            display_name=fields.text("display_name"),
            region=fields.optional_text("region"),
            names={
                language: fields.object("names").text(language)
                for language in (fields.object("names").value if "names" in fields.value else ())
            },
            contact=fields.optional_text("contact"),
        )
        profile.check(fields)
        return profile

    def check(self, fields: Fields | None = None) -> None:
        """Establishes that every member may be shown. Raises MalformedError."""

        def where(name: str) -> str:
            return fields.path(name) if fields is not None else name.replace("_", " ")

        _one_of(self.kind, ORG_KINDS, where("kind"))
        check_display_name(self.display_name, where("display_name"))
        if self.region is not None:
            _one_of(self.region, REGIONS, where("region"))
        for language, name in self.names.items():
            _one_of(language, NAME_LANGUAGES, where("names"))
            check_display_name(name, f"{where('names')}.{language}")
        if self.contact is not None:
            _line(self.contact, where("contact"), _MAX_CONTACT_CHARS)


def check_display_name(text: str, where: str = "display name") -> str:
    """``text`` if it is one printable line of at most 120 characters."""
    return _line(text, where, _MAX_CHARS)


def _line(text: str, where: str, max_chars: int) -> str:
    # Arabic and Tifinagh names need marks that are not "printable"; what turns the direction of
    # the text around it is not among them.
    if not text.strip() or len(text) > max_chars or not is_plain(text):
        expected = f"one printable line of at most {max_chars} characters"
        raise MalformedError(where, expected, repr(text))
    return text


def _one_of(text: str, known: Mapping[str, str] | tuple[str, ...], where: str) -> None:
    if text not in known:
        raise MalformedError(where, f"one of {', '.join(known)}", text)
