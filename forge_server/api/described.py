"""What a route of the interface takes, answers and refuses, said once beside its view.

`described` enforces what it says: who may call is settled, and the address is checked, before the
view runs; `request_body` and `asked` read what the description declares and nothing else. The
OpenAPI document, the page that shows it and the table in the documentation are made from the same
descriptions, and the tests hold each answer that they see against them. A new route needs::

    @described(
        "thing.make", "Makes a thing.",
        caller=TOKEN, scopes=("manage",), body=NEW_THING, answers={201: THING},
        refusals=("thing-exists",),
    )
    def make_thing() -> Response:
        body = request_body()
        return answer(THING.of(registry().things.make(authenticated(), body["name"])), 201)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, TypeVar

from flask import current_app, request

from signing.errors import MalformedError

from ..services.recalls import HOST_PATTERN, parse_host
from .bodies import read_json
from .requests import audited, authenticated, known, registry
from .shapes import (
    DIGEST,
    ORGANISATION,
    PROJECT,
    VERSION,
    Integer,
    Record,
    Shape,
    Text,
)

_View = TypeVar("_View", bound=Callable[..., Any])

ANYBODY: Final = "anybody"
"""A token that is sent is not looked at."""
OPTIONAL: Final = "optional"
"""A token is not needed; one that is sent must be good."""
TOKEN: Final = "token"  # noqa: S105 - no secret, a word
"""A good token is needed."""

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of the query, or a header field. What is not sent counts as ``default``."""

    shape: Shape
    says: str
    required: bool = False
    default: Any = None

    def read(self, name: str, text: str | None) -> Any:
        """Raises `MalformedError`: something else than the shape allows, or nothing."""
        where = f"request: {name}"
        if text is None:
            if self.required:
                raise MalformedError(where, "a value", "nothing")
            return self.default
        return read_text(self.shape, text, where)


def read_text(shape: Shape, text: str, where: str) -> Any:
    """What stands in an address as a value of ours. Raises `MalformedError`."""
    if not isinstance(shape, Integer):
        return shape.read(text, where)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 17 else None
    if number is None or not shape.low <= number <= shape.high:
        raise MalformedError(where, f"{shape.low} to {shape.high}", f"{text!r:.40}")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """``answers``: what each status carries, None where it has no body; a mapping of media types
    where it is not JSON, or not always. ``limit`` names the setting that bounds the body, or is
    the number of bytes. ``scopes``: a token needs one of these actions."""

    action: str
    says: str
    more: str = ""
    caller: str = ANYBODY
    scopes: Sequence[str] = ()
    query: Mapping[str, Parameter] = field(default_factory=dict)
    headers: Mapping[str, Parameter] = field(default_factory=dict)
    body: Record | None = None
    raw: bool = False
    limit: str | int = "max_json_bytes"
    answers: Mapping[int, Shape | Mapping[str, Shape | None] | None]
    refusals: Sequence[str] = ()
    etag: bool = False

    def media(self, status: int) -> Mapping[str, Shape | None]:
        """What an answer of that ``status`` carries, by media type."""
        answer = self.answers[status]
        if answer is None:
            return {}
        return answer if isinstance(answer, Mapping) else {JSON: answer}

    def limit_bytes(self, settings: object) -> int:
        """The most bytes that a body may have."""
        return self.limit if isinstance(self.limit, int) else int(getattr(settings, self.limit))


PATH: Final[Mapping[str, Text | Integer]] = {
    "organisation": ORGANISATION,
    "publisher": ORGANISATION.saying("the organisation that published the policy"),
    "name": PROJECT,
    "version": VERSION,
    "digest": DIGEST,
    "upload": DIGEST.saying("what beginning the upload answered"),
    "number": Integer(low=0, high=999_999_999, says="the place of the part in the segments"),
    "token_id": Integer(low=0, says="the id of the token"),
    "finding": Text(max_chars=200, min_chars=1, says="the id of the finding"),
    "host": Text(
        max_chars=60,
        pattern=HOST_PATTERN,
        parse=parse_host,
        says="the label of a host",
    ),
    "hook": Text(max_chars=24, min_chars=1, says="the id of a webhook"),
    "user_code": Text(max_chars=40, min_chars=1, says="the code that the other machine shows"),
    "user": Text(max_chars=100, min_chars=1, says="the name of a user", example="sara"),
    "role": Text(max_chars=90, min_chars=1, says="the name of a role", example="minds-lab"),
}
"""What stands between the slashes of an address, wherever it has that name."""


def described(action: str, says: str, **more: Any) -> Callable[[_View], _View]:
    """Describes a view, enforces the description, and names its action for the audit log."""
    description = Description(action=action, says=says, **more)

    def wrap(view: _View) -> _View:
        @wraps(view)
        def run(**address: Any) -> Any:
            _admit(description)
            for name, text in address.items():
                read_text(PATH[name], text, f"address: {name}")
            return view(**address)

        run.description = description  # type: ignore[attr-defined]
        return audited(action)(run)  # type: ignore[return-value]

    return wrap


def _admit(description: Description) -> None:
    """Refuses who may not call at all, before anything that they sent is looked at."""
    if description.caller == ANYBODY:
        return
    who = authenticated() if description.caller == TOKEN else known()
    needed = description.scopes
    if needed and who.identity is not None and not who.identity.scope.actions & set(needed):
        who.identity.require(needed[0])


def of_view(endpoint: str | None) -> Description | None:
    """The description of the view behind ``endpoint``; None where nobody described it."""
    view = current_app.view_functions.get(endpoint or "")
    return getattr(view, "description", None)


def _here() -> Description:
    found = of_view(request.endpoint)
    assert found is not None, f"{request.endpoint} has no description"
    return found


def request_body() -> dict[str, Any]:
    """The body of this request, as its description declares it: values of ours by name.

    Raises:
        RegistryError: not sent as JSON of a known length within the limit.
        MalformedError: something else than declared.
    """
    here = _here()
    assert here.body is not None
    values: dict[str, Any] = here.body.read(
        read_json(here.limit_bytes(registry().settings)).value, "request"
    )
    return values


def asked(name: str) -> Any:
    """The parameter ``name`` of the query. Raises `MalformedError` unless it is as declared."""
    return _here().query[name].read(name, request.args.get(name))


def body_limit() -> int:
    """The most bytes that the body of this request may have."""
    return _here().limit_bytes(registry().settings)


OF_MEMBERS: Final = (
    "organisation-not-found", "organisation-pending", "organisation-refused", "not-a-member",
    "role-too-low",
)  # fmt: skip
"""What is refused to whoever has not the role in an organisation that a route needs."""

_ALWAYS: Final = (
    "busy", "database-unavailable", "disk-full", "internal", "malformed", "storage-failed",
    "token-in-url", "too-many-requests",
)  # fmt: skip
_OF_TOKENS: Final = (
    "account-disabled", "token-expired", "token-invalid", "token-revoked", "too-many-failures",
)  # fmt: skip
_OF_BODIES: Final = (
    "length-required", "too-large", "too-many-transfers", "unsupported-media-type",
    "upload-interrupted",
)  # fmt: skip


def refusals_of(description: Description, method: str) -> list[str]:
    """Every code that the route may refuse a request with, sorted."""
    # "not-found": an address with an escaped slash in it is another address.
    found = {*_ALWAYS, "not-found", *description.refusals}
    if "verification-failed" in found:  # which `from_library` calls by these names where it can
        found |= {"digest-mismatch", "length-mismatch"}
    if description.caller != ANYBODY:
        found |= set(_OF_TOKENS)
    if description.caller == TOKEN:
        found.add("not-authenticated")
    if description.scopes:
        found.add("scope-missing")
    if description.body is not None or description.raw:
        found |= set(_OF_BODIES)
    if method in ("POST", "PUT", "DELETE"):
        found |= {"read-only"}
    return sorted(found)
