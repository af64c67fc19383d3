"""`forge_cli.api`: what a program gets, and what it is told where it gets nothing."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from pathlib import Path

import pytest
from builders import NAME, World, changed_json, manifest_of, sha256, tree
from cli_fixtures import Forge
from packaging.version import Version
from reading import FILES, PINNED, WEIGHTS, Readable, readable, server, world
from static_server import StaticServer

from forge_cli import api
from signing.manifest import Manifest, parse_manifest
from signing.role_edits import set_yanked

__all__ = ["readable", "server", "world"]


@pytest.fixture(scope="module")
def reader(readable: Readable) -> api.Registry:
    """One look at a registry that does not change, for all that only ask what there is."""
    registry = api.Registry(fresh_seconds=3600)
    registry.release(PINNED)
    return registry


@pytest.fixture
def forge(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    world: World,
    server: StaticServer,
) -> Iterator[Forge]:
    """A machine that trusts ``world``. Whatever its programs do, nothing is printed."""
    monkeypatch.setattr("forge_cli.remote.http.pause_seconds", lambda _: 0.0)
    made = Forge(tmp_path, monkeypatch, capsys)
    made.trust(server, world)
    capsys.readouterr()
    yield made
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""


def serve(server: StaticServer, world: World) -> None:
    server.files = dict(world.files())


def yank(world: World, version: str, reason: str) -> None:
    key = world.project_keys[str(NAME)]
    world.set_role(
        NAME.role,
        set_yanked(world.roles[NAME.role], NAME, Version(version), reason, [key], world.now),
    )
    world.publish_metadata()
    world.say_status()


def blob_requests(server: StaticServer) -> list[str]:
    return [path for path in server.paths() if path.startswith("/blobs/")]


def read(reference: str, path: str = WEIGHTS) -> bytes:
    with api.open(reference, path) as file:
        return file.read()


# --- what there is -------------------------------------------------------------------------------


def test_a_release_is_described_without_its_files(forge: Forge, server: StaticServer) -> None:
    found = api.release(PINNED)
    assert (found.component, found.version, found.kind) == (str(NAME), "1.0.0", "model")
    assert {file.path: file.sha256 for file in found.files} == {
        path: sha256(data) for path, data in FILES.items()
    }
    assert len(blob_requests(server)) == 1  # forge.toml, which is part of what is signed
    with pytest.raises(FrozenInstanceError):
        found.version = "2"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        (str(NAME), "1.1.0"),
        (PINNED, "1.0.0"),
        (f"{NAME}==1.0.0", "1.0.0"),
        (f"{NAME}@>=1,<1.1", "1.0.0"),
        (f"{NAME}>=1", "1.1.0"),
    ],
)
def test_versions_are_chosen_as_the_commands_choose_them(
    reader: api.Registry, reference: str, version: str
) -> None:
    assert reader.release(reference).version == version


def test_a_file_is_read(forge: Forge, server: StaticServer) -> None:
    with api.open(PINNED, WEIGHTS) as file:
        file.seek(4000)
        assert file.read(3) == bytes((160, 161, 162))
        assert not file.writable()
    server.requests.clear()
    with api.open(PINNED, WEIGHTS) as file:
        assert file.read() == FILES[WEIGHTS]
    assert blob_requests(server) == []


def test_a_path_is_where_the_files_are(forge: Forge) -> None:
    one = api.path(PINNED, WEIGHTS)
    assert one.name == "model.safetensors"
    assert one.read_bytes() == FILES[WEIGHTS]
    assert [each.name for each in api.path(PINNED, "weights").iterdir()] == [one.name]
    whole = api.path(PINNED)
    found = {p.relative_to(whole).as_posix() for p in whole.rglob("*") if p.is_file()}
    assert found == set(FILES)
    assert api.path(PINNED) == whole
    assert forge.ok("cache", "prune").code == 0
    assert not whole.exists()


def test_installing_and_verifying(forge: Forge, server: StaticServer) -> None:
    done = api.install(PINNED, into="out")
    (one,) = done.components
    assert (one.component, one.version, one.changed) == (str(NAME), "1.0.0", True)
    assert (one.path / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    server.requests.clear()
    assert not api.install(into="out").components[0].changed
    assert server.requests == []
    verified = api.verify(one.path)
    assert verified.manifest_sha256 == one.manifest_sha256
    assert {check.status for check in verified.checks} <= {"passed", "not-checked"}
    assert server.requests == []
    assert api.verify(f"{NAME}").version == "1.1.0"


# --- what there is not ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "path", "kind", "words"),
    [
        (f"{NAME}@9.9", "x", api.Conflict, "the registry has 1.1.0, 1.0.0"),
        ("minds-lab/nobody", "x", api.NotFound, "minds-lab/nobody"),
        ("nobody/nothing", "x", api.NotFound, "nobody/nothing"),
        (PINNED, "weights", api.NotFound, "a folder, not a file"),
        (PINNED, "weights/model.safetensor", api.NotFound, f"did you mean {WEIGHTS}"),
        (PINNED, "../../../etc/passwd", api.NotFound, "no such file in the release"),
        (PINNED, "/etc/passwd", api.NotFound, "no such file in the release"),
        (PINNED, "weights%2Fmodel.safetensors", api.NotFound, "no such file in the release"),
        ("darija-lid", "x", api.Invalid, "organisation/name"),
        (f"{NAME}@latest", "x", api.Invalid, "a version like 1.0.0"),
        (f"{NAME}@latest", "x", api.Invalid, "without @latest it is the newest"),
        (f"{NAME}@", "x", api.Invalid, "a version like 1.0.0"),
        ("forge.example/minds-lab/darija-lid", "x", api.Invalid, "organisation/name"),
        ("Minds-Lab/darija-lid", "x", api.Invalid, "perhaps 'minds-lab'"),
    ],
)
def test_what_is_not_there_is_named(
    reader: api.Registry, reference: str, path: str, kind: type[api.Error], words: str
) -> None:
    with pytest.raises(kind) as caught:
        reader.open(reference, path)
    assert words in str(caught.value)


def test_errors_are_those_that_python_programs_expect(reader: api.Registry) -> None:
    with pytest.raises(ValueError, match="a version like"):
        reader.path(f"{NAME}@newest")
    with pytest.raises(FileNotFoundError) as caught:
        reader.path(PINNED, "nothing")
    error = pickle.loads(pickle.dumps(caught.value))
    assert (type(error), str(error)) == (api.NotFound, str(caught.value))
    assert error.code == "not-found"


def test_without_trust_it_is_said_what_to_run(
    forge: Forge, server: StaticServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FORGE_HOME", str(tmp_path / "another"))
    with pytest.raises(api.NotTrusted, match=f"forge trust add {server.url} --fingerprint"):
        api.open(PINNED, WEIGHTS)
    monkeypatch.delenv("FORGE_URL")
    with pytest.raises(api.NotTrusted, match="no registry is chosen"):
        api.release(PINNED)
    assert server.requests == []


def test_without_a_registry_it_is_unreachable(forge: Forge, server: StaticServer) -> None:
    api.path(PINNED)
    server.files.clear()
    with pytest.raises(api.Unreachable):
        api.path(PINNED)
    with pytest.raises(ConnectionError):
        api.open(PINNED, WEIGHTS)


# --- what must not be used -----------------------------------------------------------------------


def test_a_yanked_version_is_read_when_it_is_named(
    forge: Forge, server: StaticServer, world: World
) -> None:
    yank(world, "1.1.0", "wrong labels")
    serve(server, world)
    assert api.release(str(NAME)).version == "1.0.0"
    (remark,) = api.release(f"{NAME}@1.1.0").remarks
    assert "wrong labels" in remark
    with pytest.warns(api.ReleaseWarning, match="wrong labels"):
        api.open(f"{NAME}@1.1.0", WEIGHTS).close()


@pytest.mark.parametrize("state", ["quarantined", "revoked"])
def test_a_withheld_release_is_refused_with_the_sentence_of_the_command(
    forge: Forge, server: StaticServer, world: World, state: str
) -> None:
    api.path(PINNED)
    world.say_status(world.withheld(world.releases[f"{NAME}==1.0.0"], state))
    serve(server, world)
    for use in (
        lambda: api.release(PINNED),
        lambda: api.open(PINNED, WEIGHTS),
        lambda: api.path(PINNED),
        lambda: api.verify(PINNED),
        lambda: api.install(PINNED, into="out"),
    ):
        with pytest.raises(api.Withheld, match="looks poisoned") as caught:
            use()
        assert caught.value.code == f"release-{state}"
    assert caught.value.message in forge("install", f"{NAME}==1.0.0").err
    assert api.release(str(NAME)).version == "1.1.0"


def test_a_quarantine_is_seen_by_those_who_keep_a_registry(
    forge: Forge, server: StaticServer, world: World
) -> None:
    kept = api.Registry(fresh_seconds=3600)
    always = api.Registry(fresh_seconds=0)
    for each in (kept, always):
        each.release(PINNED)
    world.say_status(world.withheld(world.releases[f"{NAME}==1.0.0"]))
    serve(server, world)
    server.requests.clear()
    kept.open(PINNED, "README.md").close()
    assert len(server.requests) == 1  # the file
    with pytest.raises(api.Withheld):
        always.open(PINNED, "README.md")


def test_what_was_published_a_moment_ago_is_found(
    forge: Forge, server: StaticServer, world: World
) -> None:
    registry = api.Registry(fresh_seconds=3600)
    registry.release(PINNED)
    world.publish(tree(version="2.0.0"))
    world.say_status()
    serve(server, world)
    assert registry.release(f"{NAME}@2.0.0").version == "2.0.0"


def test_what_a_policy_does_not_permit_is_not_read(forge: Forge) -> None:
    (forge.home / "policies.toml").write_text("no policy")
    for use in (api.path, api.release, api.verify):
        with pytest.raises(api.NotPermitted):
            use(PINNED)


# --- what somebody changed -----------------------------------------------------------------------


def spoil(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))


def test_a_file_that_was_changed_in_the_cache_is_fetched_again(
    forge: Forge, server: StaticServer
) -> None:
    api.open(PINNED, WEIGHTS).close()
    (blob,) = (path for path in forge.cached() if path.name == sha256(FILES[WEIGHTS]))
    spoil(blob)
    server.requests.clear()
    assert read(PINNED) == FILES[WEIGHTS]
    assert len(blob_requests(server)) == 1
    blob.unlink()
    blob.symlink_to("/etc/passwd")
    assert read(PINNED) == FILES[WEIGHTS]


def test_a_file_that_is_wrong_in_the_registry_is_not_read(
    forge: Forge, server: StaticServer
) -> None:
    digest = sha256(FILES[WEIGHTS])
    (path,) = (path for path in server.files if path.endswith(digest))
    server.files[path] = bytes(len(FILES[WEIGHTS]))
    with pytest.raises(api.VerificationFailed, match="expected sha256"):
        api.open(PINNED, WEIGHTS)
    with pytest.raises(api.VerificationFailed):
        api.path(PINNED)
    assert not list((forge.home / "cache").glob("trees/*/weights"))


def test_a_description_that_is_not_the_signed_one_is_refused(
    forge: Forge, server: StaticServer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def otherwise(files: Mapping[str, bytes], lists: object) -> Manifest:
        raw = manifest_of(files).raw
        return parse_manifest(changed_json(raw, lambda m: m["metadata"].update(license="MIT")))

    monkeypatch.setattr("builders.manifest_of", otherwise)
    world.publish(tree(version="3.0.0"))
    world.say_status()
    serve(server, world)
    for use in (api.release, api.path):
        with pytest.raises(api.VerificationFailed, match="or another description"):
            use(f"{NAME}@3.0.0")


def test_a_tree_that_was_changed_is_put_right(forge: Forge, tmp_path: Path) -> None:
    whole = api.path(PINNED)
    spoil(whole / WEIGHTS)
    assert (api.path(PINNED) / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    spoil(whole / WEIGHTS)
    assert api.path(PINNED, WEIGHTS).read_bytes() == FILES[WEIGHTS]
    (whole / "added.py").write_text("import os")
    assert not (api.path(PINNED) / "added.py").exists()
    # With the times of verified files, so that nothing but the links tells them apart.
    mine, all_of_it = tmp_path / "mine", tmp_path / "all"
    shutil.copytree(api.path(PINNED), all_of_it)
    shutil.copytree(whole / "weights", mine)
    for file in (WEIGHTS, "weights", ""):
        shutil.rmtree(whole / "weights")
        (whole / "weights").symlink_to(mine)
        api.path(PINNED, file)
        assert (whole / WEIGHTS).read_bytes() == FILES[WEIGHTS]
        assert not (whole / "weights").is_symlink()
    for file in (WEIGHTS, ""):
        shutil.rmtree(whole)
        whole.symlink_to(all_of_it)
        api.path(PINNED, file)
        assert not whole.is_symlink()
        assert (whole / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    assert [path.name for path in mine.iterdir()] == ["model.safetensors"]


def test_an_installed_folder_that_was_changed_fails_with_its_checks(forge: Forge) -> None:
    (one,) = api.install(PINNED, into="out").components
    (one.path / "added").write_text("x")
    with pytest.raises(api.VerificationFailed, match="added") as caught:
        api.verify(one.path)
    assert [check.title for check in caught.value.checks if check.status == "failed"] == ["files"]
    assert "forge sync --into" in (caught.value.hint or "")
    with pytest.raises(api.Invalid, match=r"pathlib\.Path"):
        api.verify("out")


# --- how it behaves in somebody else's program ---------------------------------------------------


def test_offline_there_is_what_was_verified_here_and_nobody_is_asked(
    forge: Forge, server: StaticServer
) -> None:
    api.path(PINNED)
    server.requests.clear()
    offline = api.Registry(offline=True)
    assert offline.release(str(NAME)).version == "1.0.0", "the newest that was verified here"
    with offline.open(PINNED, WEIGHTS) as file:
        assert file.read() == FILES[WEIGHTS]
    assert (offline.path(f"{NAME}>=1") / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    (one,) = api.install(PINNED, into="out", offline=True).components
    assert (one.path / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    with pytest.raises(api.Conflict) as refused:
        offline.release(f"{NAME}==1.1.0")
    assert "only what was verified on this machine" in (refused.value.hint or "")
    verified = offline.verify(PINNED)
    assert all(check.status == "passed" for check in verified.checks if check.title != "reviews")
    assert any("moments ago" in remark for remark in verified.remarks)
    for nothing in (
        lambda: offline.release("minds-lab/other"),
        lambda: offline.verify("minds-lab/other"),
    ):
        with pytest.raises(api.Unreachable, match="nobody is asked"):
            nothing()
    assert server.requests == []


def test_offline_a_file_that_was_never_fetched_is_named(forge: Forge, server: StaticServer) -> None:
    api.release(PINNED)
    server.requests.clear()
    with pytest.raises(api.Unreachable, match=f"{WEIGHTS}: not on this machine"):
        api.open(PINNED, WEIGHTS, offline=True)
    with pytest.raises(api.Unreachable, match=r"README\.md: not on this machine, nor 1 other file"):
        api.verify(PINNED, offline=True)
    assert server.requests == []


def test_offline_proves_again_and_refuses_what_was_withheld(
    forge: Forge, server: StaticServer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = api.release(PINNED)
    api.open(PINNED, "forge.toml", offline=True).close()
    new_context = api.Registry._new_context
    with monkeypatch.context() as patched:
        patched.setattr(
            api.Registry,
            "_new_context",
            lambda self: replace(new_context(self), now=world.now + timedelta(days=3)),
        )
        with pytest.warns(api.ReleaseWarning, match="last heard as of .* nobody is asked"):
            api.open(PINNED, "forge.toml", offline=True).close()
    (kept,) = (forge.home / "cache" / "evidence").glob(f"{found.manifest_sha256}*")
    whole = kept.read_bytes()
    kept.write_bytes(whole.replace(b"keyid", b"keyit", 1))
    with pytest.raises(api.Unreachable, match="nobody is asked"):
        api.release(PINNED, offline=True)
    kept.write_bytes(whole)
    world.say_status(world.withheld(world.releases[f"{NAME}==1.0.0"]))
    serve(server, world)
    with pytest.raises(api.Withheld):
        api.release(PINNED)
    server.requests.clear()
    with pytest.raises(api.Withheld):
        api.release(PINNED, offline=True)
    assert server.requests == []


def test_many_threads_share_a_registry(forge: Forge, server: StaticServer) -> None:
    registry = api.Registry(fresh_seconds=3600)

    def one(number: int) -> bytes:
        if number % 3 == 0:
            return (registry.path(PINNED) / WEIGHTS).read_bytes()
        with registry.open((PINNED, str(NAME))[number % 2], WEIGHTS) as file:
            return file.read()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(24))) == {FILES[WEIGHTS]}
    assert server.paths().count("/tuf/timestamp.json") == 1


def test_threads_with_nothing_in_common(forge: Forge) -> None:
    def install(number: int) -> bytes:
        done = api.install(PINNED, into=f"out{number}")
        assert read(PINNED) == FILES[WEIGHTS]
        return (done.components[0].path / WEIGHTS).read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(install, range(4))) == {FILES[WEIGHTS]}


def test_after_a_fork_the_registry_is_asked_anew(
    forge: Forge, server: StaticServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on one connection would read each other's answers."""
    registry = api.Registry(fresh_seconds=3600)
    registry.release(PINNED)
    registry.release(PINNED)
    monkeypatch.setattr("os.getpid", lambda: -1)
    registry.release(PINNED)
    assert server.paths().count("/tuf/timestamp.json") == 2


def test_importing_it_is_cheap_and_changes_nothing() -> None:
    program = (
        "import logging, signal, sys\n"
        "before = [signal.getsignal(each) for each in signal.valid_signals()]\n"
        "from forge_cli import api\n"
        "assert before == [signal.getsignal(each) for each in signal.valid_signals()]\n"
        "assert not logging.root.handlers and logging.root.level == logging.WARNING\n"
        "heavy = 'click cryptography fsspec mlflow requests rich securesystemslib tuf urllib3'\n"
        "assert not set(heavy.split()) & set(sys.modules), sys.modules\n"
        "assert 'boto3' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
