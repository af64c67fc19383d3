"""A registry whose blobs and published files live in an object store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3
from ceph_node import CephNode
from gunicorn.http.wsgi import FileWrapper
from s3_proxy import S3Proxy
from server_fixtures import ORG, Client, World, client, sara
from stored_worlds import StoredWorld, make_stored_world

from forge_server.app import create_app
from forge_server.errors import RegistryError
from forge_server.operate.check import check_registry
from forge_server.operate.initialise import initialise
from forge_server.operate.serve import prepare
from forge_server.settings import DataFolder
from storage import BackendError

__all__ = ["client", "sara"]
BIG = bytes(range(256)) * 4096 * 6  # 6 MiB: more than one part of nothing, and one range of it


@pytest.fixture(scope="module")
def first(ceph: CephNode, tmp_path_factory: pytest.TempPathFactory) -> StoredWorld:
    return make_stored_world(ceph, tmp_path_factory.mktemp("first"), files={"big.bin": BIG})


@pytest.fixture
def world(first: StoredWorld, bucket: str, tmp_path: Path) -> Iterator[World]:
    copied = first.copy(tmp_path, bucket)
    yield copied
    copied.close()


@pytest.fixture
def blob() -> str:
    """The digest of a published blob."""
    return hashlib.sha256(BIG).hexdigest()


def streaming(world: World) -> Client:
    """A client of the same registry where blobs pass through the server."""
    settings = replace(world.registry.settings, redirect_blobs=False)
    return Client(create_app(world.registry.differing(settings=settings)).test_client())


def test_nothing_of_it_is_in_the_data_folder(
    ceph: CephNode, world: World, bucket: str, blob: str
) -> None:
    assert list((world.root / "blobs").iterdir()) == []
    assert list((world.root / "public").iterdir()) == []
    listed = ceph.client().list_objects_v2(Bucket=bucket)["Contents"]
    keys = {item["Key"] for item in listed}
    assert f"blobs/{blob[:2]}/{blob}" in keys
    assert {"tuf/timestamp.json", "tuf/1.root.json", "tuf/log/checkpoint"} <= keys
    assert check_registry(world.registry, deep=True).problems == ()


@pytest.mark.parametrize("fault", ["reset", "stall"])
def test_whether_it_is_ready_is_asked_of_the_store_once(
    ceph: CephNode, world: World, fault: str
) -> None:
    """Who asks that has no time for the attempts and pauses that move files safely."""
    with S3Proxy(ceph.endpoint) as proxy:
        settings = DataFolder(world.root).settings
        settings.write_text(settings.read_text().replace(ceph.endpoint, proxy.url))
        client = Client(create_app(world.registry).test_client())
        assert client.get("/readyz", expect=200)["ready"]
        proxy.reset(lambda *_: fault)
        said = client.get("/readyz", expect=503)
        assert (said["parts"], len(proxy.seen)) == (
            {"database": True, "published": False, "blobs": False}, 2,
        )  # fmt: skip
    blobs: Any = world.registry.probed.blobs  # of a store on S3, here
    config = blobs._bucket._client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (1, 1)


class TestBlobs:
    def test_a_reader_is_sent_to_the_store(self, sara: Client, blob: str) -> None:
        with sara.flask.get(f"/blobs/{blob}") as answer:
            assert answer.status_code == 302
            assert answer.headers["Cache-Control"] == "no-store"
            location = answer.headers["Location"]
        got = urllib3.request("GET", location, headers={"Range": "bytes=1000-1999"})
        assert (got.status, got.data) == (206, BIG[1000:2000])
        whole = urllib3.request("GET", location)
        assert (whole.status, whole.data == BIG) == (200, True)
        assert whole.headers["Content-Type"] == "application/octet-stream"
        assert whole.headers["Content-Disposition"].startswith("attachment")

    def test_the_address_is_for_this_blob_and_for_reading_alone(
        self, sara: Client, blob: str
    ) -> None:
        with sara.flask.get(f"/blobs/{blob}") as answer:
            location = answer.headers["Location"]
        other = hashlib.sha256(b"other").hexdigest()
        moved = location.replace(blob, other)
        longer = location.replace("X-Amz-Expires=900", "X-Amz-Expires=9000")
        assert moved != location
        assert longer != location
        for method, url in [("GET", moved), ("GET", longer), ("PUT", location)]:
            assert urllib3.request(method, url).status == 403, (method, url)
        assert urllib3.request("DELETE", location).status == 403

    def test_the_address_expires(self, world: World, blob: str) -> None:
        url = world.registry.blobs.redirect_url(blob, 1)
        assert url is not None
        while urllib3.request("GET", url, preload_content=False).status == 200:
            pass

    @pytest.mark.parametrize("digest", ["a" * 64, "x", hashlib.sha256(b"unpublished").hexdigest()])
    def test_what_is_not_published_has_no_address(
        self, world: World, sara: Client, digest: str
    ) -> None:
        sara.call(
            "PUT",
            f"/api/v1/blobs/{hashlib.sha256(b'unpublished').hexdigest()}?component=minds-lab/x",
            data=b"unpublished",
            expect=201,
        )
        sara.get(f"/blobs/{digest}", expect=404)

    def test_who_asks_about_it_is_answered_here(self, sara: Client, blob: str) -> None:
        with sara.flask.head(f"/blobs/{blob}") as answer:
            assert (answer.status_code, answer.content_length) == (200, len(BIG))
        with sara.flask.get(f"/blobs/{blob}", headers={"If-None-Match": f'"{blob}"'}) as answer:
            assert answer.status_code == 304

    @pytest.mark.parametrize("server", ["gunicorn/x", "other"])
    def test_blobs_may_pass_through_the_server(self, world: World, blob: str, server: str) -> None:
        class Wrapper(FileWrapper):
            def __init__(self, file: Any, size: int) -> None:
                raise AssertionError("it reads to the end of the object, whatever the range")

        environ = {"wsgi.file_wrapper": Wrapper, "SERVER_SOFTWARE": server}
        flask = streaming(world).flask
        ranges = {"Range": "bytes=1000-1999"}
        with flask.get(f"/blobs/{blob}", headers=ranges, environ_overrides=environ) as answer:
            assert (answer.status_code, answer.data) == (206, BIG[1000:2000])
        with flask.get(f"/blobs/{blob}", environ_overrides=environ) as answer:
            assert (answer.status_code, answer.data == BIG) == (200, True)

    def test_clients_may_know_the_store_by_another_address(
        self, ceph: CephNode, bucket: str, tmp_path: Path
    ) -> None:
        place = tmp_path / "other"
        place.mkdir()
        settings = ceph.settings(place, f"{bucket}/two", s3_public_endpoint="https://s3.example")
        initialise(place / "reg", dev=True, settings=settings)
        world = World(place / "reg")
        url = world.registry.blobs.redirect_url("a" * 64, 60)
        world.close()
        assert url is not None
        assert url.startswith(f"https://s3.example/{bucket}/two/blobs/aa/{'a' * 64}?")


class TestPublishedFiles:
    def test_they_are_served_as_from_a_folder(self, world: World, sara: Client, blob: str) -> None:
        assert sara.flask.get("/tuf/1.root.json").headers["Cache-Control"].endswith("immutable")
        answer = sara.flask.get("/tuf/timestamp.json")
        assert answer.headers["Cache-Control"] == "no-cache"
        etag = {"If-None-Match": answer.headers["ETag"]}
        assert sara.flask.get("/tuf/timestamp.json", headers=etag).status_code == 304
        part = sara.flask.get("/tuf/1.root.json", headers={"Range": "bytes=2-5"})
        assert (part.status_code, part.data) == (206, sara.text("/tuf/1.root.json")[2:6])
        assert sara.text("/log/checkpoint") == world.registry.tree.read("log/checkpoint")
        sara.get("/tuf/99.root.json", expect=404)

    def test_files_that_never_change_are_fetched_once(
        self, ceph: CephNode, bucket: str, sara: Client, blob: str
    ) -> None:
        first = sara.text("/tuf/1.root.json"), sara.text("/tuf/timestamp.json")
        for name in ("1.root.json", "timestamp.json"):
            ceph.client().delete_object(Bucket=bucket, Key=f"tuf/{name}")
        assert sara.text("/tuf/1.root.json") == first[0]
        sara.get("/tuf/timestamp.json", expect=404)


class TestOperating:
    def test_check_names_what_is_damaged_or_gone(
        self, ceph: CephNode, bucket: str, world: World, blob: str
    ) -> None:
        s3 = ceph.client()
        key = f"blobs/{blob[:2]}/{blob}"
        s3.put_object(Bucket=bucket, Key=key, Body=BIG[:-1] + b"!")
        assert check_registry(world.registry, deep=False).problems == ()
        (problem,) = check_registry(world.registry, deep=True).problems
        assert problem.startswith(f"blob {blob}: ")
        assert "hash to" in problem
        s3.delete_object(Bucket=bucket, Key=key)
        (problem,) = check_registry(world.registry, deep=True).problems
        assert problem == f"blob {blob}: part of a release, but not in the store"

    def test_check_names_a_damaged_published_file(
        self, ceph: CephNode, bucket: str, world: World, blob: str
    ) -> None:
        s3 = ceph.client()
        kept = s3.head_object(Bucket=bucket, Key="tuf/timestamp.json")["Metadata"]
        s3.put_object(Bucket=bucket, Key="tuf/timestamp.json", Body=b"{}", Metadata=kept)
        (problem,) = check_registry(world.registry, deep=False).problems
        assert problem.startswith("timestamp.json: ")

    def test_starting_makes_up_for_what_is_missing(self, world: World, blob: str) -> None:
        world.close()
        assert prepare(DataFolder(world.root)) is None

    def test_a_second_registry_does_not_publish_over_the_first(
        self, ceph: CephNode, world: World, bucket: str, tmp_path: Path
    ) -> None:
        before = world.registry.tree.read("timestamp.json")
        with pytest.raises(RegistryError) as caught:
            initialise(tmp_path / "two", dev=True, settings=ceph.settings(tmp_path, bucket))
        assert caught.value.code == "folder-not-empty"
        assert not (tmp_path / "two").exists()
        assert world.registry.tree.read("timestamp.json") == before

    def test_a_registry_that_exists_is_moved_by_copying(
        self, ceph: CephNode, bucket: str, tmp_path: Path
    ) -> None:
        initialise(tmp_path / "reg", dev=True)
        before = World(tmp_path / "reg")
        token = before.user("sara")
        before.organisation(token)
        client = Client(create_app(before.registry).test_client(), token)
        client.publish(before.release(files={"big.bin": BIG}))
        before.close()
        for folder, prefix in (("blobs", "blobs"), ("public", "tuf")):
            root = before.root / folder
            for path in root.rglob("*"):
                if path.is_file():
                    key = f"{prefix}/{path.relative_to(root)}"
                    ceph.client().upload_file(str(path), bucket, key)
        (before.root / "server.toml").write_bytes(ceph.settings(tmp_path, bucket).read_bytes())
        after = World(before.root, keys=before.keys)
        assert check_registry(after.registry, deep=True).problems == ()
        client = Client(create_app(after.registry).test_client(), token)
        client.publish(after.release(version="1.1.0"))
        assert check_registry(after.registry, deep=True).problems == ()
        after.close()

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("blobs", "s3://x", "blobs: object store: expected s3://bucket/prefix"),
            ("public", "s3://bucket/../x", "public: published path"),
            ("s3_endpoint", "nonsense", "s3_endpoint: object store: expected an http(s) URL"),
            ("s3_credentials", "keys", "s3_credentials: expected a full path"),
            ("redirect_blobs", "yes", "redirect_blobs = bool"),
            ("direct_uploads", 1, "direct_uploads = bool"),
        ],
    )
    def test_settings_that_make_no_sense_are_named(
        self, ceph: CephNode, bucket: str, tmp_path: Path, key: str, value: str, words: str
    ) -> None:
        settings = ceph.settings(tmp_path, bucket, **{key: value})
        with pytest.raises(RegistryError) as caught:
            initialise(tmp_path / "reg", dev=True, settings=settings)
        assert caught.value.code == "settings-malformed"
        assert words in caught.value.message
        assert not (tmp_path / "reg").exists()

    def test_a_file_with_credentials_is_for_its_owner_alone(
        self, ceph: CephNode, bucket: str, tmp_path: Path
    ) -> None:
        keys = tmp_path / "keys"
        keys.write_bytes(ceph.credentials.read_bytes())
        settings = ceph.settings(tmp_path, bucket, s3_credentials=str(keys))
        keys.chmod(0o640)
        with pytest.raises(BackendError, match="others can read it") as caught:
            initialise(tmp_path / "reg", dev=True, settings=settings)
        assert caught.value.hint == f"chmod 600 {keys}"
        keys.chmod(0o600)
        keys.write_text(f"[default]\nsecret = {ceph.secret_key}\n")
        with pytest.raises(BackendError, match="aws_access_key_id") as caught:
            initialise(tmp_path / "reg", dev=True, settings=settings)
        assert ceph.secret_key not in str(caught.value)


class TestPartsStraightToTheStore:
    DATA = BIG + b"more"
    NAME = f"{ORG}/direct"

    def begin(self, client: Client) -> str:
        made = client.post("/api/v1/uploads", self.whole | {"segments": [[len(self.DATA)]]})
        return str(made["upload"])

    @property
    def whole(self) -> dict[str, Any]:
        digest = hashlib.sha256(self.DATA).hexdigest()
        return {"component": self.NAME, "sha256": digest, "size": len(self.DATA)}

    def ask(self, client: Client, upload: str) -> Any:
        part = [0, len(self.DATA), self.whole["sha256"]]
        body = {"component": self.NAME, "parts": [part]}
        return client.post(f"/api/v1/uploads/{upload}/addresses", body, expect=200)["addresses"]

    def test_they_count_like_others(self, world: World, sara: Client) -> None:
        assert sara.get("/api/v1/uploads")["direct"] is True
        upload = self.begin(sara)
        (address,) = self.ask(sara, upload)
        sent = urllib3.request("PUT", address["url"], body=self.DATA, headers=address["headers"])
        assert sent.status == 200, sent.data
        sara.post(f"/api/v1/uploads/{upload}/finish", self.whole, expect=200)
        with world.registry.blobs.open(self.whole["sha256"]) as file:
            assert file.read() == self.DATA

    def test_the_registry_hashes_what_the_store_took(
        self, world: World, sara: Client, ceph: CephNode, bucket: str
    ) -> None:
        """Whoever got other bytes of the same size into the store, by whatever way."""
        upload = self.begin(sara)
        (pending,) = ceph.open(f"{bucket}/blobs").pending_uploads("look")
        ceph.client().upload_part(
            Bucket=bucket, Key=f"blobs/{pending.key}", UploadId=pending.upload_id, PartNumber=1,
            Body=self.DATA[:-1] + b"!",
        )  # fmt: skip
        address = f"/api/v1/uploads/{upload}/finish"
        sara.post(address, self.whole, expect=422, code="digest-mismatch")
        assert world.registry.blobs.missing([self.whole["sha256"]])
        assert list(ceph.open(f"{bucket}/blobs").pending_uploads("look")) == []

    @pytest.mark.parametrize("off", ["direct_uploads", "redirect_blobs"])
    def test_a_store_that_clients_do_not_reach(self, world: World, sara: Client, off: str) -> None:
        settings = world.root / "server.toml"
        settings.write_text(f"{settings.read_text()}{off} = false\n")
        again = Client(create_app(world.reopen()).test_client(), sara.token)
        assert again.get("/api/v1/uploads")["direct"] is False
        assert self.ask(again, self.begin(again)) == []
