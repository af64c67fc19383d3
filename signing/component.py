"""``forge.toml``: what a publisher says about a component, inside the signed tree.

Nothing that describes a release is taken from anywhere else, so what an agency reads is what
the publisher signed. Unknown keys are refused: a misspelt ``licence`` that is silently dropped
would be a description that nobody checked.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.version import Version

from .encoding import Fields, is_plain, nearest
from .errors import MalformedError
from .licence_names import licence_hint
from .names import ComponentName, parse_org_name, parse_project_name, parse_specifier, parse_version
from .paths import check_path

FILE_NAME = "forge.toml"
MAX_TOML_BYTES = 256 * 1024
MAX_DOTS_IN_A_LINE = 200
KINDS = ("model", "library", "dataset", "prompt", "policy")
RISK_CLASSES = ("minimal", "limited", "high")

_REQUIRED = ("org", "name", "version", "kind", "summary", "license")
_OPTIONAL = ("languages", "tasks", "card")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?")  # RFC 5646 §2.1, the usual part
_TASK = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """The publisher's own risk class, with the reason for it."""

    class_: str
    rationale: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSpec:
    """A parsed ``forge.toml``. ``requires`` maps ``org/name`` to a PEP 440 range as written."""

    component: ComponentName
    version: Version
    kind: str
    summary: str
    license: str
    languages: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    card: str | None = None
    requires: dict[str, str]
    risk: Risk | None = None

    def metadata(self) -> dict[str, Any]:
        """The part of ``manifest.json`` that repeats this file (all but name, version, kind)."""
        data: dict[str, Any] = {
            "summary": self.summary,
            "license": self.license,
            "languages": list(self.languages),
            "tasks": list(self.tasks),
            "requires": dict(self.requires),
        }
        if self.card is not None:
            data["card"] = self.card
        if self.risk is not None:
            data["risk"] = {"class": self.risk.class_, "rationale": self.risk.rationale}
        return data


def parse_forge_toml(data: bytes, where: str = FILE_NAME) -> ComponentSpec:
    """Reads ``data``. Only `MalformedError` comes out, naming the file, the key and the line."""
    if len(data) > MAX_TOML_BYTES:
        raise MalformedError(where, f"at most {MAX_TOML_BYTES} bytes", f"{len(data)} bytes")
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            raise MalformedError(where, "TOML in plain UTF-8", "a byte order mark before it")
        require_short_keys(text, where)
        value = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise MalformedError(where, "UTF-8 text", f"something else at byte {error.start}") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError says the line itself
        raise MalformedError(where, "TOML", f"something else: {error}") from None
    try:
        return _parse_spec(Fields.of(value, where))
    except MalformedError as error:
        raise _with_line(error, text, where) from None


def require_short_keys(text: str, where: str) -> None:
    """Refuses long dotted keys before they are parsed: tomllib's time grows with the square of
    their length (50,000 parts, 100 kB: a minute)."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > MAX_DOTS_IN_A_LINE:
            raise MalformedError(
                f"{where}, line {number}", f"at most {MAX_DOTS_IN_A_LINE} dots", line.count(".")
            )


def _with_line(error: MalformedError, text: str, where: str) -> MalformedError:
    """The same error with the line on which the key stands, where it can be found."""
    key = re.split(r"[.:\s]", re.sub(r"\[\d+\]$", "", error.where))[-1].strip("'\"")
    found = (
        re.search(rf'^[ \t]*"?{re.escape(key)}"?[ \t]*(=|\])', text, re.MULTILINE) if key else None
    )
    if found is None:
        return error
    line = text.count("\n", 0, found.end()) + 1
    place = error.where.replace(f"{where}:", f"{where}, line {line}:", 1)
    return MalformedError(place, error.expected, error.found, error.hint)


def _parse_spec(document: Fields) -> ComponentSpec:
    document.only(["component"], optional=["requires", "risk"])
    table = document.object("component").only(_REQUIRED, optional=_OPTIONAL)
    component = ComponentName(
        parse_org_name(table.text("org"), table.path("org")),
        parse_project_name(table.text("name"), table.path("name")),
    )
    return ComponentSpec(
        component=component,
        version=parse_version(table.text("version"), table.path("version")),
        kind=_one_of(table, "kind", KINDS),
        requires=_parse_requires(document, component),
        risk=_parse_risk(document),
        **_parse_description(table),
    )


def _parse_description(table: Fields) -> dict[str, Any]:
    """The fields that ``forge.toml`` and a manifest's metadata have in common."""
    card = table.optional_text("card")
    return {
        "summary": _line(table, "summary", 200),
        "license": _license(table),
        "languages": _matching(table, "languages", LANGUAGE, "a language tag like ary or ber-Latn"),
        "tasks": _matching(table, "tasks", _TASK, "a task like text-classification"),
        "card": None if card is None else check_path(card, table.path("card")),
    }


def parse_metadata(metadata: Fields, component: ComponentName) -> None:
    """Checks a manifest's ``metadata`` object by the rules of ``forge.toml``.

    Raises:
        MalformedError: a field that `ComponentSpec.metadata` could not have written.
    """
    metadata.only(
        ("summary", "license", "languages", "tasks", "requires"), optional=("card", "risk")
    )
    _parse_description(metadata)
    _parse_requires(metadata, component)
    _parse_risk(metadata)


def _one_of(table: Fields, key: str, known: tuple[str, ...]) -> str:
    text = table.text(key)
    if text not in known:
        raise MalformedError(
            table.path(key), f"one of {', '.join(known)}", repr(text), nearest(text, known)
        )
    return text


def _line(table: Fields, key: str, max_chars: int) -> str:
    text = table.text(key, max_chars=max_chars)
    if not text.strip() or not is_plain(text):
        raise MalformedError(table.path(key), "one line of text", repr(text))
    return text


def _license(table: Fields) -> str:
    text = table.text("license", max_chars=400)
    try:
        canonical = canonicalize_license_expression(text)
    except (InvalidLicenseExpression, RecursionError):
        raise MalformedError(
            table.path("license"),
            "an SPDX expression like Apache-2.0 or MIT OR EUPL-1.2",
            repr(text),
            licence_hint(text),
        ) from None
    if canonical != text:
        raise MalformedError(table.path("license"), f"{canonical!r}", repr(text))
    return text


def _matching(table: Fields, key: str, rule: re.Pattern[str], expected: str) -> tuple[str, ...]:
    items = table.texts(key, max_items=100)
    for number, item in enumerate(items):
        if len(item) > 60 or not rule.fullmatch(item):
            raise MalformedError(f"{table.path(key)}[{number}]", expected, repr(item))
    if len(set(items)) != len(items):
        raise MalformedError(table.path(key), "each entry once", ", ".join(items))
    return items


def _parse_requires(document: Fields, component: ComponentName) -> dict[str, str]:
    if "requires" not in document.value:
        return {}
    table = document.object("requires")
    if len(table.value) > 200:
        raise MalformedError(table.where, "at most 200 requirements", len(table.value))
    requires = {}
    for name in sorted(table.value):
        parsed = ComponentName.parse(name, table.path(repr(name)))
        if parsed == component:
            raise MalformedError(table.path(name), "another component", "the component itself")
        requires[name] = table.text(name)
        parse_specifier(requires[name], table.path(name))
    return requires


def _parse_risk(document: Fields) -> Risk | None:
    if "risk" not in document.value:
        return None
    table = document.object("risk").only(["class", "rationale"])
    rationale = table.text("rationale", max_chars=4000)
    if not is_plain(rationale, many_lines=True):
        raise MalformedError(table.path("rationale"), "plain text", repr(rationale))
    return Risk(class_=_one_of(table, "class", RISK_CLASSES), rationale=rationale)
