"""What all façades have in common: none serves what is withheld, whoever withholds it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from facades import Facades, facades, publish_library, publish_model
from server_fixtures import ORG
from wheels import library, wheel

from forge_server.db.models import WheelMetadata
from forge_server.services.callers import OPERATOR
from signing.names import ComponentName

__all__ = ["facades"]

PAGES = {
    "pypi": "/simple/gov-demo/",
    "hub": f"/hf/{ORG}/demo/resolve/1.1.0/config.json",
    "hub-newest": f"/hf/{ORG}/demo/resolve/main/version.txt",
    "hub-list": "/hf/api/models?search=demo",
    "oci": f"/v2/{ORG}/demo/manifests/1.1.0",
    "oci-tags": f"/v2/{ORG}/demo/tags/list",
}


@pytest.fixture(scope="module")
def both(facades: Facades) -> Facades:
    publish_library(facades)
    for version in ("1.0.0", "1.1.0"):
        publish_model(facades, "demo", version)
    return facades


@pytest.fixture
def quarantined(both: Facades) -> Iterator[Facades]:
    """The newest of both is quarantined by the registry itself, without a word of anybody signed;
    every page was asked for before, so that it is kept wherever pages are kept."""
    for _ in range(2):
        everything(both)
    quarantine = both.world.registry.quarantine
    held = [("gov-demo", "1.2.0"), ("demo", "1.1.0")]
    for name, version in held:
        component = ComponentName.parse(f"{ORG}/{name}")
        assert quarantine.begin(OPERATOR, component, version, "somebody reported it")
    yield both
    for name, version in held:
        quarantine.end(OPERATOR, ComponentName.parse(f"{ORG}/{name}"), version, "it was wrong")


def everything(facades: Facades) -> dict[str, tuple[int, bytes]]:
    """What each page answers: its status and body."""
    answers = {name: facades.get(path) for name, path in PAGES.items()}
    found = {name: (answer.status_code, answer.data) for name, answer in answers.items()}
    found["hub-head"] = (facades.get(PAGES["hub"], "HEAD").status_code, b"")
    return found


def test_a_quarantine_by_the_registry_is_seen_at_once(quarantined: Facades) -> None:
    found = everything(quarantined)
    assert b"1.2.0" not in found["pypi"][1]
    assert b"1.1.0" in found["pypi"][1]
    assert found["hub"][0] == found["hub-head"][0] == found["oci"][0] == 404
    assert found["hub-newest"] == (200, b"1.0.0")
    assert b"1.1.0" not in found["oci-tags"][1]
    answer = quarantined.get(PAGES["hub"])
    assert answer.headers["X-Error-Code"] == "RevisionNotFound"
    assert "quarantined by the registry" in answer.headers["X-Error-Message"]


def test_and_so_is_that_it_is_lifted(both: Facades) -> None:
    found = everything(both)
    assert b"1.2.0" in found["pypi"][1]
    assert {found[name][0] for name in ("hub", "hub-head", "oci")} == {200}
    assert found["hub-newest"] == (200, b"1.1.0")
    assert b"1.1.0" in found["oci-tags"][1]


def test_nothing_of_what_was_taken_down_is_left(both: Facades) -> None:
    """Not even what was read out of the wheel; the other files of the project are still there."""
    for version in ("1.0.0", "2.0.0"):
        both.sara.publish(library(both.world, wheel("gone", version), "gone", version))
    before = both.get("/simple/gone/").text
    assert "gone-2.0.0" in before
    ((filename, data),) = wheel("gone", "2.0.0").items()
    digest = hashlib.sha256(data).hexdigest()
    component = ComponentName.parse(f"{ORG}/gone")
    both.world.registry.takedown.remove(OPERATOR, component, "2.0.0", "a court", "order 12/26")
    page = both.get("/simple/gone/").text
    assert "gone-2.0.0" not in page
    assert "gone-1.0.0" in page
    for suffix in ("", ".metadata"):
        refused = both.get(f"/simple/-/files/{digest}/{filename}{suffix}")
        assert refused.status_code == 404
        assert "taken down: a court" in refused.status
    with both.world.registry.database.read() as session:
        assert session.get(WheelMetadata, digest) is None
    # The name and the file name stay taken: nobody can put something else in their place.
    other = wheel("gone", "2.0.0", files={"gone/x.py": b"x"})
    built = library(both.world, other, "gone", "3.0.0")
    both.sara.put_blobs(built)
    both.sara.post("/api/v1/releases", built.body(), code="distribution-taken")
