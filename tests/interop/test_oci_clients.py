"""skopeo, oras and Debian's docker-registry, as they are, against `/v2/`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from facades import MODEL_FILES, publish_model
from one_machine import free_port
from reviewing import Bodies
from server_fixtures import ORG
from stock_clients import Stock, stock
from waiting import wait_for_server

from forge_cli.flows.client_settings import settings_of, write_settings

__all__ = ["stock"]

pytestmark = pytest.mark.filterwarnings("default")

POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


def require_program(name: str) -> None:
    if shutil.which(name) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is required in CI")
        pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="module")
def oci(stock: Stock) -> Stock:
    for version in ("1.0.0", "1.1.0"):
        publish_model(stock.facades, "demo", version)
    return stock


def skopeo(oci: Stock, *arguments: str) -> str:
    require_program("skopeo")
    policy = oci.place / "policy.json"
    policy.write_text(POLICY)
    return oci.run("skopeo", "--policy", str(policy), *arguments)


def image(oci: Stock, tag: str = "1.1.0", name: str = "demo") -> str:
    return f"docker://{oci.url.removeprefix('http://')}/{ORG}/{name}:{tag}"


def digest_of(oci: Stock, tag: str) -> str:
    return oci.facades.get(f"/v2/{ORG}/demo/manifests/{tag}").headers["Docker-Content-Digest"]


def test_skopeo_lists_and_inspects(oci: Stock) -> None:
    plain = ["--tls-verify=false"]
    listed = json.loads(skopeo(oci, "list-tags", *plain, image(oci).rpartition(":")[0]))
    assert listed["Tags"] == ["1.0.0", "1.1.0"]
    raw = skopeo(oci, "inspect", "--raw", *plain, image(oci))
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest_of(oci, "1.1.0")


@pytest.mark.parametrize("form", ["oci", "dir"])
def test_skopeo_copies_and_keeps_the_digest(oci: Stock, tmp_path: Path, form: str) -> None:
    skopeo(
        oci, "copy", "--src-tls-verify=false", "--preserve-digests", image(oci),
        f"{form}:{tmp_path / 'out'}{':1.1.0' if form == 'oci' else ''}",
    )  # fmt: skip
    blob = hashlib.sha256(MODEL_FILES["model.bin"]).hexdigest()
    (copied,) = (tmp_path / "out").rglob(blob)
    assert copied.read_bytes() == MODEL_FILES["model.bin"]
    if form == "oci":
        index = json.loads((tmp_path / "out" / "index.json").read_text())
        assert index["manifests"][0]["digest"] == digest_of(oci, "1.1.0")


def test_skopeo_copies_by_digest_and_the_newest(oci: Stock, tmp_path: Path) -> None:
    by_digest = image(oci).rpartition(":")[0] + "@" + digest_of(oci, "1.0.0")
    skopeo(oci, "copy", "--src-tls-verify=false", by_digest, f"dir:{tmp_path / 'a'}")
    skopeo(oci, "copy", "--src-tls-verify=false", image(oci, "latest"), f"dir:{tmp_path / 'b'}")
    versions = [
        (tmp_path / folder / hashlib.sha256(version).hexdigest()).exists()
        for folder, version in (("a", b"1.0.0"), ("b", b"1.1.0"))
    ]
    assert versions == [True, True]


def test_skopeo_mirrors_a_component(oci: Stock, tmp_path: Path) -> None:
    source = image(oci).rpartition(":")[0].removeprefix("docker://")
    skopeo(
        oci, "sync", "--src-tls-verify=false", "--src", "docker", "--dest", "dir", source,
        str(tmp_path),
    )  # fmt: skip
    assert len(list(tmp_path.glob("demo:*"))) == 2


def test_skopeo_shows_why_a_release_is_withheld(oci: Stock, tmp_path: Path) -> None:
    require_program("skopeo")
    publish_model(oci.facades, "stopped", "1.0.0")
    skopeo(oci, "inspect", "--raw", "--tls-verify=false", image(oci, "1.0.0", "stopped"))
    oci.facades.withhold("stopped", "1.0.0")
    said = oci.refused(
        "skopeo", "inspect", "--raw", "--tls-verify=false", image(oci, "1.0.0", "stopped")
    )  # fmt: skip
    assert "it phones home" in said


def test_skopeo_is_told_why_it_cannot_push(oci: Stock, tmp_path: Path) -> None:
    skopeo(oci, "copy", "--src-tls-verify=false", image(oci), f"dir:{tmp_path / 'x'}")
    policy = str(oci.place / "policy.json")
    said = oci.refused(
        "skopeo", "--policy", policy, "copy", "--dest-tls-verify=false", f"dir:{tmp_path / 'x'}",
        image(oci, "9.9.9"),
    )  # fmt: skip
    assert "signed" in said


def test_the_written_settings_are_all_it_takes(oci: Stock) -> None:
    home = oci.place / "home"
    home.mkdir(exist_ok=True)
    settings = settings_of("docker", oci.url, None)
    path = write_settings(settings, "docker", home, home / ".config")
    try:
        assert "1.1.0" in skopeo(oci, "list-tags", image(oci).rpartition(":")[0])
    finally:
        path.unlink()


def test_oras_pulls_files_into_their_folders(oci: Stock, tmp_path: Path) -> None:
    host = oci.url.removeprefix("http://")
    program = (
        "import oras.client\n"
        f"client = oras.client.OrasClient(hostname={host!r}, insecure=True)\n"
        f"print(client.get_tags('{host}/{ORG}/demo'))\n"
        f"client.pull(target='{host}/{ORG}/demo:1.0.0', outdir={str(tmp_path)!r})\n"
    )
    assert "1.1.0" in oci.run("python", "-c", program)
    for path, data in MODEL_FILES.items():
        assert (tmp_path / path).read_bytes() == data


def test_a_signed_review_is_copied_along(oci: Stock, tmp_path: Path) -> None:
    """oras finds it by the release it refers to, skopeo copies it and keeps every digest."""
    publish_model(oci.facades, "reviewed", "1.0.0")
    bodies = Bodies(oci.facades.world)
    bodies.name("cert", "National CERT")
    sha256 = bodies.decide("cert", f"{ORG}/reviewed", "1.0.0")
    host = oci.url.removeprefix("http://")
    name = f"{host}/{ORG}/reviewed"
    program = (
        "import json, oras.client\n"
        f"client = oras.client.OrasClient(hostname={host!r}, insecure=True)\n"
        f"release = client.do_request('{oci.url}/v2/{ORG}/reviewed/manifests/1.0.0', 'HEAD')\n"
        "digest = release.headers['Docker-Content-Digest']\n"
        f"found = client.do_request('{oci.url}/v2/{ORG}/reviewed/referrers/' + digest).json()\n"
        "review, = (one for one in found['manifests'] if 'in-toto' in one['artifactType'])\n"
        f"client.pull(target='{name}@' + review['digest'], outdir={str(tmp_path)!r})\n"
        "print(json.dumps(review))\n"
    )
    said = json.loads(oci.run("python", "-c", program).strip().splitlines()[-1])
    assert said["annotations"]["forge.review.result"] == "PASSED"
    pulled = (tmp_path / "cert.1.0.0.vsa.json").read_bytes()
    assert hashlib.sha256(pulled).hexdigest() == sha256
    skopeo(
        oci, "copy", "--src-tls-verify=false", "--preserve-digests",
        f"docker://{name}@{said['digest']}", f"dir:{tmp_path / 'copy'}",
    )  # fmt: skip
    assert (tmp_path / "copy" / sha256).read_bytes() == pulled


@pytest.fixture
def mirror(oci: Stock, tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry as a cache in front of the forge; its address."""
    require_program("docker-registry")
    port = free_port()
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "cache")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "proxy": {"remoteurl": oci.url},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(tmp_path / "config.yml")], stdout=log, stderr=log
        )
    try:
        wait_for_server(process, port, tmp_path / "log")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def test_a_stock_registry_caches_it(oci: Stock, mirror: str, tmp_path: Path) -> None:
    """An agency can stand a mirror in front with Debian's package alone."""
    source = f"docker://{mirror}/{ORG}/demo:1.1.0"
    for folder in ("first", "second"):
        target = f"oci:{tmp_path / folder}:1.1.0"
        skopeo(oci, "copy", "--src-tls-verify=false", source, target)
        index = json.loads((tmp_path / folder / "index.json").read_text())
        assert index["manifests"][0]["digest"] == digest_of(oci, "1.1.0")
