"""VEX in both forms: what they must say, and what comes back from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from forge_cli.errors import CODES, NOT_FOUND, ForgeError
from forge_cli.vex import FORMATS, Answer, Release, export, read

TYPES = (
    "false-positive", "mitigated", "not-affected", "no-fix-available", "wont-fix", "pending",
)  # fmt: skip
DIGEST = "a" * 64
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def finding(number: int, type_: str | None, **more: Any) -> dict[str, Any]:
    answer = None if type_ is None else {"type": type_, "text": f"because {number}"}
    return {
        "id": f"scanner:rule:{number:012x}", "scanner": "scanner", "severity": "high",
        "title": "os.system", "gone_at": None, "answer": answer, **more,
    }  # fmt: skip


def document(form: str, *findings: dict[str, Any]) -> dict[str, Any]:
    release = Release(
        component="lab/model", version="1.0.0", manifest_sha256=DIGEST, findings=findings
    )
    return export(form, release, "lab", AT)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("type_", TYPES)
def test_what_we_wrote_comes_back(form: str, type_: str) -> None:
    made = document(form, finding(1, type_))
    (answer,) = read(made, DIGEST)
    assert (answer.finding, answer.type) == ("scanner:rule:000000000001", type_)
    # OpenVEX has no place for the text of what is still looked into.
    assert answer.text == "because 1" or (form, type_) == ("openvex", "pending")


class TestOpenVex:
    """Of the specification of OpenVEX 0.2.0, "Document Struct Fields" and "Status Labels"."""

    def test_a_document(self) -> None:
        made = document("openvex", *(finding(at, type_) for at, type_ in enumerate(TYPES)))
        assert made["@context"] == "https://openvex.dev/ns/v0.2.0"
        assert made["@id"].startswith("urn:")
        assert {"author", "timestamp", "version", "statements"} <= made.keys()
        assert made["timestamp"] == "2026-01-31T12:00:00Z"

    @pytest.mark.parametrize("type_", [*TYPES, None])
    def test_a_statement(self, type_: str | None) -> None:
        (one,) = document("openvex", finding(1, type_))["statements"]
        assert one["vulnerability"]["name"] == "scanner:rule:000000000001"
        assert one["products"][0]["hashes"] == {"sha-256": DIGEST}
        if one["status"] == "not_affected":  # MUST have a justification or an impact statement
            assert one["justification"] in (
                "component_not_present", "vulnerable_code_not_present",
                "vulnerable_code_not_in_execute_path",
                "vulnerable_code_cannot_be_controlled_by_adversary",
                "inline_mitigations_already_exist",
            )  # fmt: skip
        elif one["status"] == "affected":  # MUST have an action statement
            assert one["action_statement"]
        else:
            assert one["status"] == "under_investigation"

    def test_there_is_none_without_a_statement(self) -> None:
        """OpenVEX 0.2: statements "MUST contain at least one"; CycloneDX may have none."""
        with pytest.raises(ForgeError, match="nothing was found in it") as refused:
            document("openvex")
        assert CODES[refused.value.code].exit_code == NOT_FOUND
        with pytest.raises(ForgeError, match="at least one statement"):
            read({"@context": "https://openvex.dev/ns/v0.2.0", "statements": []}, DIGEST)
        assert read(document("cyclonedx"), DIGEST) == []

    def test_what_is_gone_is_fixed(self) -> None:
        made = document("openvex", finding(1, "pending", gone_at="2026-01-01T00:00:00Z"))
        assert made["statements"][0]["status"] == "fixed"
        assert read(made, DIGEST) == []


OTHERS: dict[str, tuple[dict[str, Any], str | None]] = {
    "openvex, a mitigation": (
        {"status": "not_affected", "justification": "inline_mitigations_already_exist"},
        "mitigated",
    ),
    "openvex, code that is not there": (
        {"status": "not_affected", "justification": "component_not_present"}, "false-positive",
    ),
    "openvex, not affected": (
        {"status": "not_affected", "impact_statement": "never loaded"}, "not-affected",
    ),
    "openvex, affected": ({"status": "affected", "action_statement": "wait"}, "no-fix-available"),
    "openvex, fixed": ({"status": "fixed"}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_what_others_wrote_is_taken_for_the_nearest(case: str) -> None:
    said, type_ = OTHERS[case]
    statement = {"vulnerability": {"name": "X"}, "products": [{"@id": "pkg:generic/x"}], **said}
    found = read({"@context": "https://openvex.dev/ns/v0.2.0", "statements": [statement]}, DIGEST)
    assert [one.type for one in found] == ([] if type_ is None else [type_])


def test_cyclonedx_of_others() -> None:
    def made(**analysis: Any) -> list[Answer]:
        one = {"id": "X", "analysis": analysis, "affects": [{"ref": "y"}]}
        return read({"bomFormat": "CycloneDX", "vulnerabilities": [one]}, DIGEST)

    assert made(state="exploitable", response=["will_not_fix"])[0].type == "wont-fix"
    assert made(state="not_affected", justification="protected_at_runtime")[0].type == "mitigated"
    assert made(state="not_affected", detail="no path")[0] == Answer(
        finding="X", type="not-affected", text="no path"
    )
    assert made(state="resolved") == []


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_about_another_release_is_left_out(form: str) -> None:
    assert read(document(form, finding(1, "mitigated")), "b" * 64) == []


@pytest.mark.parametrize(
    "value",
    [[], {}, {"@context": "https://openvex.dev/ns/v0.2.0"},
     {"@context": "https://openvex.dev/ns/v0.2.0", "statements": ["x"]},
     {"@context": "https://openvex.dev/ns/v0.2.0", "statements": [{"status": "odd"}]},
     {"bomFormat": "CycloneDX", "vulnerabilities": [{"id": 1, "analysis": {}}]}],
)  # fmt: skip
def test_what_is_no_vex(value: Any) -> None:
    with pytest.raises(ForgeError, match="VEX: expected"):
        read(value, DIGEST)
