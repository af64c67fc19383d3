"""`/legacy/`: uploads by twine and uv publish, if the publisher has signed them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from facades import OTHER, Facades, facades
from server_fixtures import ORG, Built
from werkzeug.test import TestResponse
from wheels import library, sdist, wheel

from forge_server.services.callers import OPERATOR
from signing.signed_upload import PAYLOAD_TYPE, attestation_of

__all__ = ["facades"]


def signed(built: Built, **changes: Any) -> str:
    """The form field that `forge sign` makes clients send."""
    small = {
        hashlib.sha256(data).hexdigest(): base64.b64encode(data).decode()
        for path, data in built.files.items()
        if path == "forge.toml"
    }
    return f"[{attestation_of({**built.body(), 'files': small, **changes}).decode()}]"


def upload(
    facades: Facades,
    filename: str,
    data: bytes,
    attestations: str | None,
    *,
    token: str | None = None,
    user: str = "__token__",
    form: Mapping[str, str] | None = None,
) -> TestResponse:
    fields: dict[str, Any] = {
        ":action": "file_upload",
        "protocol_version": "1",
        "sha256_digest": hashlib.sha256(data).hexdigest(),
        "content": (io.BytesIO(data), filename),
        **(form or {}),
    }
    if attestations is not None:
        fields["attestations"] = attestations
    secret = base64.b64encode(f"{user}:{token or facades.sara.token}".encode()).decode()
    return facades.sara.flask.post(
        "/legacy/", data=fields, headers={"Authorization": f"Basic {secret}"}, buffered=True
    )


def refused(response: TestResponse, status: int, code: str) -> str:
    """The sentence of a refusal, where twine and where uv look for it."""
    assert (response.status_code, response.get_json()["code"]) == (status, code), response.text
    assert response.status.startswith(f"{status} forge: ")
    assert response.content_type == "application/problem+json"
    return str(response.get_json()["detail"])


def is_published(facades: Facades, name: str) -> bool:
    response = facades.get(f"/api/v1/components/{ORG}/{name}")
    return response.status_code == 200


def test_the_file_that_was_missing_publishes_the_release(facades: Facades) -> None:
    files = wheel("sent") | sdist("sent")
    built = library(facades.world, files, "sent")
    (first, data), (second, other) = files.items()
    waiting = upload(facades, first, data, signed(built))
    assert waiting.get_json() == {
        "state": "waiting", "release": f"{ORG}/sent==1.0.0", "missing": [second],
    }  # fmt: skip
    assert not is_published(facades, "sent")
    done = upload(facades, second, other, signed(built))
    assert done.get_json()["state"] == "published"
    shown = facades.sara.get(f"/api/v1/components/{ORG}/sent")
    assert shown["versions"][0]["manifest_sha256"] == built.manifest.digest
    assert first in facades.get("/simple/sent/").text
    # uv sends everything again when it is asked to.
    for filename, content in files.items():
        again = upload(facades, filename, content, None)
        assert (again.status_code, again.get_json()["state"]) == (200, "published")


def test_clients_write_the_attestation_anew(facades: Facades) -> None:
    files = wheel("anew")
    built = library(facades.world, files, "anew")
    items = [json.loads(item) for item in signed(built)[1:-1].splitlines()]
    odd = json.dumps([dict(reversed(item.items())) for item in items], indent=4)
    ((filename, data),) = files.items()
    assert upload(facades, filename, data, odd).get_json()["state"] == "published"


@pytest.mark.parametrize(
    "attestations",
    [None, "", "[]", '[{"version": 1, "verification_material": {}}]'],
    ids=["none", "empty", "empty-list", "of-another-system"],
)
def test_what_nobody_signed_is_refused_with_what_to_do(
    facades: Facades, attestations: str | None
) -> None:
    ((filename, data),) = wheel("unsigned").items()
    response = upload(facades, filename, data, attestations)
    assert "signature" in refused(response, 403, "unsigned-upload")
    assert "forge sign dist/*" in response.status
    assert not is_published(facades, "unsigned")


@pytest.mark.parametrize(
    "attestations",
    [
        "not json",
        "[1]",
        json.dumps([{"payloadType": PAYLOAD_TYPE, "payload": "!"}]),
        json.dumps([{"payloadType": PAYLOAD_TYPE, "payload": "e30="}]),
        json.dumps([{"payloadType": PAYLOAD_TYPE, "payload": "e30=", "more": 1}]),
        json.dumps([{"payloadType": PAYLOAD_TYPE, "payload": "e30="}] * 2),
        json.dumps([{}] * 21),
        "[" * 100_000,
    ],
    ids=["text", "number", "base64", "empty", "more", "two", "many", "deep"],
)
def test_what_is_no_offer_is_refused(facades: Facades, attestations: str) -> None:
    ((filename, data),) = wheel("malformed").items()
    refused(upload(facades, filename, data, attestations), 400, "malformed")


class TestWhatWasSignedDecides:
    def test_other_bytes_than_the_signed_ones(self, facades: Facades) -> None:
        built = library(facades.world, wheel("exact"), "exact")
        ((filename, other),) = wheel("exact", requires_python=">=3.1").items()
        detail = refused(upload(facades, filename, other, signed(built)), 422, "digest-mismatch")
        assert "which was signed" in detail

    def test_another_file_than_the_signed_ones(self, facades: Facades) -> None:
        built = library(facades.world, wheel("exact"), "exact")
        ((filename, data),) = wheel("stowaway").items()
        detail = refused(upload(facades, filename, data, signed(built)), 403, "unsigned-upload")
        assert "no file of" in detail

    def test_a_signature_by_an_unlisted_key(self, facades: Facades) -> None:
        world = facades.world
        built = library(world, wheel("forged"), "forged")
        stranger = world.signed(built.manifest, built.files, world.key("stranger"))
        ((filename, data),) = wheel("forged").items()
        response = upload(facades, filename, data, signed(built, bundle=stranger.bundle.decode()))
        refused(response, 422, "digest-mismatch")  # the role lists the other bundle
        roles = {**stranger.body()["roles"], ORG: built.body()["roles"][ORG]}
        response = upload(
            facades, filename, data, signed(built, bundle=stranger.bundle.decode(), roles=roles)
        )
        refused(response, 422, "verification-failed")
        assert not is_published(facades, "forged")
        digest = hashlib.sha256(data).hexdigest()
        assert facades.world.registry.blobs.missing([digest]) == {digest}  # nothing was stored

    def test_a_release_that_came_first_asks_for_a_new_signature(self, facades: Facades) -> None:
        world = facades.world
        facades.sara.publish(library(world, wheel("moved", "1.0.0"), "moved", "1.0.0"))
        late = library(world, wheel("moved", "1.1.0"), "moved", "1.1.0")
        facades.sara.publish(library(world, wheel("moved", "1.2.0"), "moved", "1.2.0"))
        ((filename, data),) = wheel("moved", "1.1.0").items()
        response = upload(facades, filename, data, signed(late))
        refused(response, 409, "role-version")

    def test_the_name_of_another_component(self, facades: Facades) -> None:
        facades.sara.publish(library(facades.world, wheel("owned"), "owned"))
        built = library(facades.world, wheel("owned", "2.0.0"), "thief", "2.0.0")
        ((filename, data),) = wheel("owned", "2.0.0").items()
        refused(upload(facades, filename, data, signed(built)), 409, "distribution-taken")


class TestWhoMay:
    @pytest.mark.parametrize(
        ("user", "token", "code"),
        [
            ("sara", None, "not-authenticated"),
            ("__token__", "forge_wrong", "token-invalid"),
            ("__token__", "pypi-of-another-site", "token-invalid"),
        ],
    )
    def test_a_token_is_needed(
        self, facades: Facades, user: str, token: str | None, code: str
    ) -> None:
        ((filename, data),) = wheel("token").items()
        response = upload(facades, filename, data, None, user=user, token=token)
        refused(response, 401, code)
        assert response.headers["WWW-Authenticate"].startswith("Basic")
        assert "forge_wrong" not in response.text

    def test_without_any_the_body_is_not_read(self, facades: Facades) -> None:
        response = facades.sara.flask.post("/legacy/", data=b"x", buffered=True)
        refused(response, 401, "not-authenticated")

    def test_it_must_belong_to_a_publisher_of_the_organisation(self, facades: Facades) -> None:
        stranger = facades.world.registry.accounts.add_user(
            OPERATOR, "stranger", token_name="t", expires_in_days=1
        )
        built = library(facades.world, wheel("guarded"), "guarded")
        ((filename, data),) = wheel("guarded").items()
        response = upload(facades, filename, data, signed(built), token=stranger)
        refused(response, 403, "not-a-member")

    def test_it_must_be_meant_for_the_component(self, facades: Facades) -> None:
        token = facades.world.token("sara", organisation=OTHER)
        built = library(facades.world, wheel("guarded"), "guarded")
        ((filename, data),) = wheel("guarded").items()
        refused(upload(facades, filename, data, signed(built), token=token), 403, "scope-missing")


@pytest.mark.parametrize(
    ("filename", "form"),
    [
        ("gov_demo-1.0.0.zip", {}),
        ("../gov_demo-1.0.0-py3-none-any.whl", {}),
        ("gov_demo-1.0.0-py3-none-any.whl", {":action": "submit"}),
    ],
    ids=["zip", "path", "action"],
)
def test_other_forms_are_refused(facades: Facades, filename: str, form: dict[str, str]) -> None:
    refused(upload(facades, filename, b"x", None, form=form), 400, "malformed")


def test_a_digest_that_is_not_the_files_is_refused(facades: Facades) -> None:
    ((filename, data),) = wheel("cut").items()
    response = upload(facades, filename, data, None, form={"sha256_digest": "0" * 64})
    refused(response, 422, "digest-mismatch")


def test_a_body_larger_than_any_blob_is_refused_unread(facades: Facades) -> None:
    secret = base64.b64encode(f"__token__:{facades.sara.token}".encode()).decode()
    response = facades.sara.flask.post(
        "/legacy/", headers={"Authorization": f"Basic {secret}"},
        environ_overrides={"CONTENT_LENGTH": str(2**50), "CONTENT_TYPE": "multipart/form-data"},
    )  # fmt: skip
    refused(response, 413, "too-large")


def test_another_body_is_refused(facades: Facades) -> None:
    secret = base64.b64encode(f"__token__:{facades.sara.token}".encode()).decode()
    response = facades.sara.flask.post(
        "/legacy/", json={}, headers={"Authorization": f"Basic {secret}"}, buffered=True
    )
    refused(response, 415, "unsupported-media-type")
    assert facades.get("/legacy/").status_code == 405
