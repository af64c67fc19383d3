"""Making the next version of a body's role: a statement more, or one withdrawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from tuf.api.metadata import TargetFile, Targets

from .bodies import body_of, parse_target_path, statements_in
from .digests import sha256_hex
from .errors import ConflictError
from .keys import SigningKey
from .role_edits import expiry, next_version, sign_role


def edit_reviews(
    current: bytes | None,
    role: str,
    *,
    add: Mapping[str, bytes] | None = None,
    drop: Iterable[str] = (),
    keys: Iterable[SigningKey],
    now: datetime,
) -> bytes:
    """The role ``reviews-<body>`` after ``current`` (None: its first version), with the envelopes
    ``add`` (``{target path: bytes}``) listed, replacing what has the same path, and the paths
    ``drop`` no longer. Without either it is only renewed.

    Raises:
        ConflictError: nothing of that path is there to be dropped (``nothing-changes``).
        VerificationError, MalformedError: what no body may list.
    """
    body = body_of(role)
    signed = (
        Targets(version=1, expires=expiry(now, "reviews"))
        if current is None
        else next_version(current, role, now)
    )
    for path in drop:
        if path not in signed.targets:
            raise ConflictError(
                "nothing-changes",
                f"{body}: nothing of it is listed as {path.removeprefix(f'reviews/{body}/')}",
                "what it signed is in: forge review show ORG/NAME==VERSION",
            )
        del signed.targets[path]
    for path, data in (add or {}).items():
        parse_target_path(path, body)
        signed.targets[path] = TargetFile(len(data), {"sha256": sha256_hex(data)}, path)
    statements_in(signed, body)
    return sign_role(signed, keys)
