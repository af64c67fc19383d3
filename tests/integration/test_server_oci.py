"""`/v2/`: every component as an OCI repository that can be pulled from."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from facades import MODEL_FILES, OTHER, Facades, facades, publish_model
from reviewing import Bodies
from server_fixtures import ORG
from sqlalchemy import update

from forge_server.compat import oci_artifacts, oci_manifests
from forge_server.compat.releases import FacadeReleases
from forge_server.db.models import ReviewStatement
from forge_server.services.callers import OPERATOR
from signing.names import ComponentName
from signing.review import PREDICATE_TYPE

__all__ = ["facades"]

DEMO = f"/v2/{ORG}/demo"
NO_DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def oci(facades: Facades) -> Facades:
    for version in ("1.0.0", "1.1.0", "1.10.0"):
        publish_model(facades, "demo", version)
    publish_model(facades, "other", "1.0.0")
    return facades


def refused(facades: Facades, path: str, status: int, code: str, method: str = "GET") -> str:
    """The message of a refusal, which has the form that clients read."""
    response = facades.get(path, method)
    assert response.status_code == status, (path, response.data)
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    (error,) = response.get_json()["errors"]
    assert error["code"] == code
    return str(error["message"])


def manifest(facades: Facades, reference: str, name: str = "demo") -> tuple[Any, str]:
    response = facades.get(f"/v2/{ORG}/{name}/manifests/{reference}")
    assert response.status_code == 200, response.data
    digest = hashlib.sha256(response.data).hexdigest()
    assert response.headers["Docker-Content-Digest"] == f"sha256:{digest}"
    assert response.content_type == oci_manifests.MANIFEST
    return json.loads(response.data), f"sha256:{digest}"


def test_there_is_a_registry(oci: Facades) -> None:
    for method in ("GET", "HEAD"):
        response = oci.get("/v2/", method)
        assert response.status_code == 200
        assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert oci.get("/v2/").data == b"{}"


def test_a_release_is_an_artifact_of_its_files(oci: Facades) -> None:
    value, digest = manifest(oci, "1.1.0")
    assert value["artifactType"] == oci_manifests.RELEASE
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in value["layers"]]
    assert titles == sorted([*MODEL_FILES, "forge.toml", "version.txt"])
    shown = oci.sara.get(f"/api/v1/components/{ORG}/demo")["versions"]
    (row,) = (one for one in shown if one["version"] == "1.1.0")
    assert value["config"]["digest"] == f"sha256:{row['manifest_sha256']}"
    for part in (value["config"], *value["layers"]):
        got = oci.get(f"{DEMO}/blobs/{part['digest']}")
        assert hashlib.sha256(got.data).hexdigest() == part["digest"].removeprefix("sha256:")
        assert len(got.data) == part["size"]
        assert got.headers["Docker-Content-Digest"] == part["digest"]
    assert manifest(oci, digest) == (value, digest)


def test_the_newest_is_latest(oci: Facades) -> None:
    assert manifest(oci, "latest") == manifest(oci, "1.10.0")


def test_its_bytes_are_the_same_after_a_restart(oci: Facades) -> None:
    before = manifest(oci, "1.0.0")
    oci.world.registry.oci._kept._answers.clear()
    oci.world.registry.facade_releases._files._answers.clear()
    assert manifest(oci, "1.0.0") == before


def test_head_is_get_without_a_body(oci: Facades) -> None:
    value, digest = manifest(oci, "1.0.0")
    layer = value["layers"][0]["digest"]
    for path in (f"/manifests/{digest}", "/manifests/1.0.0", f"/blobs/{layer}", "/tags/list"):
        head, whole = oci.get(DEMO + path, "HEAD"), oci.get(DEMO + path)
        assert (head.status_code, head.data) == (200, b"")
        for name in ("Content-Length", "Content-Type", "Docker-Content-Digest"):
            assert head.headers.get(name) == whole.headers.get(name)


def test_a_manifest_by_tag_is_asked_for_again(oci: Facades) -> None:
    by_tag = oci.get(f"{DEMO}/manifests/1.0.0")
    assert by_tag.headers["Cache-Control"] == "no-cache"
    again = oci.get(f"{DEMO}/manifests/1.0.0", If_None_Match=by_tag.headers["ETag"])
    assert again.status_code == 304
    by_digest = oci.get(f"{DEMO}/manifests/{by_tag.headers['Docker-Content-Digest']}")
    assert "immutable" in by_digest.headers["Cache-Control"]


def test_ranges_of_blobs(oci: Facades) -> None:
    data = MODEL_FILES["model.bin"]
    path = f"{DEMO}/blobs/sha256:{hashlib.sha256(data).hexdigest()}"
    part = oci.get(path, Range="bytes=100-199")
    assert (part.status_code, part.data) == (206, data[100:200])
    assert oci.get(path, Range=f"bytes={len(data)}-").status_code == 416


def test_the_signature_refers_to_its_release(oci: Facades) -> None:
    _, digest = manifest(oci, "1.0.0")
    response = oci.get(f"{DEMO}/referrers/{digest}")
    assert response.content_type == oci_manifests.INDEX
    (found,) = response.get_json()["manifests"]
    assert found["artifactType"] == oci_manifests.SIGNATURE
    value, own = manifest(oci, found["digest"])
    assert own == found["digest"]
    assert value["subject"]["digest"] == digest
    assert oci.get(f"{DEMO}/blobs/{value['config']['digest']}").data == b"{}"
    bundle = json.loads(oci.get(f"{DEMO}/blobs/{value['layers'][0]['digest']}").data)
    assert bundle["mediaType"] == oci_manifests.SIGNATURE
    for plus in ("+", "%2B"):
        kind = oci_manifests.SIGNATURE.replace("+", plus)
        chosen = oci.get(f"{DEMO}/referrers/{digest}?artifactType={kind}")
        assert chosen.headers["OCI-Filters-Applied"] == "artifactType"
        assert len(chosen.get_json()["manifests"]) == 1
    assert oci.get(f"{DEMO}/referrers/{digest}?artifactType=x").get_json()["manifests"] == []
    for other in (NO_DIGEST, own):  # an empty list, never 404
        assert oci.get(f"{DEMO}/referrers/{other}").get_json()["manifests"] == []
    refused(oci, f"{DEMO}/referrers/sha256:1", 400, "DIGEST_INVALID")


def test_tags_and_the_catalogue_come_in_pages(oci: Facades) -> None:
    assert oci.get(f"{DEMO}/tags/list").get_json() == {
        "name": f"{ORG}/demo", "tags": ["1.0.0", "1.1.0", "1.10.0"],
    }  # fmt: skip
    for first, member, every in (
        (f"{DEMO}/tags/list?n=2", "tags", ["1.0.0", "1.1.0", "1.10.0"]),
        ("/v2/_catalog?n=1", "repositories", [f"{ORG}/demo", f"{ORG}/other"]),
    ):
        path, found = first, list[str]()
        for _ in range(5):
            response = oci.get(path)
            found += response.get_json()[member]
            if "Link" not in response.headers:
                break
            path = response.headers["Link"].partition(">")[0].removeprefix("<")
        assert found == every
    assert oci.get(f"{DEMO}/tags/list?n=0").get_json()["tags"] == []
    refused(oci, f"{DEMO}/tags/list?n=-1", 400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/v2/{ORG}/nobody/tags/list", "NAME_UNKNOWN"),
        (f"/v2/{OTHER}/demo/manifests/1.0.0", "NAME_UNKNOWN"),
        (f"/v2/{ORG}/%2e%2e/manifests/1.0.0", "NAME_UNKNOWN"),
        (f"{DEMO}/manifests/9.9", "MANIFEST_UNKNOWN"),
        (f"{DEMO}/manifests/{NO_DIGEST}", "MANIFEST_UNKNOWN"),
        (f"{DEMO}/manifests/sha256:..", "MANIFEST_UNKNOWN"),
        (f"{DEMO}/manifests/%00", "MANIFEST_UNKNOWN"),
        (f"{DEMO}/blobs/{NO_DIGEST}", "BLOB_UNKNOWN"),
        (f"{DEMO}/blobs/sha512:{'0' * 128}", "BLOB_UNKNOWN"),
        (f"{DEMO}/blobs/%2e%2e%2f%2e%2e%2fserver.toml", "NAME_UNKNOWN"),
        ("/v2/demo/manifests/1.0.0", "NAME_UNKNOWN"),
    ],
)
def test_what_is_not_there(oci: Facades, path: str, code: str) -> None:
    assert refused(oci, path, 404, code).startswith("forge: ")


def test_blobs_of_another_component_are_not_in_this_one(oci: Facades) -> None:
    value, _ = manifest(oci, "1.0.0", "other")
    own = value["config"]["digest"]
    assert oci.get(f"/v2/{ORG}/other/blobs/{own}").status_code == 200
    refused(oci, f"{DEMO}/blobs/{own}", 404, "BLOB_UNKNOWN")


def test_a_blob_is_looked_up_and_not_looked_for(
    oci: Facades, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may ask for any digest of a component that has a thousand releases."""
    value, _ = manifest(oci, "1.0.0")
    layer = value["layers"][0]["digest"]

    def read_all(*_: object) -> None:
        raise AssertionError("all files of a release were read")

    monkeypatch.setattr(FacadeReleases, "files", read_all)
    assert oci.get(f"{DEMO}/blobs/{layer}").status_code == 200
    refused(oci, f"{DEMO}/blobs/{NO_DIGEST}", 404, "BLOB_UNKNOWN")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/blobs/uploads/"), ("PUT", "/manifests/1.0.0"), ("PATCH", "/blobs/uploads/x"),
        ("DELETE", "/manifests/1.0.0"), ("DELETE", f"/blobs/{NO_DIGEST}"),
    ],
)  # fmt: skip
def test_every_write_is_refused_with_a_sentence(oci: Facades, method: str, path: str) -> None:
    message = refused(oci, DEMO + path, 405, "UNSUPPORTED", method)
    assert "forge publish" in message


@pytest.fixture(scope="module")
def bodies(oci: Facades) -> Bodies:
    made = Bodies(oci.world)
    for body, title in (("cert", "National CERT"), ("lab", "Lab")):
        made.name(body, title)
    return made


class TestReviews:
    def reviews(self, oci: Facades, name: str, version: str = "1.0.0") -> list[dict[str, Any]]:
        _, digest = manifest(oci, version, name)
        kind = quote(oci_manifests.REVIEW, safe="")
        path = f"/v2/{ORG}/{name}/referrers/{digest}?artifactType={kind}"
        found: list[dict[str, Any]] = oci.get(path).get_json()["manifests"]
        return found

    def test_refer_to_their_release(self, oci: Facades, bodies: Bodies) -> None:
        for version in ("1.0.0", "1.1.0"):
            publish_model(oci, "reviewed", version)
        sha256 = bodies.decide("cert", f"{ORG}/reviewed", "1.0.0")
        rejected = bodies.decide("lab", f"{ORG}/reviewed", "1.0.0", passed=False)
        assert self.reviews(oci, "reviewed", "1.1.0") == []
        found = {
            one["annotations"]["forge.review.body"]: one for one in self.reviews(oci, "reviewed")
        }
        said = {body: one["annotations"]["forge.review.result"] for body, one in found.items()}
        assert said == {"cert": "PASSED", "lab": "FAILED"}
        assert found["cert"]["annotations"]["forge.review.level"] == "2"
        assert found["cert"]["annotations"]["in-toto.io/predicate-type"] == PREDICATE_TYPE
        for body, digest in (("cert", sha256), ("lab", rejected)):
            value, own = manifest(oci, found[body]["digest"], "reviewed")
            assert (own, value["subject"]["digest"]) == (
                found[body]["digest"], manifest(oci, "1.0.0", "reviewed")[1],
            )  # fmt: skip
            (layer,) = value["layers"]
            assert (layer["digest"], layer["mediaType"]) == (
                f"sha256:{digest}", oci_manifests.ENVELOPE,
            )  # fmt: skip
            envelope = oci.get(f"/v2/{ORG}/reviewed/blobs/sha256:{digest}").data
            assert hashlib.sha256(envelope).hexdigest() == digest
            assert json.loads(envelope)["payloadType"] == oci_manifests.REVIEW
        assert len(oci.get(f"/v2/{ORG}/reviewed/referrers/{manifest(oci, '1.0.0', 'reviewed')[1]}")
                   .get_json()["manifests"]) == 3  # fmt: skip

    def test_what_a_body_withdraws_is_gone(self, oci: Facades, bodies: Bodies) -> None:
        publish_model(oci, "withdrawn", "1.0.0")
        sha256 = bodies.decide("cert", f"{ORG}/withdrawn", "1.0.0")
        (one,) = self.reviews(oci, "withdrawn")
        bodies.withdraw("cert", f"{ORG}/withdrawn", "1.0.0")
        assert self.reviews(oci, "withdrawn") == []
        refused(oci, f"/v2/{ORG}/withdrawn/manifests/{one['digest']}", 404, "MANIFEST_UNKNOWN")
        refused(oci, f"/v2/{ORG}/withdrawn/blobs/sha256:{sha256}", 404, "BLOB_UNKNOWN")

    def test_what_a_revoked_key_signed_is_gone(self, oci: Facades, bodies: Bodies) -> None:
        publish_model(oci, "unsound", "1.0.0")
        bodies.name("late", "Late")
        bodies.decide("late", f"{ORG}/unsound", "1.0.0")
        assert len(self.reviews(oci, "unsound")) == 1
        bodies.revoke("late")
        assert self.reviews(oci, "unsound") == []

    def test_what_has_expired_says_so(self, oci: Facades, bodies: Bodies) -> None:
        publish_model(oci, "expired", "1.0.0")
        bodies.decide("cert", f"{ORG}/expired", "1.0.0", days=1)
        before = self.reviews(oci, "expired")
        oci.world.clock.ahead += timedelta(days=2)
        try:
            assert self.reviews(oci, "expired") == before
            ends = datetime.fromisoformat(before[0]["annotations"]["forge.review.expires"])
            assert ends < oci.world.clock()
        finally:
            oci.world.clock.ahead -= timedelta(days=2)

    def test_what_is_not_announced_yet_is_not_there(self, oci: Facades, bodies: Bodies) -> None:
        publish_model(oci, "unannounced", "1.0.0")
        bodies.decide("cert", f"{ORG}/unannounced", "1.0.0")
        with oci.world.registry.database.write() as session:
            session.execute(
                update(ReviewStatement)
                .where(ReviewStatement.component == f"{ORG}/unannounced")
                .values(stored_at=None)
            )
        assert self.reviews(oci, "unannounced") == []

    def test_nothing_of_a_withheld_release(self, oci: Facades, bodies: Bodies) -> None:
        publish_model(oci, "held", "1.0.0")
        sha256 = bodies.decide("cert", f"{ORG}/held", "1.0.0")
        _, digest = manifest(oci, "1.0.0", "held")
        (one,) = self.reviews(oci, "held")
        oci.world.registry.quarantine.begin(
            OPERATOR, ComponentName.parse(f"{ORG}/held"), "1.0.0", "looking into it"
        )
        assert oci.get(f"/v2/{ORG}/held/referrers/{digest}").get_json()["manifests"] == []
        refused(oci, f"/v2/{ORG}/held/manifests/{one['digest']}", 404, "MANIFEST_UNKNOWN")
        refused(oci, f"/v2/{ORG}/held/blobs/sha256:{sha256}", 404, "BLOB_UNKNOWN")


class TestWithheldAndYanked:
    def test_nothing_of_a_withheld_release_is_served(self, oci: Facades) -> None:
        publish_model(oci, "stopped", "1.0.0")
        publish_model(oci, "stopped", "1.1.0")
        stopped = f"/v2/{ORG}/stopped"
        value, digest = manifest(oci, "1.1.0", "stopped")
        old, _ = manifest(oci, "1.0.0", "stopped")
        (signature,) = oci.get(f"{stopped}/referrers/{digest}").get_json()["manifests"]
        oci.withhold("stopped", "1.1.0")
        message = refused(oci, f"{stopped}/manifests/1.1.0", 404, "MANIFEST_UNKNOWN")
        assert "it phones home" in message
        for reference in (digest, signature["digest"]):
            refused(oci, f"{stopped}/manifests/{reference}", 404, "MANIFEST_UNKNOWN")
        refused(oci, f"{stopped}/blobs/{value['config']['digest']}", 404, "BLOB_UNKNOWN")
        assert oci.get(f"{stopped}/referrers/{digest}").get_json()["manifests"] == []
        shared = {layer["digest"] for layer in value["layers"]}
        for layer in shared:
            kept = layer in {one["digest"] for one in old["layers"]}
            assert oci.get(f"{stopped}/blobs/{layer}").status_code == (200 if kept else 404)
        assert oci.get(f"{stopped}/tags/list").get_json()["tags"] == ["1.0.0"]
        assert manifest(oci, "latest", "stopped")[0] == old

    def test_a_yanked_version_is_not_the_latest(self, oci: Facades) -> None:
        publish_model(oci, "yanking", "1.0.0")
        publish_model(oci, "yanking", "1.1.0")
        oci.yank("yanking", "1.1.0", "old")
        assert manifest(oci, "latest", "yanking") == manifest(oci, "1.0.0", "yanking")
        assert manifest(oci, "1.1.0", "yanking")
        oci.yank("yanking", "1.0.0", "older")
        message = refused(oci, f"/v2/{ORG}/yanking/manifests/latest", 404, "MANIFEST_UNKNOWN")
        assert "yanked" in message


def test_a_release_of_too_many_files_is_sent_to_forge_install(
    oci: Facades, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_artifacts, "MAX_BYTES", 1000)
    message = refused(oci, f"{DEMO}/manifests/1.0.0", 404, "MANIFEST_UNKNOWN")
    assert f"forge install {ORG}/demo==1.0.0" in message
