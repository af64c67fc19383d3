"""How programs name a release and a file in it: ``org/name@1.2.0``, ``forge://org/name@1.2.0/path``.

What stands behind ``@`` is a version or a range; without one it is the newest version that may be
used. ``org/name==1.2.0`` and ``org/name>=1,<2``, as commands take them, mean the same. Nothing is
decoded: a path is the one in the manifest, letter by letter.
"""

from __future__ import annotations

from typing import Final

from packaging.specifiers import SpecifierSet

from signing.errors import MalformedError
from signing.names import ComponentName, Requirement, parse_specifier, parse_version
from signing.paths import check_path

PROTOCOL: Final = "forge"
_SCHEME: Final = f"{PROTOCOL}://"
_RANGE: Final = "<>=!~"


def parse_reference(text: str, where: str = "release") -> Requirement:
    """``text`` as a component and the versions of it that will do. Raises MalformedError."""
    name, at, version = text.partition("@")
    if not at:
        return Requirement.parse(text, where)
    component = ComponentName.parse(name, where)
    if version and version[0] in _RANGE:
        return Requirement(component, parse_specifier(version, where))
    try:
        return Requirement(component, SpecifierSet(f"=={parse_version(version, where)}"))
    except MalformedError as error:
        error.hint = error.hint or f"without @{version} it is the newest that may be used"
        raise


def split_url(url: str) -> tuple[str, str]:
    """``(reference, path)`` of a ``forge://`` URL, with or without its scheme; ``path`` is empty
    where it names the whole release. Raises MalformedError."""
    organisation, _, rest = url.removeprefix(_SCHEME).partition("/")
    name, _, path = rest.partition("/")
    if not organisation or not name or set(organisation) & set(".:@"):
        raise MalformedError(
            "address",
            f"{_SCHEME}organisation/name@version/path",
            url,
            "it names no registry: which one is asked is FORGE_URL, or the option `registry`",
        )
    path = path.rstrip("/")
    return f"{organisation}/{name}", check_path(path, "path") if path else ""
