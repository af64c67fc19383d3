"""Everything signed that speaks for one release, in one file that travels with it.

The bytes are kept exactly as they were signed. With the pinned fingerprint, they are enough to
verify the release years later without a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from .encoding import Fields, canonical_json, parse_json
from .errors import MalformedError
from .reviews import BodyWord

_TEXTS = ("targets", "registrar", "organisation", "project", "manifest", "bundle")
_OPTIONAL = ("log_proof", "status")
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"
_WHERE = "evidence"
MAX_EVIDENCE_BYTES = 160 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The chain from the pinned root down to one release.

    ``roots`` begins with the pinned root, each further one following by one version.
    ``log_proof`` shows that the project's role stands in the public log (c2sp.org/tlog-proof);
    None where the registry keeps no log. ``status`` is the status host's role, None where the
    authority names no such host. ``reviews`` is what reviewer bodies say of it, None where that
    was not asked for. ``refreshed_at`` is when the registry last vouched that all this was current:
    what this machine noted itself, not something anybody signed.
    """

    roots: tuple[bytes, ...]
    targets: bytes
    registrar: bytes
    organisation: bytes
    project: bytes
    manifest: bytes
    bundle: bytes
    refreshed_at: datetime | None
    log_proof: bytes | None = None
    status: bytes | None = None
    reviews: tuple[BodyWord, ...] | None = None

    def to_json(self) -> bytes:
        """The evidence as one JSON file; `from_json` reads it back to the same bytes."""
        value: dict[str, object] = {name: getattr(self, name).decode() for name in _TEXTS}
        value["schema"] = 1
        value["roots"] = [root.decode() for root in self.roots]
        for name in _OPTIONAL:
            if (data := getattr(self, name)) is not None:
                value[name] = data.decode()
        if self.reviews is not None:
            value["reviews"] = [
                {
                    "role": word.role,
                    "data": word.data.decode(),
                    "envelopes": {path: data.decode() for path, data in word.envelopes.items()},
                }
                for word in self.reviews
            ]
        if self.refreshed_at is not None:
            value["refreshed_at"] = self.refreshed_at.astimezone(UTC).strftime(_INSTANT)
        return canonical_json(value)

    @classmethod
    def from_json(cls, data: bytes) -> Evidence:
        """Reads what `to_json` wrote. Nothing in it is verified here.

        Raises:
            MalformedError: another form.
        """
        fields = Fields.of(parse_json(data, _WHERE, max_bytes=MAX_EVIDENCE_BYTES), _WHERE)
        fields.only(("schema", "roots", *_TEXTS), optional=["refreshed_at", "reviews", *_OPTIONAL])
        if fields.integer("schema") != 1:
            raise MalformedError(f"{_WHERE}: schema", "1", fields.integer("schema"))
        roots = fields.texts("roots", max_items=1000)
        if not roots:
            raise MalformedError(f"{_WHERE}: roots", "a root", "none")
        texts = {name: fields.text(name, max_chars=MAX_EVIDENCE_BYTES).encode() for name in _TEXTS}
        optional = {
            name: fields.text(name, max_chars=MAX_EVIDENCE_BYTES).encode()
            for name in _OPTIONAL
            if name in fields.value
        }
        return cls(
            roots=tuple(root.encode() for root in roots),
            refreshed_at=_instant(fields.optional_text("refreshed_at")),
            reviews=_words(fields) if "reviews" in fields.value else None,
            **texts,
            **optional,
        )


def _words(fields: Fields) -> tuple[BodyWord, ...]:
    words = []
    for item in fields.objects("reviews"):
        item.only(("role", "data", "envelopes"))
        envelopes = item.object("envelopes")
        words.append(
            BodyWord(
                role=item.text("role"),
                data=item.text("data", max_chars=MAX_EVIDENCE_BYTES).encode(),
                envelopes={
                    path: envelopes.text(path, max_chars=MAX_EVIDENCE_BYTES).encode()
                    for path in envelopes.value
                },
            )
        )
    return tuple(words)


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, _INSTANT).replace(tzinfo=UTC)
    except ValueError:
        raise MalformedError(f"{_WHERE}: refreshed_at", "an instant", text) from None
