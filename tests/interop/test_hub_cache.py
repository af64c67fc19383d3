"""`forge install --hf-cache`, and what Hugging Face's client finds there without a network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import NAME, World, forge_toml, tree
from cli_fixtures import Forge, Ran, new_world
from static_server import StaticServer
from stock_clients import client_programs

from forge_cli.flows.hf_cache import hub_folder
from signing.names import ComponentName

WORDS = ComponentName.parse("minds-lab/words")
TOOL = ComponentName.parse("minds-lab/tool")
WEIGHTS = "weights/model.safetensors"
FILES = tree()


@pytest.fixture(scope="module")
def server() -> Iterator[StaticServer]:
    """Two versions of a model, a dataset, and a library that needs both."""
    world = new_world()
    world.publish(FILES)
    world.publish(tree(version="1.1.0"))
    world.publish({"forge.toml": forge_toml(WORDS, kind="dataset"), "a.csv": b"a\n"})
    needs = {str(NAME): ">=1", str(WORDS): "==1.0.0"}
    world.publish({"forge.toml": forge_toml(TOOL, kind="prompt", requires=needs), "p.txt": b"p"})
    with StaticServer(dict(world.files())) as made:
        made.world = world  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def forge(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: StaticServer,
) -> Forge:
    """A machine that trusts the registry, with an empty Hugging Face home."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    made = Forge(tmp_path, monkeypatch, capsys)
    world: World = server.world  # type: ignore[attr-defined]
    made.trust(server, world)
    return made


def install(forge: Forge, *requirements: str) -> Ran:
    return forge("install", *requirements, "--into", "out", "--hf-cache")


def repository(tmp_path: Path, name: str = "models--minds-lab--darija-lid") -> Path:
    return tmp_path / "hf" / "hub" / name


@pytest.fixture(scope="module")
def python() -> str:
    """The Python of Hugging Face's client. Looked for before the folder changes."""
    return str(client_programs() / "python")


def offline(python: str, tmp_path: Path, program: str) -> str:
    """What a Python program with huggingface_hub answers that may not use the network."""
    done = subprocess.run(
        [python, "-c", program],
        env={
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_hub_client_finds_it_offline(python: str, forge: Forge, tmp_path: Path) -> None:
    ran = forge.ok("install", str(TOOL), f"{NAME}==1.0.0", "--into", "out", "--hf-cache", "--json")
    model, words = ran.json["hf_cache"]
    digest = next(
        one["manifest_sha256"] for one in ran.json["components"] if one["component"] == str(NAME)
    )
    assert (model["component"], model["commit"]) == (str(NAME), digest[:40])
    program = (
        "from huggingface_hub import snapshot_download, hf_hub_download, scan_cache_dir\n"
        f"print(snapshot_download({str(NAME)!r}))\n"
        f"print(snapshot_download({str(NAME)!r}, revision='1.0.0'))\n"
        f"print(snapshot_download({str(NAME)!r}, revision={model['commit']!r}))\n"
        f"print(snapshot_download({str(WORDS)!r}, repo_type='dataset'))\n"
        f"print(hf_hub_download({str(NAME)!r}, {WEIGHTS!r}, revision='1.0.0'))\n"
        "found = scan_cache_dir()\n"
        "print(len(found.repos), found.warnings)\n"
        f"try: print(snapshot_download({str(NAME)!r}, revision='1.1.0'))\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    *three, dataset, one, scanned, other = offline(python, tmp_path, program).splitlines()
    assert three == [model["path"]] * 3
    assert dataset == words["path"]
    assert contents(Path(model["path"])) == FILES
    assert Path(one).read_bytes() == FILES[WEIGHTS]
    assert scanned == "2 []"
    assert other == "LocalEntryNotFoundError"


def test_files_are_links_and_versions_stand_side_by_side(forge: Forge, tmp_path: Path) -> None:
    assert install(forge, f"{NAME}==1.0.0").code == 0
    ran = install(forge, f"{NAME}==1.1.0")
    assert "is in the Hugging Face cache" in ran.err
    place = repository(tmp_path)
    first, second = ((place / "refs" / v).read_text() for v in ("1.0.0", "1.1.0"))
    assert (place / "refs" / "main").read_text() == second != first
    for commit in (first, second):
        link = place / "snapshots" / commit / WEIGHTS
        assert link.readlink().parts[:4] == ("..", "..", "..", "blobs")
    assert contents(place / "snapshots" / first) == FILES
    assert len(list((place / "blobs").iterdir())) == len(FILES) + 1  # another forge.toml
    assert (place / "snapshots" / first / WEIGHTS).stat().st_nlink > 1
    assert install(forge).code == 0  # what is there already is no trouble
    assert list((place / ".forge" / "staging").iterdir()) == []


def test_what_a_client_left_there_is_replaced(forge: Forge, tmp_path: Path) -> None:
    """Clients look at no digest: a file of the right name may hold anything."""
    assert install(forge, f"{NAME}==1.0.0").code == 0
    place = repository(tmp_path)
    (commit,) = (path.name for path in (place / "snapshots").iterdir())
    for blob in list((place / "blobs").iterdir()):
        size = blob.stat().st_size
        blob.unlink()
        blob.write_bytes(bytes(size))
    (place / "snapshots" / commit / "added.py").write_text("import os")
    assert install(forge).code == 0
    assert contents(place / "snapshots" / commit) == FILES


@pytest.mark.parametrize("folder", ["", "blobs", "refs", "snapshots", ".forge", ".forge/staging"])
def test_nothing_is_written_through_a_link(forge: Forge, tmp_path: Path, folder: str) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    link = repository(tmp_path) / folder
    link.parent.mkdir(parents=True)
    link.symlink_to(mine)
    ran = install(forge, f"{NAME}==1.0.0")
    assert ran.code == 6
    assert "expected a folder of the Hugging Face cache" in ran.err
    assert list(mine.iterdir()) == []


def test_links_to_files_are_replaced_and_not_followed(forge: Forge, tmp_path: Path) -> None:
    assert install(forge, f"{NAME}==1.0.0").code == 0
    place, mine = repository(tmp_path), tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "folder").mkdir()
    (commit,) = (path.name for path in (place / "snapshots").iterdir())
    os.rename(place / "snapshots" / commit, tmp_path / "away")
    (place / "snapshots" / commit).symlink_to(tmp_path / "folder")
    for path in [*(place / "blobs").iterdir(), *(place / "refs").iterdir()]:
        path.unlink()
        path.symlink_to(mine)
    assert install(forge).code == 0
    assert contents(place / "snapshots" / commit) == FILES
    assert (place / "refs" / "main").read_text() == commit
    assert mine.read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []


def test_where_there_are_no_links_the_files_are_there_themselves(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.symlink

    def symlink(source: str, target: Path) -> None:
        if "blobs/" in source:
            raise PermissionError(1, "no links here")
        real(source, target)  # the metadata of the registry has some as well

    monkeypatch.setattr(os, "symlink", symlink)
    assert install(forge, f"{NAME}==1.0.0").code == 0
    (snapshot,) = (repository(tmp_path) / "snapshots").iterdir()
    assert contents(snapshot) == FILES
    assert not any(path.is_symlink() for path in snapshot.rglob("*"))


def test_what_it_is_for(forge: Forge) -> None:
    for option in ("--plan", "--include=*.md", "--exclude=*.md"):
        ran = forge("install", str(NAME), "--into", "out", "--hf-cache", option)
        assert ran.code == 2
        assert "--hf-cache" in ran.err


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/d"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
        ({"HF_HOME": "$PLACE/hf"}, "/e/hf/hub"),
    ],
)
def test_the_cache_is_where_the_client_looks(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.setenv("PLACE", "/e")
    assert hub_folder(environment) == Path(expected)
