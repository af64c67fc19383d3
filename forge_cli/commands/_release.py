"""Arguments that name exactly one release."""

from __future__ import annotations

from packaging.version import Version

from signing.names import ComponentName, parse_version

from ..errors import UsageError


def parse_release(text: str) -> tuple[ComponentName, Version]:
    """``org/name==1.0.0``. Raises UsageError or MalformedError."""
    name, separator, version = text.partition("==")
    if not separator:
        raise UsageError(
            f"expected one release like org/name==1.0.0, found {text!r}",
            hint="see its versions: forge info ORG/NAME",
        )
    return ComponentName.parse(name.strip()), parse_version(version.strip())


def parse_releases(text: str) -> tuple[ComponentName, Version | None]:
    """``org/name==1.0.0``, or ``org/name`` for all of its releases. Raises MalformedError."""
    name, separator, version = text.partition("==")
    return (
        ComponentName.parse(name.strip()),
        parse_version(version.strip()) if separator else None,
    )
