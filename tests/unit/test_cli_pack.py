"""Walking a component folder: what is published, what is refused, what is noticed."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import NOW, forge_toml

from forge_cli.errors import ForgeError
from forge_cli.flows import pack as packing
from forge_cli.flows.pack import Found, hash_file, pack, read_policy
from forge_cli.flows.scaffold import Scaffold, scaffold
from forge_cli.output import Output
from signing.errors import MalformedError
from signing.facts import Facts
from signing.names import ComponentName
from signing.permission import evaluate


@pytest.fixture
def out() -> Output:
    return Output(stdout=io.StringIO(), stderr=io.StringIO())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "component"
    (folder / "weights").mkdir(parents=True)
    (folder / "forge.toml").write_bytes(forge_toml())
    (folder / "weights" / "w.bin").write_bytes(b"w" * 1000)
    (folder / "weights" / "ⵣ.txt").write_bytes(b"")
    return folder


def test_every_regular_file_is_in_the_manifest(folder: Path, out: Output) -> None:
    packed = pack(folder, out)
    assert [entry.path for entry in packed.manifest.files] == [
        "forge.toml",
        "weights/w.bin",
        "weights/ⵣ.txt",
    ]
    assert packed.notices == ()


@pytest.mark.parametrize("name", [".git", ".gitignore", ".GitHub"])
def test_top_level_git_names_are_left_out_with_a_notice(
    folder: Path, out: Output, name: str
) -> None:
    (folder / name).mkdir()
    (folder / name / "planted").write_bytes(b"x")
    (folder / "weights" / ".gitkeep").write_bytes(b"")
    packed = pack(folder, out)
    paths = [entry.path for entry in packed.manifest.files]
    assert not any(path.startswith(name) for path in paths)
    assert "weights/.gitkeep" in paths
    assert name in packed.notices[0]


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "symlink": (lambda p: p.symlink_to("/etc/passwd"), "symbolic link"),
    "dangling symlink": (lambda p: p.symlink_to("nowhere"), "symbolic link"),
    "symlink to a folder": (lambda p: p.symlink_to("."), "symbolic link"),
    "fifo": (os.mkfifo, "FIFO"),
    "socket": (make_socket, "socket"),
    "setuid": (lambda p: (p.write_bytes(b""), p.chmod(0o4755)), "setuid"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_plain_file_is_refused_by_name(folder: Path, out: Output, case: str) -> None:
    make, word = REFUSED[case]
    make(folder / "weights" / "odd")
    with pytest.raises(ForgeError) as caught:
        pack(folder, out)
    assert caught.value.code == "refused-file"
    assert "odd" in caught.value.message
    assert word in caught.value.message


def test_a_forge_toml_that_is_a_link_is_refused(folder: Path, out: Output) -> None:
    (folder / "forge.toml").rename(folder / "other.toml")
    (folder / "forge.toml").symlink_to("other.toml")
    with pytest.raises(ForgeError, match="regular file"):
        pack(folder, out)


@pytest.mark.parametrize("name", ["con", "a:b", "trailing.", "e\u0301", "%2e%2e", "x\ny"])
def test_a_path_that_is_not_the_same_everywhere_is_refused(
    folder: Path, out: Output, name: str
) -> None:
    (folder / "weights" / name).write_bytes(b"")
    with pytest.raises(MalformedError):
        pack(folder, out)


def test_two_names_for_one_place_are_refused(folder: Path, out: Output) -> None:
    (folder / "A").write_bytes(b"")
    (folder / "a").write_bytes(b"")
    with pytest.raises(MalformedError, match="case"):
        pack(folder, out)


def test_an_empty_folder_is_noticed(folder: Path, out: Output) -> None:
    (folder / "empty").mkdir()
    assert "empty" in pack(folder, out).notices[0]


@pytest.mark.parametrize("change", [b"longer" * 500, b"s", b"v" * 1000])
def test_a_file_that_changes_while_it_is_hashed_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    path = folder / "weights" / "w.bin"
    real = packing.hash_stream

    def changing(stream: object) -> tuple[int, str]:
        result = real(stream)  # type: ignore[arg-type]
        path.write_bytes(change)
        return result

    found = Found(path="weights/w.bin", full=path, info=path.stat())
    monkeypatch.setattr(packing, "hash_stream", changing)
    with pytest.raises(ForgeError) as caught:
        hash_file(found)
    assert caught.value.code == "changed-while-read"


def test_a_file_that_became_a_link_after_the_walk_is_not_followed(folder: Path) -> None:
    path = folder / "weights" / "w.bin"
    found = Found(path="weights/w.bin", full=path, info=path.stat())
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        hash_file(found)


def test_a_missing_forge_toml_says_how_to_make_one(tmp_path: Path, out: Output) -> None:
    with pytest.raises(ForgeError) as caught:
        pack(tmp_path, out)
    assert "forge init" in (caught.value.hint or "")


def spec(**changed: object) -> Scaffold:
    values: dict[str, object] = {
        "component": ComponentName.parse("minds-lab/my-model"),
        "kind": "model",
        "version": "1.0.0",
        "summary": None,
        "license": "Apache-2.0",
        "languages": ("ary", "zgh"),
    }
    return Scaffold(**{**values, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["model", "library", "dataset", "prompt"])
def test_a_new_component_publishes_as_it_is(tmp_path: Path, out: Output, kind: str) -> None:
    written = scaffold(tmp_path / "new", spec(kind=kind, summary='a "quoted" \\ line'))
    assert [path.name for path in written] == ["forge.toml", "README.md"]
    packed = pack(tmp_path / "new", out)
    assert packed.manifest.metadata["summary"] == 'a "quoted" \\ line'
    assert packed.manifest.kind == kind


def test_a_new_policy_has_rules_that_publish_as_they_are(tmp_path: Path, out: Output) -> None:
    written = scaffold(tmp_path / "new", spec(kind="policy"))
    assert [path.name for path in written] == ["forge.toml", "README.md", "policy.toml"]
    assert pack(tmp_path / "new", out).manifest.kind == "policy"


def test_the_policy_among_the_examples_would_be_published(out: Output) -> None:
    folder = Path(__file__).parents[2] / "examples" / "health-baseline"
    packed = pack(folder, out)
    assert packed.manifest.kind == "policy"
    assert packed.notices == ()
    assert set(read_policy(folder / "policy.toml").rules) > {"review-level", "licences"}
    held = evaluate(read_policy(folder / "policy.toml"), Facts.of_manifest(packed.manifest), NOW)
    names = {rule.name: rule.holds for rule in held.rules}
    assert names["licences"]  # it would itself pass what needs no reviewer
    assert names["formats-denied"]
    assert names["card-languages"]
    assert not names["review-level"]


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "a component of kind policy has its rules there"), ("", "an empty policy"),
     ("schema = 1\n", "rules"), ("[", "TOML")],
    ids=["none", "empty", "no rules", "garbage"],
)  # fmt: skip
def test_a_policy_that_cannot_be_read_is_not_packed(
    tmp_path: Path, out: Output, text: str | None, words: str
) -> None:
    folder = tmp_path / "new"
    scaffold(folder, spec(kind="policy"))
    (folder / "policy.toml").unlink()
    if text is not None:
        (folder / "policy.toml").write_text(text)
    with pytest.raises((ForgeError, MalformedError)) as caught:
        pack(folder, out)
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert "policy.toml" in caught.value.message


def test_nothing_is_written_when_an_option_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(MalformedError):
        scaffold(tmp_path / "new", spec(version="1.0.0+local"))
    assert not (tmp_path / "new").exists()


def test_files_that_are_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert [path.name for path in scaffold(tmp_path, spec())] == ["forge.toml"]
    assert (tmp_path / "README.md").read_text() == "mine"
    with pytest.raises(ForgeError):
        scaffold(tmp_path, spec())
