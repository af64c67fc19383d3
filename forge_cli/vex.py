"""Findings and their answers in two forms of VEX, and answers read from either. Pure.

OpenVEX 0.2 (github.com/openvex/spec) and CycloneDX 1.6 VEX (ECMA-424). Both know fewer kinds of
answer than we do; which one it was stands in ``status_notes`` and in the analysis' ``detail``,
behind ``forge:``, so that what we wrote comes back as it was. What others wrote is taken for the
nearest kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from .errors import ForgeError

FORMATS: Final = ("openvex", "cyclonedx")
OPENVEX: Final = "https://openvex.dev/ns/v0.2.0"
_MARK: Final = "forge:"
_OPEN: Final[Mapping[str, tuple[str, str | None]]] = {
    "false-positive": ("not_affected", "vulnerable_code_not_present"),
    "not-affected": ("not_affected", "vulnerable_code_not_in_execute_path"),
    "mitigated": ("not_affected", "inline_mitigations_already_exist"),
    "no-fix-available": ("affected", None),
    "wont-fix": ("affected", None),
    "pending": ("under_investigation", None),
}
_CYCLONE: Final[Mapping[str, Mapping[str, Any]]] = {
    "false-positive": {"state": "false_positive"},
    "not-affected": {"state": "not_affected", "justification": "code_not_reachable"},
    "mitigated": {
        "state": "not_affected",
        "justification": "protected_by_mitigating_control",
    },
    "no-fix-available": {"state": "exploitable", "response": ["can_not_fix"]},
    "wont-fix": {"state": "exploitable", "response": ["will_not_fix"]},
    "pending": {"state": "in_triage"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What the document is about. ``findings`` are those of the registry's answer."""

    component: str
    version: str
    manifest_sha256: str
    findings: Sequence[Mapping[str, Any]]

    @property
    def purl(self) -> str:
        """A package URL: there is no type of ours."""
        return f"pkg:generic/{self.component}@{self.version}?checksum=sha256:{self.manifest_sha256}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer read from a document."""

    finding: str
    type: str
    text: str


def export(form: str, release: Release, author: str, now: datetime) -> dict[str, Any]:
    """The document in ``form``, one of `FORMATS`.

    Raises:
        ForgeError: ``nothing-to-state``: nothing was found, and ``form`` cannot say that.
    """
    if form == "openvex" and not release.findings:
        raise ForgeError(
            "nothing-to-state",
            f"{release.component}=={release.version}: nothing was found in it, and OpenVEX wants "
            "at least one statement: no document was written",
            hint="CycloneDX can say so: --format cyclonedx",
        )
    return (_openvex if form == "openvex" else _cyclonedx)(release, author, now)


def _openvex(release: Release, author: str, now: datetime) -> dict[str, Any]:
    return {
        "@context": OPENVEX,
        "@id": f"urn:forge:vex:{release.manifest_sha256}",
        "author": author,
        "timestamp": _instant(now),
        "version": 1,
        "statements": [_statement(release, one, now) for one in release.findings],
    }


def _statement(release: Release, finding: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    type_, text = _answer_of(finding)
    status, justification = _OPEN[type_]
    product = {"@id": release.purl, "hashes": {"sha-256": release.manifest_sha256}}
    statement: dict[str, Any] = {
        "vulnerability": {"name": str(finding["id"]), "description": str(finding["title"])},
        "timestamp": _instant(now),
        "products": [product],
        "status": "fixed" if finding.get("gone_at") else status,
        "status_notes": _MARK + type_,
    }
    if statement["status"] == "not_affected":
        statement |= {"justification": justification, "impact_statement": text}
    elif statement["status"] == "affected":
        statement["action_statement"] = text
    return statement


def _cyclonedx(release: Release, author: str, now: datetime) -> dict[str, Any]:
    org, _, name = release.component.partition("/")
    ref = release.purl
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": _instant(now),
            "authors": [{"name": author}],
            "component": {
                "type": "machine-learning-model", "bom-ref": ref, "group": org, "name": name,
                "version": release.version, "purl": ref,
                "hashes": [{"alg": "SHA-256", "content": release.manifest_sha256}],
            },
        },
        "vulnerabilities": [_vulnerability(ref, one) for one in release.findings],
    }  # fmt: skip


def _vulnerability(ref: str, finding: Mapping[str, Any]) -> dict[str, Any]:
    type_, text = _answer_of(finding)
    analysis: dict[str, Any] = {**_CYCLONE[type_], "detail": f"{_MARK}{type_} {text}".rstrip()}
    if finding.get("gone_at"):
        analysis = {"state": "resolved", "detail": "not found any more"}
    return {
        "id": str(finding["id"]),
        "source": {"name": str(finding["scanner"])},
        "ratings": [{"severity": str(finding["severity"]), "method": "other"}],
        "description": str(finding["title"]),
        "analysis": analysis,
        "affects": [{"ref": ref}],
    }


def _answer_of(finding: Mapping[str, Any]) -> tuple[str, str]:
    answer = finding.get("answer")
    if not isinstance(answer, Mapping) or answer.get("type") not in _OPEN:
        return "pending", "not answered yet"
    return str(answer["type"]), str(answer.get("text") or "no text")


def read(document: Any, manifest_sha256: str) -> list[Answer]:
    """The answers in a document of either form, about the release with that manifest.

    Statements about other products are left out, and so are those that say "fixed": whether it is,
    the next scan says.

    Raises:
        ForgeError: ``malformed``.
    """
    if not isinstance(document, dict):
        raise _malformed("an object", type(document).__name__)
    if str(document.get("@context", "")).startswith("https://openvex.dev/ns"):
        return _read_openvex(document, manifest_sha256)
    if document.get("bomFormat") == "CycloneDX":
        return _read_cyclonedx(document, manifest_sha256)
    raise _malformed("OpenVEX or CycloneDX", "another format")


def _read_openvex(document: dict[str, Any], manifest_sha256: str) -> list[Answer]:
    found = []
    statements = _objects(document, "statements")
    if not statements:  # OpenVEX 0.2: "MUST contain at least one"
        raise _malformed("at least one statement", "none")
    for statement in statements:
        status = statement.get("status")
        if status == "fixed" or not _is_about(statement.get("products"), manifest_sha256):
            continue
        vulnerability = statement.get("vulnerability")
        name = vulnerability.get("name") if isinstance(vulnerability, dict) else vulnerability
        types = {
            ("not_affected", "inline_mitigations_already_exist"): "mitigated",
            ("not_affected", "vulnerable_code_not_present"): "false-positive",
            ("not_affected", "component_not_present"): "false-positive",
        }
        plain = {
            "not_affected": "not-affected",
            "affected": "no-fix-available",
            "under_investigation": "pending",
        }
        nearest = types.get((str(status), str(statement.get("justification"))))
        type_ = _marked(statement.get("status_notes")) or nearest or plain.get(str(status))
        if not isinstance(name, str) or type_ is None:
            raise _malformed("a vulnerability's name and a status", repr(status))
        texts = (statement.get(key) for key in ("impact_statement", "action_statement"))
        text = next((each for each in texts if isinstance(each, str) and each.strip()), None)
        found.append(Answer(finding=name, type=type_, text=text or "stated in VEX"))
    return found


def _read_cyclonedx(document: dict[str, Any], manifest_sha256: str) -> list[Answer]:
    found = []
    for each in _objects(document, "vulnerabilities"):
        analysis = each.get("analysis")
        refs = each.get("affects")
        if not isinstance(analysis, dict) or not _is_about(refs, manifest_sha256):
            continue
        state, detail = str(analysis.get("state")), str(analysis.get("detail") or "")
        if state in ("resolved", "resolved_with_pedigree"):
            continue
        responses = analysis.get("response")
        kinds = {
            "false_positive": "false-positive",
            "not_affected": "mitigated"
            if str(analysis.get("justification")).startswith("protected_")
            else "not-affected",
            "exploitable": "wont-fix"
            if isinstance(responses, list) and "will_not_fix" in responses
            else "no-fix-available",
            "in_triage": "pending",
        }
        type_ = _marked(detail) or kinds.get(state)
        if not isinstance(each.get("id"), str) or type_ is None:
            raise _malformed("a vulnerability's id and a state", repr(state))
        text = detail.partition(" ")[2] if _marked(detail) else detail
        found.append(Answer(finding=each["id"], type=type_, text=text.strip() or "stated in VEX"))
    return found


def _is_about(products: Any, manifest_sha256: str) -> bool:
    """Whether one of the products carries the digest; where none carries any, the release that the
    person named is meant."""
    text = str(products)
    return manifest_sha256 in text or "sha256" not in text.replace("-", "")


def _marked(text: Any) -> str | None:
    if not isinstance(text, str) or not text.startswith(_MARK):
        return None
    type_ = text.removeprefix(_MARK).partition(" ")[0]
    return type_ if type_ in _OPEN else None


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = document.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _malformed(f"{key}, a list of objects", type(items).__name__)
    return items


def _malformed(expected: str, found: str) -> ForgeError:
    return ForgeError("malformed", f"VEX: expected {expected}, found {found}")


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
