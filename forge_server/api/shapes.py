"""What travels as JSON, declared once: the same declaration reads a request, writes an answer and
describes both in JSON Schema (draft 2020-12, as OpenAPI 3.1 §4.8.24 wants it).

Each shape has three sides, which therefore cannot drift apart:

* ``read(value, where)`` turns what a client sent into a value, or raises `MalformedError` with the
  path to the bad field; it also tells the tests whether an answer is what was promised;
* ``render(value)`` turns a value of ours into JSON;
* ``schema()`` says both to programs and readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Final, Protocol

from signing.digests import parse_digest
from signing.encoding import MAX_INTEGER, Fields, type_name
from signing.errors import MalformedError
from signing.names import (
    MAX_NAME_CHARS,
    MAX_VERSION_CHARS,
    NAME_PATTERN,
    ComponentName,
    parse_org_name,
    parse_project_name,
    parse_version,
)

Schema = dict[str, Any]
_NUMBER: Final = "(0|[1-9][0-9]*)"
_VERSION_PATTERN: Final = (
    rf"^([1-9][0-9]*!)?{_NUMBER}(\.{_NUMBER})*((a|b|rc){_NUMBER})?"
    rf"(\.post{_NUMBER})?(\.dev{_NUMBER})?$"
)
"""The canonical spelling (PEP 440, appendix B) without a local part."""


class Shape(Protocol):
    """One kind of value."""

    def read(self, value: Any, where: str) -> Any:
        """The value as ours. Raises `MalformedError`, whatever came."""

    def render(self, value: Any) -> Any:
        """The value as JSON."""

    def schema(self) -> Schema:
        """Its JSON Schema. Records stand in it as references by their names."""


def instant(value: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A string of at most ``max_chars``, one of ``choices`` where there are any. ``parse`` gives it
    a type and knows more than ``pattern`` can say; ``says`` is for readers."""

    max_chars: int = 4096
    min_chars: int = 0
    choices: Sequence[str] = ()
    pattern: str | None = None
    format: str | None = None
    parse: Callable[[str, str], Any] | None = None
    says: str | None = None
    example: str | None = None

    def read(self, value: Any, where: str) -> Any:
        if not isinstance(value, str):
            raise MalformedError(where, "a string", type_name(value))
        if len(value) > self.max_chars:
            raise MalformedError(
                where, f"at most {self.max_chars} characters", f"{len(value)} characters"
            )
        if self.choices and value not in self.choices:
            raise MalformedError(where, " or ".join(self.choices), f"{value!r:.40}")
        if len(value) < self.min_chars:
            raise MalformedError(where, "some text", "an empty string")
        return value if self.parse is None else self.parse(value, where)

    def render(self, value: Any) -> str:
        return str(value)

    def schema(self) -> Schema:
        found: Schema = {"type": "string"}
        if self.choices:
            return found | {"enum": list(self.choices)}
        if self.pattern is not None:
            found["pattern"] = self.pattern
        if self.format is not None:
            found["format"] = self.format
        elif self.min_chars:
            found["minLength"] = self.min_chars
        if self.format is None:
            found["maxLength"] = self.max_chars
        if self.says is not None:
            found["description"] = self.says
        if self.example is not None:
            found["examples"] = [self.example]
        return found

    def saying(self, says: str) -> Text:
        """The same with other words for its readers."""
        return replace(self, says=says)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A moment: RFC 3339 §5.6 in UTC, whole seconds."""

    def read(self, value: Any, where: str) -> datetime:
        try:
            return datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except (TypeError, ValueError):
            raise MalformedError(where, "a moment like 2026-01-31T12:00:00Z", value) from None

    def render(self, value: datetime) -> str:
        return instant(value)

    def schema(self) -> Schema:
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day: RFC 3339 full-date."""

    def read(self, value: Any, where: str) -> date:
        try:
            return date.fromisoformat(value)
        except (TypeError, ValueError):
            raise MalformedError(where, "a day like 2026-01-31", value) from None

    def render(self, value: date) -> str:
        return value.isoformat()

    def schema(self) -> Schema:
        return {"type": "string", "format": "date"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """A whole number from ``low`` to ``high``."""

    low: int = 0
    high: int = MAX_INTEGER
    says: str | None = None

    def read(self, value: Any, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise MalformedError(where, "an integer", type_name(value))
        if value < self.low:
            raise MalformedError(where, f"an integer of at least {self.low}", value)
        if value > self.high:
            raise MalformedError(where, f"an integer of at most {self.high}", value)
        return value

    def render(self, value: int) -> int:
        return value

    def schema(self) -> Schema:
        found: Schema = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return found if self.says is None else found | {"description": self.says}


@dataclass(frozen=True, slots=True, kw_only=True)
class Boolean:
    says: str | None = None

    def read(self, value: Any, where: str) -> bool:
        if not isinstance(value, bool):
            raise MalformedError(where, "true or false", type_name(value))
        return value

    def render(self, value: bool) -> bool:
        return value

    def schema(self) -> Schema:
        found: Schema = {"type": "boolean"}
        return found if self.says is None else found | {"description": self.says}


@dataclass(frozen=True, slots=True)
class Anything:
    """A value that others define."""

    def read(self, value: Any, where: str) -> Any:
        return value

    def render(self, value: Any) -> Any:
        return value

    def schema(self) -> Schema:
        return {}


@dataclass(frozen=True, slots=True)
class Nullable:
    """The value, or null."""

    of: Shape

    def read(self, value: Any, where: str) -> Any:
        return None if value is None else self.of.read(value, where)

    def render(self, value: Any) -> Any:
        return None if value is None else self.of.render(value)

    def schema(self) -> Schema:
        inner = self.of.schema()
        if isinstance(inner.get("type"), str) and "enum" not in inner:
            return inner | {"type": [inner["type"], "null"]}
        return {"anyOf": [inner, {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class ListOf:
    """Values of one kind; in a request at least ``least`` and at most ``most``."""

    of: Shape
    most: int | None = None
    says: str | None = None
    least: int = 0

    def read(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise MalformedError(where, "a list", type_name(value))
        if self.most is not None and len(value) > self.most:
            raise MalformedError(where, f"at most {self.most} entries", len(value))
        if len(value) < self.least:
            raise MalformedError(where, f"at least {self.least}", len(value))
        return [self.of.read(item, f"{where}[{number}]") for number, item in enumerate(value)]

    def render(self, value: Sequence[Any]) -> list[Any]:
        return [self.of.render(item) for item in value]

    def schema(self) -> Schema:
        found: Schema = {"type": "array", "items": self.of.schema()}
        if self.most is not None:
            found["maxItems"] = self.most
        if self.least:
            found["minItems"] = self.least
        return found if self.says is None else found | {"description": self.says}


@dataclass(frozen=True, slots=True)
class MapOf:
    """Values of one kind by name; in a request at least ``least`` and at most ``most``. ``keys``
    says what names are."""

    of: Shape
    keys: Text | None = None
    most: int | None = None
    says: str | None = None
    least: int = 0

    def read(self, value: Any, where: str) -> dict[str, Any]:
        fields = Fields.of(value, where)
        if self.most is not None and len(value) > self.most:
            raise MalformedError(where, f"at most {self.most} entries", len(value))
        if len(value) < self.least:
            raise MalformedError(where, f"at least {self.least}", len(value))
        for name in value:
            if self.keys is not None:
                self.keys.read(name, where)
        return {name: self.of.read(item, fields.path(name)) for name, item in value.items()}

    def render(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.of.render(item) for name, item in value.items()}

    def schema(self) -> Schema:
        found: Schema = {"type": "object", "additionalProperties": self.of.schema()}
        if self.keys is not None:
            found["propertyNames"] = self.keys.schema()
        if self.most is not None:
            found["maxProperties"] = self.most
        if self.least:
            found["minProperties"] = self.least
        return found if self.says is None else found | {"description": self.says}


@dataclass(frozen=True, slots=True)
class Row:
    """A list with a fixed number of values, one of the given ``forms``; ``says`` names each."""

    says: str
    forms: Sequence[Sequence[Shape]]

    def read(self, value: Any, where: str) -> list[Any]:
        if isinstance(value, list):
            for form in self.forms:
                if len(form) == len(value):
                    try:
                        return [
                            shape.read(item, where) for shape, item in zip(form, value, strict=True)
                        ]
                    except MalformedError:
                        break
        raise MalformedError(where, self.says, value)

    def render(self, value: Sequence[Any]) -> list[Any]:
        return list(value)

    def schema(self) -> Schema:
        forms = [
            {
                "type": "array",
                "prefixItems": [shape.schema() for shape in form],
                "items": False,
                "minItems": len(form),
            }
            for form in self.forms
        ]
        found: Schema = forms[0] if len(forms) == 1 else {"oneOf": forms}
        return found | {"description": self.says}


@dataclass(frozen=True, slots=True)
class Record:
    """An object with known members. In a request no others may stand in it; to an answer a later
    version may add some, so whoever reads it lets them pass."""

    name: str
    members: Mapping[str, Shape]
    optional: frozenset[str] = frozenset()
    says: str | None = None
    _required: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        assert self.optional <= self.members.keys(), self.name
        object.__setattr__(self, "_required", frozenset(self.members) - self.optional)

    def read(self, value: Any, where: str) -> dict[str, Any]:
        fields = Fields.of(value, where).only(self._required, optional=self.optional)
        return {
            name: self.members[name].read(item, fields.path(name)) for name, item in value.items()
        }

    def render(self, value: Any) -> dict[str, Any]:
        return self.of(value)

    def of(self, source: Any, **given: Any) -> dict[str, Any]:
        """The object made from the attributes of ``source`` with the names of the members;
        ``given`` are JSON already, and stand for those that ``source`` has not in this form."""
        return {
            name: given[name] if name in given else shape.render(getattr(source, name))
            for name, shape in self.members.items()
            if name in given or name in self._required
        }

    def schema(self) -> Schema:
        return {"$ref": f"#/components/schemas/{self.name}"}

    def definition(self, *, strict: bool = False) -> Schema:
        """What the reference leads to; ``strict`` where it is a request."""
        found: Schema = {"type": "object"}
        if self.says is not None:
            found["description"] = self.says
        found["properties"] = {
            name: _strict(shape) if strict else shape.schema()
            for name, shape in self.members.items()
        }
        if self._required:
            found["required"] = [name for name in self.members if name in self._required]
        if strict:
            found["additionalProperties"] = False
        return found

    def with_(self, name: str, **more: Shape) -> Record:
        """Another record with these members too."""
        return Record(name, {**self.members, **more}, self.optional, self.says)


def _strict(shape: Shape) -> Schema:
    """The schema of a member of a request, with the records in it written out and closed."""
    if isinstance(shape, Record):
        return shape.definition(strict=True)
    if isinstance(shape, ListOf):
        return shape.schema() | {"items": _strict(shape.of)}
    return shape.schema()


def inner(shape: Shape) -> Sequence[Shape]:
    """The shapes that ``shape`` is made of."""
    if isinstance(shape, Record):
        return list(shape.members.values())
    if isinstance(shape, Nullable | ListOf | MapOf):
        return [shape.of]
    return []


ANY: Final = Anything()
TEXT: Final = Text(max_chars=MAX_INTEGER)
"""A string of an answer, as long as it is."""
INTEGER: Final = Integer(low=-MAX_INTEGER)
COUNT: Final = Integer()
BOOLEAN: Final = Boolean()
INSTANT: Final = Instant()
OPTIONAL_INSTANT: Final = Nullable(INSTANT)
OPTIONAL_TEXT: Final = Nullable(TEXT)
TEXTS: Final = ListOf(TEXT)
ORGANISATION: Final = Text(
    max_chars=MAX_NAME_CHARS, pattern=f"^{NAME_PATTERN}$", parse=parse_org_name,
    says="an organisation", example="minds-lab",
)  # fmt: skip
PROJECT: Final = Text(
    max_chars=MAX_NAME_CHARS, pattern=f"^{NAME_PATTERN}$", parse=parse_project_name,
    says="the name of a component within its organisation", example="darija-lid",
)  # fmt: skip
COMPONENT: Final = Text(
    max_chars=2 * MAX_NAME_CHARS + 1, pattern=f"^{NAME_PATTERN}/{NAME_PATTERN}$",
    parse=ComponentName.parse, says="a component, with its organisation",
    example="minds-lab/darija-lid",
)  # fmt: skip
VERSION: Final = Text(
    max_chars=MAX_VERSION_CHARS, pattern=_VERSION_PATTERN,
    parse=lambda text, where: str(parse_version(text, where)),
    says="a version after PEP 440", example="1.0.0",
)  # fmt: skip
DIGEST: Final = Text(
    max_chars=64, pattern="^[0-9a-f]{64}$", parse=parse_digest,
    says="a SHA-256 in lower-case hexadecimal", example="0" * 64,
)  # fmt: skip
OPTIONAL_DIGEST: Final = Nullable(DIGEST)
