"""The values of the pages as JSON, and the description of a component for search engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from typing import Any, Final

from packaging.version import Version

from signing.errors import SigningError
from signing.names import ComponentName

from ..api.rendering import instant
from ..search.base import Results
from ..services.assurance import Assurance
from ..services.tensors import MAX_TENSORS, FileHeader
from .views.component import Sheet

_SCHEMA_TYPES: Final = {"dataset": "Dataset"}


def plain(value: Any) -> Any:
    """Dataclasses as objects with their members' names, times by RFC 3339, the rest as it is."""
    if is_dataclass(value) and not isinstance(value, ComponentName):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(each) for each in value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(each) for each in value]
    return _leaf(value)


def _leaf(value: Any) -> Any:
    if isinstance(value, ComponentName | Version):
        return str(value)
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, SigningError):
        return {"code": value.code, "message": value.message, "hint": value.hint}
    return value


def component(found: Sheet) -> dict[str, Any]:
    """What every page of a component has at its head; ``release`` is the version that is shown."""
    details = plain(found.details)
    versions = details.pop("versions")
    return {
        **details,
        "owner": plain(found.owner),
        "release": plain(found.item),
        "states": list(found.standing.states),
        "usable": found.standing.usable,
        "assurance": assurance(found.assurance),
        "signing": plain(found.signing),
        "slow_seconds": found.slow_seconds,
        "versions": [each["version"] for each in versions],
    }


def assurance(known: Assurance) -> dict[str, Any]:
    """What is known beside the signature. ``assessment`` is as the server computes it; each
    decision names the signed bytes that say so."""
    value: dict[str, Any] = plain(known)
    for label in ("standing", "lapsed"):
        for one, shown in zip(
            getattr(known.assessment, label), value["assessment"][label], strict=True
        ):
            decision = one if label == "standing" else one.decision
            shown["envelope"] = None if decision is None else known.envelope(decision)
    return {
        **value,
        "open_findings": len(known.open_findings),
        "scan_state": known.scan_state,
        "scanned_at": plain(known.scanned_at),
    }


def results(found: Results) -> dict[str, Any]:
    """A page of hits with the facets."""
    value: dict[str, Any] = plain(found)
    return value


def tensors(found: FileHeader, first: int) -> dict[str, Any]:
    """The header of a model file; ``refused`` says why there is none."""
    value: dict[str, Any] = {"path": found.path, "sha256": found.sha256, "refused": found.refused}
    if found.header is not None:
        value |= {
            "format": found.header.format,
            "metadata": dict(found.header.metadata),
            "parameters": found.header.parameters,
            "total": len(found.header.tensors),
            "first": first,
            "tensors": plain(found.header.tensors[first : first + MAX_TENSORS]),
        }
    return value


def json_ld(found: Sheet, base: str, language: str) -> dict[str, Any]:
    """The component in the words of schema.org. What the publisher claims is said as its own;
    nothing here says that anybody looked at it."""
    details, item = found.details, found.item
    page = f"{base}{language}/{details.component}"
    known: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": _SCHEMA_TYPES.get(details.kind, "SoftwareApplication"),
        "@id": f"{base}{language}/{details.component}/{item.version}",
        "url": page,
        "name": details.component,
        "description": details.summary,
        "version": item.version,
        "identifier": f"sha256:{item.manifest_sha256}",
        "license": _licence(details.license),
        "inLanguage": list(details.languages),
        "keywords": [details.kind, *details.tasks],
        "datePublished": instant(item.published_at),
        "publisher": {
            "@type": "Organization",
            "@id": f"{base}{language}/{found.owner.name}",
            "name": found.owner.title(language),
            "areaServed": found.owner.region,
            "email": found.owner.contact,
        },
        "isAccessibleForFree": True,
    }
    if known["@type"] == "SoftwareApplication":
        known |= {
            "softwareVersion": item.version,
            "applicationCategory": details.kind,
            "fileSize": f"{item.size} B",
        }
    described: dict[str, Any] = _without_none(known)
    return described


def _licence(expression: str) -> str:
    """The address of a licence of the SPDX list; the expression where it is more than that."""
    simple = expression.replace("-", "").replace(".", "").isalnum()
    if simple and not expression.startswith("LicenseRef"):
        return f"https://spdx.org/licenses/{expression}.html"
    return expression


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each not in (None, [])}
    return value
