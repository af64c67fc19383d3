"""Downloads with a chunk list: verified on arrival, resumed, shared, reused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from builders import NAME, sha256, tree
from chunked_worlds import DATA, LIST, MIDDLE, NEW, PATH, Served, installed, partial, world_with
from cli_fixtures import Forge, new_world
from forge_client import forge, pauses
from ranged_server import (
    Blob,
    Fault,
    altered,
    cut,
    doubled,
    ignoring,
    longer,
    refusing,
    shifted,
    swapped,
)
from static_server import StaticServer
from tensors import chunks_of, safetensors, tensors

from forge_cli.remote.metadata import not_served
from forge_cli.remote.sources import Sources

__all__ = ["forge", "pauses"]


def test_every_byte_comes_once(forge: Forge) -> None:
    blob = Blob(DATA)
    with Served(forge, world_with(), blob):
        forge.ok("install", str(NAME), "--into", "out")
    assert installed(forge) == DATA
    assert blob.sent == len(DATA)
    assert not partial(forge).exists()
    assert not partial(forge, "journal").exists()


@pytest.mark.parametrize(
    ("faults", "again"),
    [
        ([altered(MIDDLE)], 1),
        ([altered(0)], 1),
        ([altered(len(DATA) - 1)], 1),
        ([altered(MIDDLE), altered(MIDDLE)], None),
        ([cut(100_000)] * 5, 1),
        ([cut(5)], 1),
        ([cut(0)], None),
        ([swapped], None),
        ([doubled], None),
        ([shifted], None),
        ([ignoring], None),
        ([refusing(503, Retry_After="1")] * 3, 1),
        ([refusing(429)] * 2, 1),
        ([refusing(502)], 1),
    ],
    ids=[
        "a bit in the middle", "the first", "the last", "twice the same", "breaks five times",
        "breaks at once", "no byte", "reordered", "duplicated", "another range", "ignores Range",
        "busy with advice", "busy without", "bad gateway",
    ],
)  # fmt: skip
def test_a_proxy_that_spoils_some_answers_costs_what_it_spoilt(
    forge: Forge, pauses: list[float], faults: list[Fault], again: int | None
) -> None:
    """``again``: how many chunks' worth of bytes may come once more; None: any."""
    blob = Blob(DATA, list(faults))
    forge.home.mkdir()
    with Served(forge, world_with(), blob):
        ran = forge("install", str(NAME), "--into", "out")
        if ran.code == 8:  # a line that brought nothing at all: the next run has it
            assert forge.nothing_installed()
            ran = forge("install", str(NAME), "--into", "out")
        assert ran.code == 0, ran.err
    assert installed(forge) == DATA
    if again is not None:
        # What was under way when the connection was left is on the server's count as well.
        assert sum(end - start for start, end in blob.asked) >= len(DATA)


@pytest.mark.parametrize(
    ("fault", "code"),
    [(altered(MIDDLE), "chunk"), (swapped, "chunk"), (doubled, "chunk"), (longer, "more than")],
    ids=["altered", "reordered", "duplicated", "endless"],
)
def test_a_source_that_always_lies_is_refused_by_the_chunk(
    forge: Forge, pauses: list[float], fault: Fault, code: str
) -> None:
    blob = Blob(DATA, always=fault)
    with Served(forge, world_with(), blob):
        ran = forge("install", str(NAME), "--into", "out")
    assert ran.code == 3, ran.err
    assert code in ran.err
    assert "--mirror" in ran.err or "mirror" in ran.err
    assert forge.nothing_installed()
    assert forge.cached() == [] or all(
        sha256(path.read_bytes()) == path.name for path in forge.cached()
    )


def test_only_the_bad_chunk_is_fetched_again(forge: Forge, pauses: list[float]) -> None:
    blob = Blob(DATA, always=altered(MIDDLE))
    with Served(forge, world_with(), blob):
        assert forge("install", str(NAME), "--into", "out").code == 3
        bad = LIST[LIST.at(MIDDLE)]
        blob.always, blob.asked = None, []
        forge.ok("install", str(NAME), "--into", "out")
    # What had been verified stayed; the rest, the bad chunk first, came now.
    assert all(start >= 0 for start, _ in blob.asked)
    assert (bad.start in {start for start, _ in blob.asked}) or any(
        start <= bad.start < end for start, end in blob.asked
    )
    assert sum(end - start for start, end in blob.asked) < len(DATA)
    assert installed(forge) == DATA


def test_another_source_takes_over_and_the_bad_one_is_left(
    forge: Forge, pauses: list[float]
) -> None:
    good, bad = Blob(DATA), Blob(DATA, always=altered(MIDDLE))
    world = world_with()
    with Served(forge, world, good), StaticServer({bad.path: bad}) as mirror:
        forge.ok("install", str(NAME), "--into", "out", "--mirror", mirror.url)
    assert installed(forge) == DATA
    assert bad.sent > 0
    assert good.sent < len(DATA)


def test_a_source_that_lacks_a_file_is_as_good_as_before_for_others() -> None:
    """A mirror of the large files alone would else be left for good after its first 404."""
    sources = Sources(["https://mirror.example", "https://registry.example"])
    mirror, registry = sources
    sources.failed(mirror, not_served("https://mirror.example/blobs/1", 404))
    assert sources.pick() is mirror
    sources.failed(mirror, not_served("https://mirror.example/blobs/1", 500))
    assert sources.pick() is registry


@pytest.mark.parametrize("down", ["nothing there", "not found", "busy"])
def test_a_mirror_that_is_down_is_passed_over(forge: Forge, pauses: list[float], down: str) -> None:
    blob = Blob(DATA)
    answers = {blob.path: refusing(503)} if down == "busy" else {}
    faulty = Blob(DATA, always=refusing(503))
    answers = {faulty.path: faulty} if down == "busy" else {}
    with Served(forge, world_with(), blob), StaticServer(answers) as mirror:
        url = "http://127.0.0.1:1" if down == "nothing there" else mirror.url
        forge.ok("install", str(NAME), "--into", "out", "--mirror", url)
    assert installed(forge) == DATA


def test_mirrors_from_the_settings_serve_when_the_registry_has_lost_the_blob(
    forge: Forge, pauses: list[float]
) -> None:
    blob = Blob(DATA)
    world = world_with()
    with (
        Served(forge, world, Blob(DATA, always=refusing(404))),
        StaticServer({**world.files(), blob.path: blob}) as mirror,
    ):
        forge.ok("config", "set", "mirrors", mirror.url)
        forge.ok("install", str(NAME), "--into", "out")
    assert installed(forge) == DATA


def test_a_list_that_nobody_serves_is_done_without(forge: Forge) -> None:
    blob = Blob(DATA)
    world = world_with()
    with Served(forge, world, blob) as server:
        del server.files[f"/blobs/{LIST.digest}"]
        forge.ok("install", str(NAME), "--into", "out")
    assert installed(forge) == DATA


def test_a_list_of_another_file_cannot_poison_the_cache(forge: Forge, pauses: list[float]) -> None:
    """A publisher (with a registry that does not look) who signs one file's digest with another's
    chunks."""
    other = safetensors(tensors(7, count=24))
    world = new_world()
    world.publish({**tree(), PATH: DATA}, {PATH: chunks_of(other).raw})
    blob = Blob(other)
    with Served(forge, world) as server:
        server.files[f"/blobs/{sha256(DATA)}"] = other
        ran = forge("install", str(NAME), "--into", "out")
    assert blob.sent == 0
    assert ran.code == 3, ran.err
    assert forge.nothing_installed()
    assert sha256(DATA) not in {path.name for path in forge.cached()}


# --- what another process left ---------------------------------------------------------------


def left_by_a_killed_process(forge: Forge, upto: int) -> None:
    """As after kill -9 when the chunks before ``upto`` had come."""
    from forge_cli.remote.partial import Partial

    path = partial(forge)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Partial(path, LIST)
    for chunk in list(LIST)[:upto]:
        unfinished.write(DATA[chunk.start : chunk.end], chunk.start)
        unfinished.mark(chunk.number)
    unfinished.write(b"half a chunk", LIST[upto].start)
    unfinished.close()


def test_a_journal_is_continued_by_another_process(forge: Forge) -> None:
    blob = Blob(DATA)
    left_by_a_killed_process(forge, 20)
    with Served(forge, world_with(), blob):
        forge.ok("install", str(NAME), "--into", "out")
    assert installed(forge) == DATA
    assert blob.sent == len(DATA) - LIST[20].start


def spoil_file(forge: Forge) -> None:
    with partial(forge).open("r+b") as file:
        file.seek(LIST[3].start + 5)
        file.write(b"rot")


def append(forge: Forge, data: bytes) -> None:
    with partial(forge, "journal").open("ab") as file:
        file.write(data)


@pytest.mark.parametrize(
    ("spoil", "lost"),
    [
        (spoil_file, 1),
        (lambda forge: partial(forge, "journal").unlink(), 0),
        (lambda forge: partial(forge, "journal").write_bytes(b""), 0),
        (lambda forge: partial(forge, "journal").write_bytes(os.urandom(500)), 0),
        (lambda forge: os.truncate(partial(forge), LIST[10].start), 10),
        (lambda forge: append(forge, b"\0\0"), 0),
        (lambda forge: append(forge, b"\xff\xff\xff\xff"), 0),
        (lambda forge: partial(forge).unlink(), 20),
    ],
    ids=["a chunk rotted", "no journal", "empty", "noise", "file cut", "torn", "beyond", "no file"],
)
def test_what_lies_here_is_never_believed_blindly(forge: Forge, spoil: object, lost: int) -> None:
    blob = Blob(DATA)
    left_by_a_killed_process(forge, 20)
    spoil(forge)  # type: ignore[operator]
    with Served(forge, world_with(), blob):
        forge.ok("install", str(NAME), "--into", "out")
    assert installed(forge) == DATA
    rest = len(DATA) - LIST[20].start
    assert rest <= blob.sent <= rest + sum(LIST[n].length for n in range(20))
    if lost < 10:
        assert blob.sent <= rest + lost * (256 << 10)


def test_after_a_power_cut_the_journal_is_a_hint(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The journal reached the disk and some of the chunks did not."""
    blob = Blob(DATA)
    left_by_a_killed_process(forge, 20)
    with partial(forge).open("r+b") as file:
        file.seek(LIST[15].start)
        file.write(bytes(LIST[19].end - LIST[15].start))
    other_boot = tmp_path / "boot"
    other_boot.write_text("another-boot\n")
    monkeypatch.setattr("forge_cli.boot._BOOT", other_boot)
    with Served(forge, world_with(), blob):
        forge.ok("install", str(NAME), "--into", "out")
    assert installed(forge) == DATA
    assert blob.sent == len(DATA) - LIST[15].start


@pytest.mark.parametrize("case", NEW)
@pytest.mark.parametrize("where", ["in the cache", "installed", "installed, its list lost"])
def test_a_new_version_moves_what_changed(forge: Forge, case: str, where: str) -> None:
    new, share = NEW[case]
    world = world_with()
    with Served(forge, world, Blob(DATA)) as server:
        forge.ok("install", str(NAME), "--into", "out")
        if where == "in the cache":
            shutil.rmtree(forge.place / "out")
        elif where == "installed":
            for path in forge.cached():
                if path.name == sha256(DATA):
                    path.unlink()
        else:
            shutil.rmtree(forge.home / "cache")
        world_with(new, "1.1.0", world)
        blob = Blob(new)
        server.files.update({**world.files(), blob.path: blob})
        forge.ok("install", str(NAME), "--into", "out", "--upgrade")
    assert installed(forge) == new
    assert 0 < blob.sent <= share * len(new)


@pytest.mark.parametrize("time", ["its time tells", "its time is put back"])
def test_an_old_file_that_was_changed_by_somebody_gives_only_what_is_right(
    forge: Forge, time: str
) -> None:
    new, _ = NEW["a longer header"]
    world = world_with()
    with Served(forge, world, Blob(DATA)) as server:
        forge.ok("install", str(NAME), "--into", "out")
        path = forge.place / "out" / "forge_components" / str(NAME) / PATH
        info = path.stat()
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.seek(MIDDLE)
            file.write(b"somebody was here")
        if time == "its time is put back":
            os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
        world_with(new, "1.1.0", world)
        blob = Blob(new)
        server.files.update({**world.files(), blob.path: blob})
        forge.ok("install", str(NAME), "--into", "out", "--upgrade", "--force")
    assert installed(forge) == new
    assert blob.sent <= 0.08 * len(new)


def test_what_an_interrupted_run_brought_counts_and_is_told(
    forge: Forge, pauses: list[float]
) -> None:
    """Whoever runs it again wants to see that it goes on, and does not begin."""
    left_by_a_killed_process(forge, 20)
    with Served(forge, world_with(), Blob(DATA, [cut(0)] * 1000)):
        plan = forge.ok("install", str(NAME), "--into", "out", "--plan", "--json").json
        whole = sum(len(data) for data in {**tree(), PATH: DATA}.values())
        came = whole - plan["fetch_bytes"]
        assert LIST[20].start // 2 <= came < len(DATA)
        assert plan["reuse_bytes"] == came
        assert plan["disk_bytes"] == plan["fetch_bytes"]
        ran = forge("install", str(NAME), "--into", "out")
        assert ran.code == 8
        assert "of it came before" in ran.err
        assert "again" in ran.err.partition("hint:")[2]
        forge.ok("cache", "prune", "--all")
    with Served(forge, world_with(), Blob(DATA)):
        forge.ok("install", str(NAME), "--into", "out")
    (forge.place / "out" / "forge_components" / str(NAME) / PATH).unlink()
    forge.ok("cache", "prune", "--all")
    left_by_a_killed_process(forge, 20)
    ran = forge("verify", f"out/forge_components/{NAME}", "--repair")
    assert ran.code == 8
    assert "connection refused" in ran.err
    assert "is kept: the same command again continues there" in ran.err


# --- part of a component, and what would be moved ----------------------------------------------


def test_a_partial_installation_is_recorded_as_one(forge: Forge) -> None:
    blob = Blob(DATA)
    with Served(forge, world_with(), blob):
        forge.ok("install", str(NAME), "--into", "out", "--exclude", "weights/*")
        tree = forge.place / "out" / "forge_components" / str(NAME)
        assert blob.sent == 0
        assert sorted(p.name for p in tree.rglob("*") if p.is_file()) == ["README.md", "forge.toml"]
        assert not (forge.place / "out" / "forge.lock").exists()
        ran = forge.ok("verify", str(tree))
        assert "PARTIAL" in ran.out
        assert "--exclude" in ran.err
        (tree / "README.md").unlink()
        assert forge("verify", str(tree)).code == 3
        (tree / "README.md").write_bytes(b"# card\n")
        (tree / "extra").write_bytes(b"x")
        assert forge("verify", str(tree)).code == 3
        (tree / "extra").unlink()
        # The whole is another thing than the part.
        forge.ok("install", str(NAME), "--into", "out")
        assert installed(forge) == DATA
        assert "PARTIAL" not in forge.ok("verify", str(tree)).out


def test_include_takes_what_matches_and_forge_toml(forge: Forge) -> None:
    with Served(forge, world_with(), Blob(DATA)):
        forge.ok("install", str(NAME), "--into", "out", "--include", "*.safetensors")
    tree = forge.place / "out" / "forge_components" / str(NAME)
    found = {p.name for p in tree.rglob("*") if p.is_file()}
    assert found == {"forge.toml", "model.safetensors"}


def test_a_pattern_that_no_file_matches_is_a_mistake(forge: Forge) -> None:
    """And not a wish for nothing: what is installed stays whole."""
    with Served(forge, world_with(), Blob(DATA)):
        forge.ok("install", str(NAME), "--into", "out")
        for more in ((), ("--plan",)):
            ran = forge(
                "install", str(NAME), "--into", "out", "--include", "*.safetensor", *more,
                "--include", "*.md",
            )  # fmt: skip
            assert ran.code == 5
            assert "no file matches --include '*.safetensor'\n" in ran.err
            assert f"it has README.md, forge.toml, {PATH}" in ran.err
        assert installed(forge) == DATA
        ran = forge.ok("install", str(NAME), "--into", "out", "--include", "*.md")
        assert f"{NAME} 1.0.0 (in part)" in ran.err


def test_a_plan_fetches_no_file_and_says_what_would_be(forge: Forge) -> None:
    world, blob = world_with(), Blob(DATA)
    with Served(forge, world, blob) as server:
        plan = forge.ok("install", str(NAME), "--into", "out", "--plan", "--json").json
        assert blob.sent == 0
        assert plan["fetch_bytes"] >= len(DATA)
        assert plan["bytes_per_second"] is None
        assert forge.nothing_installed()
        forge.ok("install", str(NAME), "--into", "out")
        new, share = NEW["a longer header"]
        world_with(new, "1.1.0", world)
        blob = Blob(new)
        server.files.update({**world.files(), blob.path: blob})
        plan = forge.ok("install", str(NAME), "--into", "out", "--upgrade", "--plan", "--json").json
        assert blob.sent == 0
        assert plan["fetch_bytes"] <= share * len(new) + 1000
        assert plan["bytes_per_second"] > 0
        assert plan["seconds"] is not None
        assert plan["sources"] == [server.url]
        shown = forge.ok("install", str(NAME), "--into", "out", "--upgrade", "--plan")
        assert "to fetch" in shown.out
        assert "nothing was fetched" in shown.err


# --- the registry is away ----------------------------------------------------------------------


def test_a_mirror_gives_the_signed_files_too_when_the_registry_is_away(
    forge: Forge, pauses: list[float]
) -> None:
    world, blob = world_with(), Blob(DATA)
    with Served(forge, world, Blob(DATA)):
        pass  # pinned, and gone
    with StaticServer({**world.files(), blob.path: blob}) as mirror:
        forge.ok("install", str(NAME), "--into", "out", "--mirror", mirror.url)
    assert installed(forge) == DATA


def test_what_a_mirror_says_is_verified_like_anybodys(forge: Forge, pauses: list[float]) -> None:
    """Another registry's files under the same names."""
    world, other = world_with(), world_with(NEW["a longer header"][0])
    with Served(forge, world, Blob(DATA)):
        pass
    with StaticServer(other.files()) as mirror:
        ran = forge("install", str(NAME), "--into", "out", "--mirror", mirror.url)
    assert ran.code == 3, ran.err
    assert forge.nothing_installed()


def test_a_mirror_that_is_behind_rolls_nobody_back(forge: Forge, pauses: list[float]) -> None:
    world = world_with()
    old = world.files()
    new, _ = NEW["a longer header"]
    world_with(new, "1.1.0", world)
    with Served(forge, world, Blob(new)):
        forge.ok("install", str(NAME), "--into", "out")
    with StaticServer(old) as mirror:
        ran = forge("install", str(NAME), "--into", "out", "--upgrade", "--mirror", mirror.url)
    assert ran.code == 3, ran.err
    assert installed(forge) == new
