"""Names, versions and requirements: the one grammar that both sides check.

The grammar of names is the intersection of what the Hugging Face Hub, OCI and PEP 503 accept:
lower-case ASCII letters, digits and single inner hyphens. ASCII alone is what keeps letters
that look alike across Arabic, Tifinagh, Greek, Cyrillic and Latin out; the alphabet's own
look-alikes (``0``/``o``, ``1``/``l``, ``rn``/``m``) are caught by comparing skeletons.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NewType

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from .errors import MalformedError

OrgName = NewType("OrgName", str)
ProjectName = NewType("ProjectName", str)

MAX_NAME_CHARS = 40
MAX_VERSION_CHARS = 60
NAME_PATTERN = "[a-z0-9]+(-[a-z0-9]+)*"
_NAME = re.compile(NAME_PATTERN)
_RULE = f"lower-case letters a-z, digits and single inner hyphens, at most {MAX_NAME_CHARS}"

# TUF's own roles (an organisation's role carries the organisation's name) and every word that
# stands, or may one day stand, at the front of a URL of the registry.
_RESERVED_WORDS = """
    root targets snapshot timestamp registrar reviews status log logs index
    api tuf blobs blob static simple legacy hf v1 v2 osv oauth health healthz readyz ready
    metrics admin login logout account settings search about verify statistics tombstones
    regions region org orgs organisation organisations organization organizations components
    component models model datasets dataset library libraries prompts prompt files file
    well-known favicon robots sitemap feeds feed badges badge help docs security assets
    forge registry authority official government gov www ar fr zgh en
    trust errors opensearch language languages images
"""
RESERVED_ORG_NAMES = frozenset(_RESERVED_WORDS.split())
_RESERVED_PREFIXES = ("reviews-", "xn-")


def _check_name(text: object, where: str) -> str:
    if not isinstance(text, str):
        raise MalformedError(where, _RULE, type(text).__name__)
    if len(text) > MAX_NAME_CHARS:
        raise MalformedError(where, _RULE, f"{len(text)} characters")
    if not _NAME.fullmatch(text):
        raise MalformedError(where, _RULE, f"{text!r}{_odd_character(text)}", _nearest(text))
    return text


def _odd_character(text: str) -> str:
    """Names a letter from another script, which the eye cannot tell from the Latin one."""
    for char in text:
        if not char.isascii():
            return f" with {unicodedata.name(char, f'U+{ord(char):04X}')}"
    return ""


def _nearest(text: str) -> str | None:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    near = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_NAME_CHARS].strip("-")
    return f"perhaps {near!r}" if near else None


def parse_org_name(text: object, where: str = "organisation") -> OrgName:
    """``text`` as the name of an organisation.

    Raises:
        MalformedError: outside the grammar, or a reserved word.
    """
    name = _check_name(text, where)
    if name in RESERVED_ORG_NAMES or name.startswith(_RESERVED_PREFIXES):
        raise MalformedError(where, "a name that is not reserved", repr(name))
    return OrgName(name)


def parse_project_name(text: object, where: str = "name") -> ProjectName:
    """``text`` as the name of a project within an organisation."""
    return ProjectName(_check_name(text, where))


_LOOKS_LIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "2": "z", "8": "b"})


def skeleton(text: str) -> str:
    """What remains of a name for a quick eye. Names with one skeleton look alike.

    In the manner of Unicode TR 39 §4, for the alphabet of names: hyphens fall away, digits
    become the letters they resemble, ``rn`` becomes ``m``, ``vv`` ``w``, ``cl`` ``d``.
    """
    plain = text.replace("-", "").translate(_LOOKS_LIKE)
    return plain.replace("rn", "m").replace("vv", "w").replace("cl", "d")


@dataclass(frozen=True, slots=True, order=True)
class ComponentName:
    """``org/name``; also the name of the TUF role that signs its releases, ``org.name``."""

    org: OrgName
    name: ProjectName

    @classmethod
    def parse(cls, text: object, where: str = "component") -> ComponentName:
        if not isinstance(text, str) or text.count("/") != 1:
            raise MalformedError(where, "organisation/name", f"{text!r:.100}")
        org, _, name = text.partition("/")
        return cls(parse_org_name(org, where), parse_project_name(name, where))

    @classmethod
    def from_role(cls, role: object, where: str = "role") -> ComponentName:
        """The component whose releases the TUF role ``org.name`` signs."""
        if not isinstance(role, str) or role.count(".") != 1:
            raise MalformedError(where, "a role named organisation.name", role)
        return cls.parse(role.replace(".", "/"), where)

    @property
    def role(self) -> str:
        return f"{self.org}.{self.name}"

    def target(self, version: Version | str, file: str) -> str:
        """The TUF target path of one of a release's files, ``org/name/version/file``."""
        return f"{self.org}/{self.name}/{version}/{file}"

    def __str__(self) -> str:
        return f"{self.org}/{self.name}"


def parse_version(text: object, where: str = "version") -> Version:
    """``text`` as a version in the canonical spelling of PEP 440, without a local part.

    Canonical, so that one version has one spelling in paths, locks and URLs; no local part,
    because ``+`` cannot stand in an OCI tag.
    """
    expected = "a version like 1.0.0 (PEP 440, canonical, no local part)"
    if not isinstance(text, str) or len(text) > MAX_VERSION_CHARS or not text.isascii():
        raise MalformedError(where, expected, text)
    try:
        version = Version(text)
    except (InvalidVersion, ValueError):
        raise MalformedError(where, expected, repr(text)) from None
    if version.local is not None:
        raise MalformedError(where, expected, repr(text), f"write {version.public!r}")
    if str(version) != text:
        raise MalformedError(where, expected, repr(text), f"write {str(version)!r}")
    return version


_REQUIREMENT = re.compile(r"\s*(?P<name>[^\s<>=!~]+)\s*(?P<range>[<>=!~].*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A component and the PEP 440 range of versions that will do."""

    component: ComponentName
    specifier: SpecifierSet

    @classmethod
    def parse(cls, text: str, where: str = "requirement") -> Requirement:
        """Reads ``org/name``, ``org/name>=1,<2`` or ``org/name==1.0.0``."""
        match = _REQUIREMENT.fullmatch(text)
        if match is None:
            raise MalformedError(where, "organisation/name and a range like >=1,<2", repr(text))
        component = ComponentName.parse(match["name"], where)
        return cls(component, parse_specifier(match["range"] or "", where))

    def __str__(self) -> str:
        return f"{self.component}{self.specifier}"


def parse_specifier(text: object, where: str) -> SpecifierSet:
    """``text`` as a set of PEP 440 ranges; the empty string means any version."""
    expected = "a range like >=1.2,<2 (PEP 440)"
    if not isinstance(text, str) or len(text) > 200 or not text.isascii():
        raise MalformedError(where, expected, text)
    try:
        specifiers = SpecifierSet(text)
    except (InvalidSpecifier, ValueError):
        raise MalformedError(where, expected, repr(text)) from None
    for one in specifiers:
        if one.operator == "===":
            raise MalformedError(where, expected, "===, which compares text, not versions")
    return specifiers
