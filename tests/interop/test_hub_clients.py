"""`hf`, `huggingface_hub`, `transformers` and `@huggingface/hub`, as they are, against `/hf`."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest
import tiny_models
from facades import MODEL_FILES, publish_model
from server_fixtures import ORG
from stock_clients import Stock, hub_js, stock

from forge_cli.flows.client_settings import settings_of

__all__ = ["stock"]

pytestmark = pytest.mark.filterwarnings("default")

DEMO = f"{ORG}/demo"


@pytest.fixture(scope="module")
def hub(stock: Stock) -> Stock:
    publish_model(stock.facades, "demo", "1.0.0")
    publish_model(stock.facades, "demo", "1.1.0")
    publish_model(stock.facades, "words", "1.0.0", kind="dataset")
    for version in ("1.0.0", "1.1.0"):
        publish_model(stock.facades, "taken-back", version)
    stock.facades.yank("taken-back", "1.1.0", "wrong labels")
    publish_model(stock.facades, "held", "1.0.0")
    stock.facades.withhold("held", "1.0.0")
    tiny_models.publish(stock.facades)
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
        f"print(fs.read_text('{DEMO}/tokenizer/vocab.txt'))\n"
        f"print(fs.ls('datasets/{ORG}/words/tokenizer', detail=False), fs.exists('{DEMO}/no'))"
    )
    said = python(hub, program)
    assert f"['datasets/{ORG}/words/tokenizer/vocab.txt'] False" in said
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
    name, target = f"{ORG}/taken-back", ["--local-dir", str(tmp_path / "x")]
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


def test_transformers_reads_what_a_model_is_made_of(hub: Stock, tmp_path: Path) -> None:
    """All but the weights' use: that takes a framework of some gigabytes."""
    program = (
        "import json, os, sys\n"
        "from transformers import AutoConfig, AutoTokenizer\n"
        "from transformers.pipelines import get_task\n"
        "from transformers.utils.hub import cached_file\n"
        "name, refused = sys.argv[1] + '/tiny', {}\n"
        "tokens = AutoTokenizer.from_pretrained(name)('salam azul hm').input_ids\n"
        "for other in ('tiny@9.9', 'held@1.0.0', 'held@main', 'nobody@main'):\n"
        "    path, _, revision = other.partition('@')\n"
        "    try: AutoConfig.from_pretrained(sys.argv[1] + '/' + path, revision=revision)\n"
        "    except OSError as error: refused[other] = str(error)\n"
        "print(json.dumps({\n"
        "  'labels': AutoConfig.from_pretrained(name, revision='1.0.0').id2label,\n"
        "  'tokens': tokens, 'refused': refused,\n"
        "  'task': get_task(name) if 'HF_HUB_OFFLINE' not in os.environ else None,\n"
        "  'weights': cached_file(name, 'model.safetensors'),\n"
        "}))"
    )
    home = {"HF_HOME": str(tmp_path)}
    done = hub.try_run("python", "-c", program, ORG, **home)
    assert done.returncode == 0, done.stdout + done.stderr
    value = json.loads(done.stdout.splitlines()[-1])
    assert value["labels"] == {"0": "ary", "1": "zgh"}
    assert value["tokens"] == [2, 3, 1]
    assert value["task"] == "text-classification"
    assert Path(value["weights"]).read_bytes() == tiny_models.files(seed=1)["model.safetensors"]
    assert value["refused"].keys() == {"tiny@9.9", "held@1.0.0", "held@main", "nobody@main"}
    offline = hub.try_run("python", "-c", program, ORG, HF_HUB_OFFLINE="1", **home)
    assert json.loads(offline.stdout.splitlines()[-1])["tokens"] == [2, 3, 1], offline.stderr


def test_javascripts_client(hub: Stock) -> None:
    program = Path(__file__).with_name("hub_client.mjs")
    token = {"FORGE_TOKEN": hub.facades.sara.token}
    done = hub.try_run("node", str(program), str(hub_js()), hub.url, ORG, **token)
    assert done.returncode == 0, done.stdout + done.stderr
    value = json.loads(done.stdout)
    paths = sorted([*MODEL_FILES, "forge.toml", "version.txt"])
    assert sorted(path for path in value["files"] if path != "tokenizer") == paths
    (folder,) = value["folder"]
    vocabulary = hashlib.sha256(MODEL_FILES["tokenizer/vocab.txt"]).hexdigest()
    assert folder == ["tokenizer/vocab.txt", 4, vocabulary, f"{DEMO}==1.0.0"]
    assert value["exist"] == [True, True, False, False]
    weights = MODEL_FILES["model.bin"]
    assert value["sha256"] == hashlib.sha256(weights).hexdigest()
    assert bytes(value["part"]) == weights[512001:512004]
    assert (value["empty"], value["missing"], value["card"]) == ("", None, "# A model\n")
    assert value["info"]["name"] == DEMO
    assert sorted(value["info"]["filePaths"]) == paths
    assert "license:apache-2.0" in value["info"]["tags"]
    assert len({value["info"]["sha"], value["old"]}) == 2
    assert value["models"] == [[DEMO, len(paths)]]
    assert value["tasks"] == [f"{ORG}/tiny"]
    assert (value["dataset"], value["datasets"]) == (f"{ORG}/words", [f"{ORG}/words"])
    assert value["spaces"] == []
    assert value["commits"] == [[f"{DEMO}==1.1.0", f"{DEMO}==1.0.0"], 2]
    assert (value["repos"], value["paths"]) == ([True, False], ["file", "directory"])
    assert value["tensors"] > 10
    assert value["yanked"] == "1.0.0"
    assert value["held"][0] is False
    for refusal, text in (
        (value["held"][1], "it phones home"), (value["held"][2], "it phones home"),
        (value["revision"], "'9.9'"), (value["nobody"], "does not exist"),
    ):  # fmt: skip
        assert refusal[:2] == ["HubApiError", 404]
        assert text in refusal[2]
    for refusal in (value["upload"], value["branch"]):
        assert refusal[1] == 403
        assert "must be signed" in refusal[2]
    assert value["who"] == ["sara", "write"]
    assert value["named"] == "# A model\n"
    assert value["mistyped"][:2] == ["HubApiError", 401]
    assert "must start with 'hf_'" in value["bare"][2], "it sends no other token to anybody"


def _read_until(program: subprocess.Popen[str], words: str) -> str:
    """What the program prints up to the line with these words, in any case."""
    assert program.stdout is not None
    said = ""
    while words not in said.lower():
        line = program.stdout.readline()
        assert line, said
        said += line
    return said


def test_hf_logs_in_by_approval_on_another_machine(hub: Stock, tmp_path: Path) -> None:
    home = {"HF_HOME": str(tmp_path)}
    with hub.start("hf", "auth", "login", **home) as login:
        try:
            said = _read_until(login, "enter the code")
            code = re.findall(r"\b[A-Z]{4}-[A-Z]{4}\b", said)[-1]
            assert f"{hub.url}/login?user_code={code}" in said
            hub.facades.sara.post(f"/api/v1/logins/{code}", {"decision": "approve"}, expect=200)
            rest, problems = login.communicate()
        finally:
            login.kill()
        assert login.returncode == 0, said + rest + problems
    assert "sara" in hub.run("hf", "auth", "whoami", **home)
    listed = hub.facades.sara.get("/api/v1/tokens")["tokens"]
    token = next(row for row in listed if row["name"].startswith("hf login"))
    assert token["actions"] == ["read"]
    hub.run("hf", "download", DEMO, "config.json", **home)
    hub.facades.sara.call("DELETE", f"/api/v1/tokens/{token['id']}", expect=200)
    assert "nvalid" in hub.refused("hf", "auth", "whoami", **home)


def test_hf_says_that_a_login_was_refused(hub: Stock) -> None:
    program = (
        "import sys\n"
        "from huggingface_hub.errors import DeviceCodeError\n"
        "from huggingface_hub.utils import get_session\n"
        "from huggingface_hub.utils._oauth_device import poll_device_token, request_device_code\n"
        "asked = request_device_code()\n"
        "get_session().post(sys.argv[1] + '/api/v1/logins/' + asked['user_code'],\n"
        "    json={'decision': 'refuse'}, headers={'Authorization': 'Bearer ' + sys.argv[2]})\n"
        "for _ in range(2):\n"
        "    try: poll_device_token(asked)\n"
        "    except DeviceCodeError as error: print(error.error_code, error)\n"
        "try: poll_device_token(asked | {'device_code': 'x'})\n"
        "except DeviceCodeError as error: print(error.error_code, error)\n"
    )
    done = hub.try_run("python", "-c", program, hub.url, hub.facades.sara.token or "")
    assert done.stdout.count("ACCESS_DENIED") == 2, done.stdout + done.stderr
    assert "invalid_grant" in done.stdout
