"""`forge review diff`: which two, what is fetched for it, and what is believed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass

import pytest
from builders import NAME, World, sha256, tree
from cli_fixtures import Forge, new_world
from comparing import f32
from forge_client import forge
from packaging.version import Version
from ranged_server import Blob, altered, ignoring, refusing
from static_server import StaticServer
from tensors import chunks_of, replaced, safetensors, tensors, typed

from forge_cli.remote.trust import View
from signing.assessment import Assessment
from signing.role_edits import set_yanked
from signing.roles import IndexEntry

__all__ = ["forge"]


PATH = "weights/model.safetensors"
OLD_VALUES = tensors(1, count=24)
NEW_VALUES = replaced(OLD_VALUES, ["layer.7"])
OLD = safetensors(OLD_VALUES)
NEW = safetensors(NEW_VALUES, note="new")
TENSOR = len(OLD_VALUES["layer.7"])


def publish(world: World, version: str, data: bytes, **files: bytes) -> None:
    content = {**tree(version=version), PATH: data, **files}
    lists = {PATH: chunks_of(data).raw} if len(data) > 1 << 20 else {}
    world.publish(content, lists)


@pytest.fixture(scope="module")
def world() -> World:
    made = new_world()
    publish(made, "1.0.0", OLD)
    publish(made, "1.1.0", NEW, **{"run.py": b"import socket\n"})
    return made


class Served(StaticServer):
    """The world, with its two large files as blobs that count what they send."""

    def __init__(self, world: World) -> None:
        self.old, self.new = Blob(OLD), Blob(NEW)
        super().__init__({**world.files(), self.old.path: self.old, self.new.path: self.new})

    @property
    def sent(self) -> int:
        return self.old.sent + self.new.sent


def test_only_what_changed_is_fetched(forge: Forge, world: World) -> None:
    with Served(world) as server:
        forge.trust(server, world)
        ran = forge.ok("review", "diff", str(NAME), "1.0.0", "1.1.0")
    assert "layer.7" in ran.out
    assert "run.py: imports socket" in ran.out
    # The header and the tensor of both, and what of the chunks reaches beyond them.
    assert 2 * TENSOR <= server.sent < 3.5 * TENSOR
    assert "was read in parts" in ran.err
    assert not any("/etc" in path for path in server.paths())


def test_an_answer_in_json_has_the_document_and_its_digest(forge: Forge, world: World) -> None:
    with Served(world) as server:
        forge.trust(server, world)
        value = forge.ok("review", "diff", str(NAME), "1.1.0", "--json", "--out", "d.json").json
    document = value["document"]
    assert value["sha256"] == sha256((forge.place / "d.json").read_bytes())
    assert json.loads((forge.place / "d.json").read_bytes()) == document
    assert document["old"]["version"] == "1.0.0"
    assert value["baseline"] == "the version before it"
    model = document["models"][0]
    assert [each["name"] for each in model["changed"]] == ["layer.7"]
    assert (model["unchanged"], model["added"], model["removed"]) == (23, [], [])
    assert value["in_parts"] == [PATH]
    assert value["received_bytes"] > 0


def test_the_digest_does_not_depend_on_where_the_bytes_were(forge: Forge, world: World) -> None:
    with Served(world) as server:
        forge.trust(server, world)
        from_ranges = forge.ok("review", "diff", str(NAME), "1.1.0", "--json").json
        for version in ("1.0.0", "1.1.0"):  # now whole files are in the cache
            forge.ok("install", f"{NAME}=={version}", "--into", version, "--no-pip")
        before = server.sent
        from_cache = forge.ok("review", "diff", str(NAME), "1.1.0", "--json").json
        assert server.sent == before
    assert from_cache["sha256"] == from_ranges["sha256"]
    assert from_cache["in_parts"] == []


def test_what_was_fetched_is_not_fetched_again(forge: Forge, world: World) -> None:
    with Served(world) as server:
        forge.trust(server, world)
        forge.ok("review", "diff", str(NAME), "1.1.0")
        before = server.sent
        forge.ok("review", "diff", str(NAME), "1.1.0")
        assert server.sent == before
        forge.ok("install", f"{NAME}==1.1.0", "--into", "out", "--no-pip")
    # The installation went on with what the comparison had begun.
    assert server.new.sent == len(NEW)


def test_without_values_changed_tensors_stay_where_they_are(forge: Forge, world: World) -> None:
    with Served(world) as server:
        forge.trust(server, world)
        value = forge.ok("review", "diff", str(NAME), "1.1.0", "--no-values", "--json").json
    changed = value["document"]["models"][0]["changed"]
    assert [each["name"] for each in changed] == ["layer.7"]
    assert "max_abs" not in changed[0]
    assert server.sent < 1.5 * TENSOR  # the headers, and what the first chunks leave open


def test_an_altered_chunk_is_asked_for_again(forge: Forge, world: World) -> None:
    at = NEW.index(NEW_VALUES["layer.7"]) + 1000
    with Served(world) as server:
        forge.trust(server, world)
        server.new.faults = [altered(at), altered(at)]
        spoilt = forge.ok("review", "diff", str(NAME), "1.1.0", "--json").json
        server.new.always = None
        shutil.rmtree(forge.home / "cache")
        assert (
            forge.ok("review", "diff", str(NAME), "1.1.0", "--json").json["sha256"]
            == (spoilt["sha256"])
        )


def test_a_registry_that_only_has_other_bytes_is_refused(forge: Forge, world: World) -> None:
    at = NEW.index(NEW_VALUES["layer.7"]) + 1000
    with Served(world) as server:
        forge.trust(server, world)
        server.new.always = altered(at)
        ran = forge("review", "diff", str(NAME), "1.1.0")
    assert ran.code == 3
    assert "chunk" in ran.err
    assert "sha256:" not in ran.out


def test_a_source_that_knows_no_ranges_will_do(forge: Forge, world: World) -> None:
    with Served(world) as server:
        forge.trust(server, world)
        server.new.always = server.old.always = ignoring
        value = forge.ok("review", "diff", str(NAME), "1.1.0", "--json").json
    assert [each["name"] for each in value["document"]["models"][0]["changed"]] == ["layer.7"]


def test_a_source_that_is_away_is_a_network_error(forge: Forge, world: World) -> None:
    with Served(world) as server:
        forge.trust(server, world)
        server.new.always = refusing(404)
        assert forge("review", "diff", str(NAME), "1.1.0").code == 8


@pytest.mark.parametrize("wrong", ["manifest", "bundle"])
def test_signatures_come_before_contents(forge: Forge, wrong: str) -> None:
    world = new_world()
    publish(world, "1.0.0", OLD)
    publish(world, "1.1.0", OLD)
    files = world.files()
    path = next(path for path in files if ("/1.1.0/" in path and wrong in path) or (
        wrong == "bundle" and "/1.1.0/" in path and "sigstore" in path))  # fmt: skip
    files[path] = files[path].replace(b"a", b"b", 1)
    with StaticServer(files) as server:
        forge.trust(server, world)
        ran = forge("review", "diff", str(NAME), "1.1.0")
    assert ran.code == 3
    assert ran.out == ""


def test_a_first_release_is_compared_with_nothing(forge: Forge) -> None:
    world = new_world()
    publish(world, "1.0.0", typed({"w": ("F32", [2], f32(1, 2))}))
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        value = forge.ok("review", "diff", str(NAME), "1.0.0", "--json").json
    assert value["baseline"] == "there is no version before it"
    assert value["document"]["old"]["manifest_sha256"] is None
    assert len(value["document"]["files"]["added"]) == 3
    assert [each["name"] for each in value["document"]["models"][0]["added"]] == ["w"]


def test_a_yanked_version_is_no_baseline(forge: Forge) -> None:
    world = new_world()
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        publish(world, version, typed({"w": ("F32", [2], f32(1, 2))}))
    key = world.project_keys[str(NAME)]
    world.set_role(
        NAME.role,
        set_yanked(world.roles[NAME.role], NAME, Version("1.1.0"), "broken", [key], world.now),
    )
    world.publish_metadata()
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        value = forge.ok("review", "diff", f"{NAME}==1.2.0", "--json").json
    assert value["document"]["old"]["version"] == "1.0.0"


@dataclass(frozen=True)
class Reviewers:
    """What bodies decided, by version; asked like `remote.reviews.Reviews`."""

    levels: dict[str, str]

    def bodies(self) -> dict[str, str]:
        return {"cert": "named by the authority"} if self.levels else {}

    def assess(self, name: object, entry: IndexEntry) -> Assessment:
        return Assessment(level=self.levels.get(str(entry.version), "community"))


@pytest.mark.parametrize(
    ("levels", "old", "why"),
    [
        ({}, "1.2.0", "the version before it"),
        ({"1.9.9": "approved"}, "1.2.0", "the version before it"),
        ({"1.0.0": "reviewed"}, "1.0.0", "the last version before it that is reviewed"),
        ({"1.0.0": "approved", "1.2.0": "reviewed"}, "1.0.0",
         "the last version before it that is approved"),
        ({"1.0.0": "approved", "1.1.0": "approved"}, "1.1.0",
         "the last version before it that is approved"),
        ({"1.3.0": "approved"}, "1.2.0", "the version before it"),
    ],
    ids=["no bodies", "of another", "reviewed", "approved before reviewed", "the newest", "itself"],
)  # fmt: skip
def test_the_last_approved_version_is_the_baseline(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, levels: dict[str, str], old: str, why: str
) -> None:
    monkeypatch.setattr(View, "reviewers", property(lambda _: Reviewers(levels)))
    world = new_world()
    for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
        publish(world, version, typed({"w": ("F32", [2], f32(1, 2))}))
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        value = forge.ok("review", "diff", str(NAME), "1.3.0", "--json").json
    assert (value["document"]["old"]["version"], value["baseline"]) == (old, why)


def test_a_version_against_a_folder_and_two_folders(forge: Forge, world: World) -> None:
    for version, data in (("1.0.0", OLD), ("1.1.0", NEW)):
        for path, content in {**tree(version=version), PATH: data}.items():
            file = forge.place / version / "x" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    with Served(world) as server:
        forge.trust(server, world)
        mixed = forge.ok("review", "diff", str(NAME), "1.0.0", "1.1.0/x", "--json").json
    asked = len(server.requests)
    folders = forge.ok("review", "diff", "1.0.0/x", "1.1.0/x", "--json").json
    assert len(server.requests) == asked
    for value in (mixed, folders):
        assert [each["name"] for each in value["document"]["models"][0]["changed"]] == ["layer.7"]
    assert mixed["document"]["models"] == folders["document"]["models"]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ([str(NAME)], 2, "expected ORG/NAME [OLD] NEW"),
        ([str(NAME), "1", "2", "3"], 2, "expected ORG/NAME [OLD] NEW"),
        ([str(NAME), "9.9.9"], 5, "there are: 1.1.0, 1.0.0"),
        ([str(NAME), "no-such-folder"], 5, "no such folder"),
        (["Not A Name", "1.0.0"], 1, "organisation/name"),
    ],
    ids=["no version", "too many", "no such version", "no such folder", "no name"],
)
def test_what_cannot_be_compared_is_said(
    forge: Forge, world: World, args: list[str], code: int, says: str
) -> None:
    with Served(world) as server:
        forge.trust(server, world)
        ran = forge("review", "diff", *args)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err


def test_nothing_of_a_publisher_steers_the_terminal(forge: Forge) -> None:
    for name in ("old", "new"):
        (forge.place / name).mkdir()
    evil = "\x1b[2J\u202e"
    (forge.place / "new" / "a\u202eb.py").write_text(f"import os # {evil}")
    (forge.place / "new" / "config.json").write_text(json.dumps({evil: evil}))
    (forge.place / "new" / "README.md").write_text(f"# {evil}\n{evil}\n")
    (forge.place / "new" / "vocab.txt").write_text(f"{evil}\n")
    (forge.place / "new" / "requirements.txt").write_text(f"{evil}\n")
    (forge.place / "new" / "m.safetensors").write_bytes(typed({evil: ("U8", [1], b"x")}))
    ran = forge.ok("review", "diff", "old", "new")
    assert not {"\x1b", "\u202e"} & set(ran.out + ran.err)
    assert "\\x1b[2J" in ran.out


def test_long_lists_are_cut_and_said_to_be(forge: Forge) -> None:
    for name in ("old", "new"):
        (forge.place / name).mkdir()
    for number in range(30):
        (forge.place / "new" / f"f{number}.py").write_text("import os")
    short = forge.ok("review", "diff", "old", "new").out
    long = forge.ok("review", "diff", "old", "new", "--all").out
    assert "… and" in short
    assert "--all" in short
    assert "… and" not in long
    assert long.splitlines()[-1] == short.splitlines()[-1]
