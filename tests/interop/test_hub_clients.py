"""`hf` and `huggingface_hub`, as they are, against `/hf`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from facades import MODEL_FILES, publish_model
from server_fixtures import ORG
from stock_clients import Stock, stock

from forge_cli.flows.client_settings import settings_of

__all__ = ["stock"]

pytestmark = pytest.mark.filterwarnings("default")

DEMO = f"{ORG}/demo"


@pytest.fixture(scope="module")
def hub(stock: Stock) -> Stock:
    publish_model(stock.facades, "demo", "1.0.0")
    publish_model(stock.facades, "demo", "1.1.0")
    publish_model(stock.facades, "words", "1.0.0", kind="dataset")
    return stock


def python(hub: Stock, program: str, **environment: str) -> str:
    """What a Python program with huggingface_hub answers on standard output."""
    done = hub.try_run("python", "-c", program, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_is_demo(folder: Path, version: str) -> None:
    for path, data in MODEL_FILES.items():
        assert (folder / path).read_bytes() == data
    assert (folder / "version.txt").read_text() == version


def test_hf_downloads_a_model(hub: Stock, tmp_path: Path) -> None:
    hub.run("hf", "download", DEMO, "--local-dir", str(tmp_path / "main"))
    assert_is_demo(tmp_path / "main", "1.1.0")
    hub.run("hf", "download", DEMO, "--revision", "1.0.0", "--local-dir", str(tmp_path / "old"))
    assert_is_demo(tmp_path / "old", "1.0.0")
    hub.run("hf", "download", DEMO, "model.bin", "--local-dir", str(tmp_path / "one"))
    assert (tmp_path / "one" / "model.bin").read_bytes() == MODEL_FILES["model.bin"]


def test_the_printed_environment_is_all_it_takes(hub: Stock, tmp_path: Path) -> None:
    settings = settings_of("hf", hub.url, None).text.removeprefix("export ").strip()
    name, _, value = settings.partition("=")
    assert name == "HF_ENDPOINT"
    hub.run("hf", "download", DEMO, "--local-dir", str(tmp_path), HF_ENDPOINT=value)
    assert_is_demo(tmp_path, "1.1.0")


def test_hf_downloads_a_dataset(hub: Stock, tmp_path: Path) -> None:
    hub.run(
        "hf", "download", f"{ORG}/words", "--repo-type", "dataset", "--local-dir", str(tmp_path)
    )  # fmt: skip
    assert_is_demo(tmp_path, "1.0.0")


def test_snapshots_are_kept_by_commit_and_read_without_the_registry(
    hub: Stock, tmp_path: Path
) -> None:
    home = {"HF_HOME": str(tmp_path)}
    program = (
        "from huggingface_hub import snapshot_download\n"
        f"print(snapshot_download({DEMO!r}, revision='1.0.0'))"
    )
    folder = Path(python(hub, program, **home).splitlines()[-1])
    assert_is_demo(folder, "1.0.0")
    shown = hub.facades.sara.get(f"/api/v1/components/{DEMO}")
    assert folder.name == shown["versions"][-1]["manifest_sha256"][:40]
    assert_is_demo(Path(python(hub, program, HF_HUB_OFFLINE="1", **home).splitlines()[-1]), "1.0.0")


def test_hf_verifies_its_cache_against_our_digests(hub: Stock, tmp_path: Path) -> None:
    home = {"HF_HOME": str(tmp_path)}
    hub.run("hf", "download", DEMO, **home)
    hub.run("hf", "cache", "verify", DEMO, **home)
    digest = hashlib.sha256(MODEL_FILES["model.bin"]).hexdigest()
    (blob,) = tmp_path.rglob(f"blobs/{digest}")
    blob.write_bytes(bytes(len(MODEL_FILES["model.bin"])))
    hub.refused("hf", "cache", "verify", DEMO, **home)


def test_lists_and_descriptions(hub: Stock) -> None:
    program = (
        "import json\nfrom huggingface_hub import HfApi\napi = HfApi()\n"
        f"info = api.model_info({DEMO!r}, files_metadata=True)\n"
        "print(json.dumps({\n"
        "  'listed': [m.id for m in api.list_models(search='demo')],\n"
        "  'datasets': [d.id for d in api.list_datasets()],\n"
        "  'author': [m.id for m in api.list_models(author='nobody')],\n"
        "  'files': {s.rfilename: s.lfs.sha256 for s in info.siblings},\n"
        "  'year': info.last_modified.year, 'license': info.card_data.license,\n"
        f"  'tags': [t.name for t in api.list_repo_refs({DEMO!r}).tags],\n"
        f"  'commits': [c.title for c in api.list_repo_commits({DEMO!r})],\n"
        f"  'tree': [f.path for f in api.list_repo_tree({DEMO!r}, recursive=True, expand=True)],\n"
        f"  'paths': [f.path for f in api.get_paths_info({DEMO!r}, ['config.json', 'no'])],\n"
        f"  'there': [api.revision_exists({DEMO!r}, r) for r in ('1.0.0', '9.9')]\n"
        "}))"
    )
    value = json.loads(python(hub, program).splitlines()[-1])
    assert value["listed"] == [DEMO]
    assert value["datasets"] == [f"{ORG}/words"]
    assert value["author"] == []
    digest = hashlib.sha256(MODEL_FILES["model.bin"]).hexdigest()
    assert value["files"]["model.bin"] == digest
    assert value["year"] >= 2025
    assert value["license"] == "apache-2.0"
    assert value["tags"] == ["1.1.0", "1.0.0"]
    assert value["commits"] == [f"{DEMO}==1.1.0", f"{DEMO}==1.0.0"]
    assert "tokenizer/vocab.txt" in value["tree"]
    assert value["paths"] == ["config.json"]
    assert value["there"] == [True, False]


def test_the_file_system_reads_parts(hub: Stock) -> None:
    program = (
        "from huggingface_hub import HfFileSystem\nfs = HfFileSystem()\n"
        f"print(sorted(fs.ls({DEMO!r}, detail=False)))\n"
        f"with fs.open('{DEMO}@1.0.0/model.bin', block_size=1000) as file:\n"
        "    file.seek(512001)\n    print(file.read(3))\n"
        f"print(fs.read_text('{DEMO}/tokenizer/vocab.txt'))"
    )
    said = python(hub, program)
    assert f"'{DEMO}/config.json'" in said
    assert repr(MODEL_FILES["model.bin"][512001:512004]) in said


def test_what_is_not_there(hub: Stock, tmp_path: Path) -> None:
    assert "not found" in hub.refused("hf", "download", f"{ORG}/nobody").lower()
    assert "Revision not found" in hub.refused("hf", "download", DEMO, "--revision", "9.9")
    program = (
        "from huggingface_hub import hf_hub_download\n"
        "from huggingface_hub.errors import EntryNotFoundError\n"
        f"try: hf_hub_download({DEMO!r}, 'nothing.txt')\n"
        "except EntryNotFoundError as error: print('unknown entry')"
    )
    assert "unknown entry" in python(hub, program)


def test_a_yanked_version_comes_with_a_warning(hub: Stock, tmp_path: Path) -> None:
    publish_model(hub.facades, "yanked", "1.0.0")
    publish_model(hub.facades, "yanked", "1.1.0")
    hub.facades.yank("yanked", "1.1.0", "wrong labels")
    name, target = f"{ORG}/yanked", ["--local-dir", str(tmp_path / "x")]
    said = hub.run("hf", "download", name, "--revision", "1.1.0", *target)
    assert "wrong labels" in said
    assert "wrong labels" not in hub.run("hf", "download", name, *target)
    assert (tmp_path / "x" / "version.txt").read_text() == "1.0.0"


def test_a_withheld_version_is_refused_also_where_the_cache_has_it(
    hub: Stock, tmp_path: Path
) -> None:
    """Clients fall back to their cache for every refusal but an unknown revision."""
    publish_model(hub.facades, "stopped", "1.0.0")
    home = {"HF_HOME": str(tmp_path)}
    name = f"{ORG}/stopped"
    hub.run("hf", "download", name, **home)
    hub.facades.withhold("stopped", "1.0.0")
    for revision in ([], ["--revision", "1.0.0"]):
        said = hub.refused("hf", "download", name, *revision, **home)
        assert "revision" in said.lower()
    program = (
        "from huggingface_hub import snapshot_download\n"
        f"try: snapshot_download({name!r}, revision='1.0.0')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = python(hub, program, **home)
    assert "RevisionNotFoundError" in said
    assert "it phones home" in said


def test_who_a_token_belongs_to(hub: Stock) -> None:
    token = hub.facades.sara.token or ""
    assert "sara" in hub.run("hf", "auth", "whoami", HF_TOKEN=token)
    said = hub.refused("hf", "auth", "whoami", HF_TOKEN="hf_of_another_site")
    assert "Invalid" in said or "invalid" in said


def test_uploads_are_refused_with_a_sentence(hub: Stock, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"1")
    said = hub.refused(
        "hf", "upload", f"{ORG}/new", str(tmp_path / "x.bin"), "x.bin",
        HF_TOKEN=hub.facades.sara.token or "",
    )  # fmt: skip
    assert "must be signed" in said
    assert "forge publish" in said
