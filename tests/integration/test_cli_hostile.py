"""A registry or mirror turned hostile, against a client that pinned the real root.

Every case ends the same way: exit code 3 (or 8 where bytes just never come), a message that
names the thing, and nothing in the target folder.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler

import pytest
from builders import (
    NAME,
    Release,
    World,
    changed_json,
    changed_role,
    sha256,
    signed_release,
    static_files,
    tree,
)
from cli_fixtures import Forge, Ran, new_world
from forge_client import forge
from static_server import Answer, StaticServer

from signing.keys import generate_key
from signing.names import ComponentName
from signing.role_edits import add_release, sign_snapshot, sign_timestamp
from signing.roles import role_version

__all__ = ["forge"]


OTHER = ComponentName.parse("other-org/thing")
WEIGHTS = f"/blobs/{sha256(tree()['weights/model.safetensors'])}"
BASE = f"/tuf/targets/{NAME}/1.0.0"


def install(forge: Forge, world: World, changed: dict[str, Answer]) -> tuple[Ran, list[str]]:
    """What happens when a client that trusts ``world`` installs from a server with changes."""
    with StaticServer({**world.files(), **changed}) as server:
        forge.trust(server, world)
        ran = forge("install", str(NAME), "--into", "out")
        return ran, server.paths()


def refused(forge: Forge, ran: Ran, code: int = 3, *words: str) -> None:
    assert ran.code == code, ran.err
    assert ran.err.startswith("error: ") or "\nerror: " in ran.err
    for word in words:
        assert word in ran.err, ran.err
    assert "Traceback" not in ran.err
    assert forge.nothing_installed()


def published(world: World | None = None) -> tuple[World, Release]:
    world = world or new_world()
    return world, world.publish(tree())


def test_an_honest_mirror_is_fine(forge: Forge) -> None:
    world, release = published()
    ran, _ = install(forge, world, {})
    assert ran.code == 0, ran.err
    target = forge.place / "out" / "forge_components" / str(NAME)
    assert {
        str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()
    } == release.files


# --- bytes ---------------------------------------------------------------------------------


def sending(data: bytes, announced: int | None = None, *, endless: bool = False) -> Answer:
    """An answer whose body is not what its length says."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if announced is not None:
            handler.send_header("Content-Length", str(announced))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        try:
            handler.wfile.write(data)
            while endless:
                handler.wfile.write(data)
        except OSError:
            pass

    return answer


SIZE = len(tree()["weights/model.safetensors"])
BYTES: dict[str, tuple[Answer, int, str]] = {
    "swapped bytes of the same size": (b"\0" * SIZE, 3, "weights/model.safetensors"),
    "longer than signed": (b"\0" * (SIZE + 1), 3, f"{SIZE} bytes"),
    "longer, unannounced": (sending(b"\0" * (SIZE + 1)), 3, f"{SIZE} bytes"),
    "endless": (sending(b"\0" * 65536, endless=True), 3, f"{SIZE} bytes"),
    "truncated": (sending(b"\0" * 100, SIZE), 8, ""),
    "shorter": (b"\0" * (SIZE - 1), 8, "ended after"),
    "empty": (b"", 8, "ended after 0"),
}


@pytest.mark.parametrize("case", BYTES)
def test_wrong_bytes_of_a_file_are_refused(
    forge: Forge, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge_cli.remote.whole.pause_seconds", lambda attempt: 0.0)
    answer, code, words = BYTES[case]
    world, _ = published()
    ran, _ = install(forge, world, {WEIGHTS: answer})
    refused(forge, ran, code, words)
    assert not [path for path in forge.cached() if path.name == WEIGHTS.rpartition("/")[2]]


@pytest.mark.parametrize("kind", ["manifest.json", "release.sigstore.json"])
@pytest.mark.parametrize("change", ["swapped", "longer", "endless"])
def test_wrong_bytes_of_manifest_or_bundle_are_refused(
    forge: Forge, kind: str, change: str
) -> None:
    world, release = published()
    data = release.manifest.raw if kind == "manifest.json" else release.bundle
    path = f"{BASE}/{sha256(data)}.{kind}"
    wrong: dict[str, Answer] = {
        "swapped": data[:-2] + b"x" + data[-1:],
        "longer": data + b" ",
        "endless": sending(data, endless=True),
    }
    ran, paths = install(forge, world, {path: wrong[change]})
    refused(forge, ran, 3, kind)
    assert not any(path.startswith("/blobs/") for path in paths)


# --- signatures ----------------------------------------------------------------------------


def test_a_release_signed_by_an_unlisted_key_is_refused_before_any_file_is_fetched(
    forge: Forge,
) -> None:
    """The index is genuine but its bundle was made by a stranger: the publisher was tricked."""
    world = new_world()
    world.add_org(NAME.org)
    publisher = world.add_project(NAME)
    release = signed_release(tree(), generate_key("p256"))
    world.set_role(
        NAME.role,
        add_release(None, release.manifest, release.bundle, [publisher], world.now),
    )
    world.releases["x"] = release
    world.publish_metadata()
    ran, paths = install(forge, world, {})
    refused(forge, ran, 3, "listed key")
    assert not any(path.startswith("/blobs/") for path in paths)


def test_the_thief_of_both_online_keys_cannot_add_a_release(forge: Forge) -> None:
    world, _ = published()
    stolen = generate_key("p256")
    evil = signed_release(tree(version="6.6.6"), stolen)
    role = add_release(world.roles[NAME.role], evil.manifest, evil.bundle, [stolen], world.now)
    world.set_role(NAME.role, role)
    world.publish_metadata()  # with the stolen snapshot and timestamp keys
    ran, _ = install(forge, world, static_files(evil))  # type: ignore[arg-type]
    refused(forge, ran, 3, NAME.role)


@pytest.mark.parametrize("role", [NAME.role, NAME.org, "registrar", "targets"])
def test_a_role_rewritten_on_the_way_is_refused(forge: Forge, role: str) -> None:
    world, _ = published()
    path = f"/tuf/{role_version(world.roles[role])}.{role}.json"
    altered = changed_json(
        world.roles[role], lambda value: value["signed"].update(expires="2099-01-01T00:00:00Z")
    )
    ran, _ = install(forge, world, {path: altered})
    refused(forge, ran, 3)


def test_an_organisation_cannot_sign_for_another(forge: Forge) -> None:
    """Organisation B lists a project of A with B's key; A's users must not notice it."""
    world, release = published()
    world.publish(tree(OTHER))
    key = world.org_keys[OTHER.org]
    evil = signed_release(tree(version="6.6.6"), key)

    def reach_over(signed: dict[str, object]) -> None:
        roles = signed["delegations"]["roles"]  # type: ignore[index]
        roles[0]["paths"] = [f"{NAME.org}/{NAME.name}/*/*"]
        roles[0]["name"] = NAME.role

    world.set_role(OTHER.org, changed_role(world.roles[OTHER.org], [key], reach_over))
    world.publish_metadata()
    ran, _ = install(forge, world, static_files(evil))  # type: ignore[arg-type]
    assert ran.code == 0, ran.err
    assert "1.0.0" in (forge.place / "out" / "forge.lock").read_text()
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        again = forge("install", str(OTHER), "--into", "out2")
    assert again.code == 3, again.err
    assert "its own names" in again.err
    assert forge.nothing_installed("out2")
    assert release.manifest.component == NAME


def test_a_target_outside_the_projects_own_paths_is_refused(forge: Forge) -> None:
    world, _ = published()

    def foreign(signed: dict[str, object]) -> None:
        targets: dict[str, object] = signed["targets"]  # type: ignore[assignment]
        path, value = next(iter(targets.items()))
        targets[path.replace(str(NAME), str(OTHER))] = value

    key = world.project_keys[str(NAME)]
    world.set_role(NAME.role, changed_role(world.roles[NAME.role], [key], foreign))
    world.publish_metadata()
    ran, _ = install(forge, world, {})
    refused(forge, ran, 3, str(OTHER))


def test_a_bundle_of_another_release_is_refused(forge: Forge) -> None:
    world = new_world()
    world.add_org(NAME.org)
    publisher = world.add_project(NAME)
    first = signed_release(tree(), publisher)
    second = signed_release({**tree(version="2.0.0"), "more": b"more"}, publisher)
    mixed = Release(files=second.files, manifest=second.manifest, bundle=first.bundle)
    world.set_role(
        NAME.role, add_release(None, mixed.manifest, mixed.bundle, [publisher], world.now)
    )
    world.releases["x"] = mixed
    world.publish_metadata()
    ran, _ = install(forge, world, {})
    refused(forge, ran, 3, "signature")


# --- time ----------------------------------------------------------------------------------


def test_old_but_genuine_metadata_is_refused_by_a_client_that_saw_newer(forge: Forge) -> None:
    world, _ = published()
    old = world.files()
    world.publish(tree(version="1.1.0"))
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        forge.ok("info", str(NAME))
        server.files.clear()
        server.files.update(old)
        ran = forge("install", str(NAME), "--into", "out")
    refused(forge, ran, 3, "seen before")
    assert forge("--version").code == 0


def test_frozen_metadata_is_refused_when_it_has_expired(forge: Forge) -> None:
    world, _ = published()
    past = world.now - timedelta(days=2)
    world.timestamp = sign_timestamp(world.snapshot, 99, world.timestamp_key, past)
    ran, _ = install(forge, world, {})
    refused(forge, ran, 3, "expired")
    assert "doctor" in ran.err


def test_mix_and_match_of_snapshot_and_timestamp_is_refused(forge: Forge) -> None:
    world, _ = published()
    other = sign_snapshot(
        {role: role_version(data) for role, data in world.roles.items()},
        world.snapshot_version,
        world.snapshot_key,
        world.now + timedelta(seconds=5),
    )
    ran, _ = install(forge, world, {f"/tuf/{world.snapshot_version}.snapshot.json": other})
    refused(forge, ran, 3)


def test_a_withheld_role_is_refused_and_never_taken_for_no_releases(forge: Forge) -> None:
    world, _ = published()
    files = world.files()
    del files[f"/tuf/1.{NAME.role}.json"]
    with StaticServer(files) as server:
        forge.trust(server, world)
        ran = forge("install", str(NAME), "--into", "out")
    refused(forge, ran, 8, NAME.role)


# --- trust ---------------------------------------------------------------------------------


def test_another_root_than_the_pinned_one_is_refused(forge: Forge) -> None:
    world, _ = published()
    with StaticServer(new_world().files()) as server:
        ran = forge("trust", "add", server.url, "--fingerprint", world.fingerprint)
        again = forge("login", server.url, "--fingerprint", world.fingerprint, "--token-file", "t")
    assert ran.code == 3
    assert world.fingerprint in ran.err
    assert again.code == 2  # no such token file
    assert not (forge.home / "trust" / "pins.toml").exists()


def test_nothing_is_believed_or_sent_without_a_pin(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = published()
    with StaticServer(world.files()) as server:
        monkeypatch.setenv("FORGE_URL", server.url)
        monkeypatch.setenv("FORGE_TOKEN", "forge_secret")
        for args in (("install", str(NAME)), ("whoami",), ("search", "x"), ("verify", str(NAME))):
            ran = forge(*args)
            assert ran.code == 2, ran.err
            assert "not trusted yet" in ran.err
        assert server.requests == []


def test_a_lock_pins_content_whatever_the_registry_says_later(forge: Forge) -> None:
    """The publisher's own key re-signs a version with other content: locks do not follow."""
    world, _ = published()
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        forge.ok("lock", str(NAME), "--into", "out")
        key = world.project_keys[str(NAME)]
        evil = signed_release({**tree(), "README.md": b"other"}, key)
        first = add_release(None, evil.manifest, evil.bundle, [key], world.now)
        role = changed_role(first, [key], lambda signed: signed.update(version=2))
        world.set_role(NAME.role, role)
        world.publish_metadata()
        server.files.update({**world.files(), **static_files(evil)})
        ran = forge("sync", "--into", "out")
    assert ran.code == 3
    assert "locked" in ran.err
    assert not (forge.place / "out" / "forge_components" / str(NAME)).exists()


# --- other hosts ---------------------------------------------------------------------------


def redirecting(target: Callable[[BaseHTTPRequestHandler], str], status: int = 302) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", target(handler))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_never_follows_a_redirect_to_another_host(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    world, _ = published()
    answer = b'{"user": "sara", "token": {"name": "t", "scopes": []}, "organisations": []}'
    with StaticServer({"/api/v1/whoami": answer}) as other, StaticServer(world.files()) as server:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        server.files["/api/v1/whoami"] = redirecting(lambda h: elsewhere + h.path, status)
        forge.trust(server, world)
        monkeypatch.setenv("FORGE_TOKEN", "forge_secret")
        ran = forge("whoami")
        assert ran.code == 0, ran.err
        assert server.requests[-1][2]["Authorization"] == "Bearer forge_secret"
        assert other.requests
        assert all("Authorization" not in headers for _, _, headers in other.requests)


def test_a_redirect_to_a_file_or_in_circles_is_refused(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = published()
    for location in ("file:///etc/passwd", "/api/v1/whoami", "//", "gopher://x"):
        with StaticServer(world.files()) as server:
            server.files["/api/v1/whoami"] = redirecting(lambda _, to=location: to)
            forge.trust(server, world)
            monkeypatch.setenv("FORGE_TOKEN", "forge_secret")
            ran = forge("whoami")
            assert ran.code == 8, (location, ran.err)


def test_blobs_may_come_from_another_host(forge: Forge) -> None:
    """As an object store serves them: what counts is the digest."""
    world, _ = published()
    with StaticServer(world.files()) as store:
        ran, _ = install(forge, world, {WEIGHTS: redirecting(lambda h: store.url + h.path)})
    assert ran.code == 0, ran.err


def test_text_of_the_registry_cannot_steer_the_terminal(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = published()
    nasty = (
        b'{"total": 1, "items": [{"component": "a\\u001b[2Jb", "latest": "1", '
        b'"kind": "model", "summary": "x\\u202ey\\nz"}]}'
    )
    with StaticServer({**world.files(), "/api/v1/components": nasty}) as server:
        forge.trust(server, world)
        ran = forge.ok("search", "x")
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out
    assert len(ran.out.splitlines()) == 1
