"""``policy.toml``: what an agency asks of a component before it may be used.

A policy travels as a signed component of kind ``policy``; this module reads its one file. (Whose
signatures the *public log* needs is another matter: `signing.tlog.policy`.) What a policy decides
about a release is in `signing.permission`.

A policy is a set of rules, each under its own name. It fails closed: an unknown rule, an empty
list, no rule at all, a value of another form: none of them is a policy.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from .assessment import APPROVED, REVIEWED
from .component import LANGUAGE, RISK_CLASSES, require_short_keys
from .encoding import Fields, is_plain, nearest
from .errors import MalformedError
from .file_formats import FORMATS
from .licences import Licences, parse_licences
from .manifest import Manifest
from .names import parse_org_name
from .profile import ORG_KINDS

KIND: Final = "policy"
FILE_NAME: Final = "policy.toml"
MAX_POLICY_BYTES: Final = 256 * 1024
SCHEMA: Final = 1
MAX_DAYS: Final = 3650
SEVERITIES: Final = ("none", "low", "medium", "high", "critical")  # from the lowest to the highest
_MAX_ITEMS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleForm:
    """A rule that a policy may have. ``needs`` names what must be known beyond what the publisher
    signed; ``unsigned`` says that this is the registry's word and signed by nobody."""

    name: str
    form: str
    asks: str
    example: str
    needs: str | None = None
    unsigned: bool = False


RULES: Final[Mapping[str, RuleForm]] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            RuleForm(
                name="review-level",
                form="`reviewed` or `approved`",
                asks="reviewers passed the release, of one body or of two, and their word is in "
                "force today",
                example='review-level = "reviewed"',
                needs="reviews",
            ),
            RuleForm(
                name="reviewers",
                form="names of bodies; together with `review-level`",
                asks="only reviews by these bodies count for `review-level`",
                example='reviewers = ["cert-ma", "ai-institute"]',
                needs="reviews",
            ),
            RuleForm(
                name="licences",
                form="SPDX identifiers, also `ID WITH EXCEPTION`",
                asks="whoever accepts these licences may take the release: one side of each `OR`, "
                "both of each `AND`",
                example='licences = ["Apache-2.0", "MIT", "EUPL-1.2"]',
            ),
            RuleForm(
                name="formats-allowed",
                form="names of formats (below)",
                asks="every file has one of these formats, by the ending of its name",
                example='formats-allowed = ["safetensors", "gguf", "text"]',
            ),
            RuleForm(
                name="formats-denied",
                form="names of formats (below)",
                asks="no file has one of these formats, by the ending of its name",
                example='formats-denied = ["pickle", "keras"]',
            ),
            RuleForm(
                name="risk-classes",
                form="`minimal`, `limited`, `high`",
                asks="the publisher stated one of these risk classes",
                example='risk-classes = ["minimal", "limited"]',
            ),
            RuleForm(
                name="cooldown-days",
                form=f"1 to {MAX_DAYS}",
                asks="the release was published so many days ago",
                example="cooldown-days = 7",
                needs="published",
                unsigned=True,
            ),
            RuleForm(
                name="card-languages",
                form="language tags",
                asks="the card is there in each of these languages: `README.fr.md` for `fr`",
                example='card-languages = ["ar", "fr"]',
            ),
            RuleForm(
                name="organisations-allowed",
                form="names of organisations",
                asks="one of these organisations published it",
                example='organisations-allowed = ["gov-ma", "minds-lab"]',
            ),
            RuleForm(
                name="organisations-denied",
                form="names of organisations",
                asks="none of these organisations published it",
                example='organisations-denied = ["old-lab"]',
            ),
            RuleForm(
                name="organisation-kinds",
                form=", ".join(f"`{kind}`" for kind in ORG_KINDS),
                asks="the registrar registered its organisation as one of these kinds",
                example='organisation-kinds = ["government", "academic"]',
            ),
            RuleForm(
                name="witnesses",
                form="names of witnesses",
                asks="these witnesses cosigned the public log that holds the release's index",
                example='witnesses = ["witness.institute.example", "witness.court.example"]',
            ),
            RuleForm(
                name="witness-quorum",
                form="1 to the number of `witnesses`; together with them",
                asks="so many of the `witnesses` suffice; without it all must have cosigned",
                example="witness-quorum = 1",
            ),
            RuleForm(
                name="max-severity",
                form=", ".join(f"`{each}`" for each in SEVERITIES[:-1]),
                asks="it was scanned, and no open finding is graver than this",
                example='max-severity = "medium"',
                needs="findings",
                unsigned=True,
            ),
            RuleForm(
                name="scan-max-age-days",
                form=f"1 to {MAX_DAYS}",
                asks="each scanner's last look at it succeeded and is not older than this",
                example="scan-max-age-days = 30",
                needs="scans",
                unsigned=True,
            ),
        )
    }
)
# Rules that only say how another one is meant.
QUALIFIERS: Final = MappingProxyType({"reviewers": "review-level", "witness-quorum": "witnesses"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A parsed ``policy.toml``. ``rules`` maps names of `RULES` to their values: tuples of strings,
    strings, numbers, and `Licences`; in the order of `RULES`."""

    title: str
    rules: Mapping[str, Any]

    @property
    def needs(self) -> frozenset[str]:
        """What must be known of a release: ``reviews``, ``published``, ``findings``, ``scans``."""
        needs = {RULES[name].needs for name in self.rules}
        # Without a scan nobody knows of findings, so their absence says nothing.
        more = {"scans"} if "findings" in needs else set()
        return frozenset({need for need in needs if need is not None} | more)


def parse_policy(data: bytes, where: str = FILE_NAME) -> Policy:
    """Reads ``data``. Only `MalformedError` comes out, naming the file and the rule."""
    if len(data) > MAX_POLICY_BYTES:
        raise MalformedError(where, f"at most {MAX_POLICY_BYTES} bytes", f"{len(data)} bytes")
    try:
        text = data.decode("utf-8")
        require_short_keys(text, where)
        value = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise MalformedError(where, "UTF-8 text", f"something else at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise MalformedError(where, "TOML", f"something else: {error}") from None
    if not value:
        raise MalformedError(where, "a policy", "nothing: an empty policy allows nothing")
    document = Fields.of(value, where).only(("schema", "title", "rules"))
    if document.integer("schema") != SCHEMA:
        raise MalformedError(
            document.path("schema"),
            str(SCHEMA),
            document.integer("schema"),
            "a newer forge may know it",
        )
    title = document.text("title", max_chars=200)
    if not title.strip() or not is_plain(title):
        raise MalformedError(document.path("title"), "one line of text", repr(title))
    return Policy(title=title, rules=_parse_rules(document.object("rules")))


def require_policy_file(manifest: Manifest) -> str:
    """The digest of ``policy.toml`` in a release of kind `KIND`.

    Raises:
        MalformedError: it is another kind, or has no such file, or one that is too large.
    """
    where = f"{manifest}"
    if manifest.kind != KIND:
        raise MalformedError(f"{where}: kind", KIND, manifest.kind, "name a policy")
    entry = manifest.by_path.get(FILE_NAME)
    if entry is None:
        raise MalformedError(where, f"a {FILE_NAME} among its files", "none")
    if entry.size > MAX_POLICY_BYTES:
        raise MalformedError(
            f"{where}: {FILE_NAME}", f"at most {MAX_POLICY_BYTES} bytes", f"{entry.size} bytes"
        )
    return entry.sha256


def rule_texts(policy: Policy) -> Iterator[tuple[str, str]]:
    """``(rule, value)`` as people read them, in the order of the rules."""
    for name, value in policy.rules.items():
        items = tuple(sorted(value.accepted)) if isinstance(value, Licences) else value
        yield name, ", ".join(items) if isinstance(items, tuple) else str(items)


def _parse_rules(table: Fields) -> Mapping[str, Any]:
    unknown = sorted(table.value.keys() - RULES.keys())
    for name in unknown:
        hint = nearest(name, RULES) or f"rules are: {', '.join(RULES)}"
        raise MalformedError(table.path(name), "a rule that is known", name, hint)
    rules = {name: _READ[name](table, name) for name in RULES if name in table.value}
    if not rules:
        raise MalformedError(
            table.where, "at least one rule", "none: a policy without rules allows nothing"
        )
    for name, main in QUALIFIERS.items():
        if name in rules and main not in rules:
            raise MalformedError(
                table.path(name), f"{main} beside it", "none", f"{name} only says how {main} counts"
            )
    quorum = rules.get("witness-quorum")
    if quorum is not None and quorum > len(rules["witnesses"]):
        most = len(rules["witnesses"])
        raise MalformedError(table.path("witness-quorum"), f"1 to {most}, as many", quorum)
    return MappingProxyType(rules)


def _texts(table: Fields, name: str) -> tuple[str, ...]:
    table.items(name)
    texts = table.texts(name, max_items=_MAX_ITEMS)
    if not texts:
        raise MalformedError(table.path(name), "at least one entry", "an empty list")
    if len(set(texts)) != len(texts):
        raise MalformedError(table.path(name), "each entry once", ", ".join(texts))
    return texts


def _among(known: tuple[str, ...]) -> Callable[[Fields, str], tuple[str, ...]]:
    def read(table: Fields, name: str) -> tuple[str, ...]:
        for number, text in enumerate(texts := _texts(table, name)):
            _require_known(text, known, f"{table.path(name)}[{number}]")
        return texts

    return read


def _one_of(known: tuple[str, ...]) -> Callable[[Fields, str], str]:
    def read(table: Fields, name: str) -> str:
        return _require_known(table.text(name), known, table.path(name))

    return read


def _require_known(text: str, known: tuple[str, ...], where: str) -> str:
    if text not in known:
        raise MalformedError(where, f"one of {', '.join(known)}", repr(text), nearest(text, known))
    return text


def _names(table: Fields, name: str) -> tuple[str, ...]:
    texts = _texts(table, name)
    for number, text in enumerate(texts):
        parse_org_name(text, f"{table.path(name)}[{number}]")
    return texts


def _languages(table: Fields, name: str) -> tuple[str, ...]:
    texts = _texts(table, name)
    for number, text in enumerate(texts):
        if not LANGUAGE.fullmatch(text):
            raise MalformedError(
                f"{table.path(name)}[{number}]", "a language tag like ary or ber-Latn", repr(text)
            )
    return texts


def _lines(table: Fields, name: str) -> tuple[str, ...]:
    texts = _texts(table, name)
    for number, text in enumerate(texts):
        if not text.strip() or len(text) > 200 or not is_plain(text):
            raise MalformedError(f"{table.path(name)}[{number}]", "the name of one", repr(text))
    return texts


def _licences(table: Fields, name: str) -> Licences:
    return parse_licences(_texts(table, name), table.path(name))


def _number(table: Fields, name: str) -> int:
    number = table.integer(name, low=1)
    if number > MAX_DAYS:
        raise MalformedError(table.path(name), f"1 to {MAX_DAYS}", number)
    return number


_READ: Final[Mapping[str, Callable[[Fields, str], Any]]] = {
    "review-level": _one_of((REVIEWED, APPROVED)),
    "reviewers": _names,
    "licences": _licences,
    "formats-allowed": _among(FORMATS),
    "formats-denied": _among(FORMATS),
    "risk-classes": _among(RISK_CLASSES),
    "cooldown-days": _number,
    "card-languages": _languages,
    "organisations-allowed": _names,
    "organisations-denied": _names,
    "organisation-kinds": _among(ORG_KINDS),
    "witnesses": _lines,
    "witness-quorum": _number,
    "max-severity": _one_of(SEVERITIES[:-1]),
    "scan-max-age-days": _number,
}
