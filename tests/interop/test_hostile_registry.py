"""A registry or mirror turned hostile, row by row, against our client and the stock TUF client.

Each row is an attack on a client that pinned the real root, fresh or returning. The stock client
shows that it is the metadata that protects, and not some check that only we make. Rows that TUF has
no word for are beside this: revoked keys in `test_cli_revoked`, histories in `test_cli_log`, what
needs an authority to recover from in `test_fast_forward`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from builders import (
    NAME,
    World,
    changed_json,
    changed_role,
    forge_toml,
    sha256,
    signed_release,
    static_files,
    tree,
)
from cli_fixtures import Forge
from forge_client import forge
from static_server import Answer, StaticServer
from tuf.api.exceptions import DownloadError, ExpiredMetadataError, RepositoryError
from tuf.ngclient import Updater, UpdaterConfig

from signing.keys import generate_key
from signing.names import ComponentName
from signing.role_edits import add_project, add_release, new_role, sign_snapshot, sign_timestamp
from signing.roles import role_version

__all__ = ["forge"]


Files = dict[str, Answer]
MANIFEST = NAME.target("1.0.0", "manifest.json")
OTHER = ComponentName.parse("other-org/thing")


def honest(ago: timedelta = timedelta()) -> World:
    """A registry whose organisation has two keys, both of which must sign."""
    world = World(now=datetime.now(UTC).replace(microsecond=0) - ago)
    world.add_org(NAME.org, keys=2, threshold=2)
    publisher = world.project_keys[str(NAME)] = generate_key("p256")
    keys = world.all_org_keys[NAME.org]
    role = add_project(world.roles[NAME.org], NAME, [publisher.public], 1, keys, world.now)
    world.set_role(NAME.org, role)
    world.publish(tree())
    return world


def announce(world: World) -> None:
    """Signs snapshot and timestamp with the server's own keys: they are in the attacker's hands."""
    world.publish_metadata()


# --- whose signature it is -------------------------------------------------------------------


def release_by_an_unlisted_key(world: World) -> Files:
    thief = generate_key("p256")
    evil = signed_release(tree(version="6.6.6"), thief)
    role = add_release(world.roles[NAME.role], evil.manifest, evil.bundle, [thief], world.now)
    world.set_role(NAME.role, role)
    announce(world)
    return {**world.files(), **static_files(evil)}


def release_by_the_servers_keys(world: World) -> Files:
    keys = [world.snapshot_key, world.timestamp_key]
    current = world.roles[NAME.role]
    world.set_role(NAME.role, changed_role(current, keys, lambda signed: signed.update(version=2)))
    announce(world)
    return dict(world.files())


def organisation_rewritten(world: World) -> Files:
    thief = generate_key("p256")
    role = new_role([thief], world.now, "organisation")
    version = role_version(world.roles[NAME.org]) + 1
    world.set_role(NAME.org, changed_role(role, [thief], lambda s: s.update(version=version)))
    announce(world)
    return dict(world.files())


def resigned_organisation(world: World, spoil: Callable[[dict[str, object]], None]) -> Files:
    """The organisation's next role, signed by both of its keys, with ``spoil`` done to the
    signatures afterwards."""
    keys = world.all_org_keys[NAME.org]
    version = role_version(world.roles[NAME.org]) + 1
    current = world.roles[NAME.org]
    genuine = changed_role(current, keys, lambda signed: signed.update(version=version))
    world.set_role(NAME.org, genuine)
    announce(world)
    return {**world.files(), f"/tuf/{version}.{NAME.org}.json": changed_json(genuine, spoil)}


def one_of_two_signatures(world: World) -> Files:
    return resigned_organisation(world, lambda role: role["signatures"].pop())  # type: ignore[attr-defined]


def all_signatures_stripped(world: World) -> Files:
    return resigned_organisation(world, lambda role: role["signatures"].clear())  # type: ignore[attr-defined]


def one_signature_twice(world: World) -> Files:
    def spoil(role: dict[str, object]) -> None:
        first = role["signatures"][0]  # type: ignore[index]
        role["signatures"] = [first, first]

    return resigned_organisation(world, spoil)


def one_signature_in_second_place_under_the_other_key(world: World) -> Files:
    def spoil(role: dict[str, object]) -> None:
        one, other = role["signatures"]  # type: ignore[misc]
        role["signatures"] = [one, {"keyid": other["keyid"], "sig": one["sig"]}]

    return resigned_organisation(world, spoil)


# --- bytes of a target -----------------------------------------------------------------------


def manifest_path(world: World) -> str:
    (release,) = world.releases.values()
    return f"/tuf/targets/{NAME}/1.0.0/{release.manifest.digest}.manifest.json"


def swapped_bytes(world: World) -> Files:
    path = manifest_path(world)
    data = world.files()[path]
    return {**world.files(), path: data.replace(b"darija", b"dariya")}


def longer_than_signed(world: World) -> Files:
    path = manifest_path(world)
    return {**world.files(), path: world.files()[path] + b" "}


def endless(world: World) -> Files:
    data = world.files()[manifest_path(world)]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        try:
            while True:
                handler.wfile.write(data)
        except OSError:
            pass

    return {**world.files(), manifest_path(world): answer}


# --- time ------------------------------------------------------------------------------------


def an_old_state(world: World) -> Files:
    old = world.files()
    world.publish(tree(version="1.1.0"))
    return dict(old)


def an_old_role_under_a_new_snapshot(world: World) -> Files:
    """With the stolen online keys: everything is announced anew, but one role is the old one."""
    old = world.roles[NAME.role]
    world.publish(tree(version="1.1.0"))
    world.roles[NAME.role] = old
    announce(world)
    return dict(world.files())


def a_timestamp_that_expired(world: World) -> Files:
    then = world.now - timedelta(hours=25)
    world.timestamp = sign_timestamp(world.snapshot, 99, world.timestamp_key, then)
    return dict(world.files())


def a_snapshot_that_expired(world: World) -> Files:
    then = world.now - timedelta(hours=25)
    versions = {role: role_version(data) for role, data in world.roles.items()}
    old = sign_snapshot(versions, 99, world.snapshot_key, then)
    world.timestamp = sign_timestamp(old, 99, world.timestamp_key, world.now)
    return {**world.files(), "/tuf/99.snapshot.json": old}


def a_snapshot_of_another_moment(world: World) -> Files:
    """Both are genuine: the timestamp of today, the snapshot of a moment before."""
    before = world.snapshot
    world.publish(tree(version="1.1.0"))
    return {**world.files(), f"/tuf/{world.snapshot_version}.snapshot.json": before}


@dataclass(frozen=True)
class Row:
    """``ours`` is what our client says, ``stock`` what the stock client does. ``returning`` clients
    saw the newest honest state before."""

    attack: Callable[[World], Files]
    ours: str
    stock: str
    returning: bool = False


SIGNED_BY = "was signed by {}/{} keys"
ROWS = [
    Row(release_by_an_unlisted_key, SIGNED_BY.format(0, 1), SIGNED_BY.format(0, 1)),
    Row(release_by_the_servers_keys, SIGNED_BY.format(0, 1), SIGNED_BY.format(0, 1)),
    Row(organisation_rewritten, SIGNED_BY.format(0, 2), SIGNED_BY.format(0, 2)),
    Row(one_of_two_signatures, SIGNED_BY.format(1, 2), SIGNED_BY.format(1, 2)),
    Row(all_signatures_stripped, SIGNED_BY.format(0, 2), SIGNED_BY.format(0, 2)),
    Row(one_signature_twice, "valid TUF metadata", "Failed to deserialize"),
    Row(
        one_signature_in_second_place_under_the_other_key,
        SIGNED_BY.format(1, 2),
        SIGNED_BY.format(1, 2),
    ),
    Row(swapped_bytes, "manifest.json: expected sha256", "does not match"),
    Row(longer_than_signed, "manifest.json: expected", "bytes"),
    Row(endless, "manifest.json: expected", "bytes"),
    Row(an_old_state, "seen before", "must be >=", returning=True),
    Row(an_old_role_under_a_new_snapshot, "seen before", "version 1, got 2", returning=True),
    Row(a_timestamp_that_expired, "timestamp.json is expired", "timestamp.json is expired"),
    Row(a_snapshot_that_expired, "snapshot.json is expired", "snapshot.json is expired"),
    Row(a_snapshot_of_another_moment, "the signed bytes", "does not match"),
]
IDS = [row.attack.__name__ for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_our_client_refuses(forge: Forge, row: Row) -> None:
    world = honest()
    attacked = row.attack(world)
    with StaticServer(attacked) as server:
        forge.trust(server, world)
        if row.returning:
            server.files = dict(world.files() if row.attack is an_old_state else newest(world))
            forge.ok("info", str(NAME))
            server.files = dict(attacked)
        ran = forge("install", str(NAME), "--into", "out")
    assert ran.code == 3, ran.err
    assert row.ours in ran.err
    assert forge.nothing_installed()
    assert not forge.cached() or row.returning


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_stock_client_refuses(tmp_path: Path, row: Row) -> None:
    world = honest()
    attacked = row.attack(world)
    with StaticServer(attacked) as server:
        if row.returning:
            server.files = dict(world.files() if row.attack is an_old_state else newest(world))
            fetch(world, server, tmp_path)
            server.files = dict(attacked)
        with pytest.raises((RepositoryError, DownloadError), match=row.stock):
            fetch(world, server, tmp_path)


def newest(world: World) -> Files:
    """The state in which the new role is announced, as an honest server showed it before."""
    version = max(
        int(path.split("/")[2].split(".")[0])
        for path in world.files()
        if path.endswith(f".{NAME.role}.json")
    )
    files = world.files()
    versions = {role: role_version(data) for role, data in world.roles.items()}
    number = world.snapshot_version - 1
    snapshot = sign_snapshot(
        {**versions, NAME.role: version}, number, world.snapshot_key, world.now
    )
    stamp = sign_timestamp(snapshot, world.timestamp_version - 1, world.timestamp_key, world.now)
    return {**files, f"/tuf/{number}.snapshot.json": snapshot, "/tuf/timestamp.json": stamp}


def fetch(world: World, server: StaticServer, place: Path) -> None:
    """What any TUF client does, with a folder that it keeps."""
    folder = place / "stock"
    folder.mkdir(exist_ok=True)
    updater = Updater(
        str(folder),
        f"{server.url}/tuf/",
        target_base_url=f"{server.url}/tuf/targets/",
        bootstrap=world.root,
    )
    updater.refresh()
    info = updater.get_targetinfo(MANIFEST)
    assert info is not None
    updater.download_target(info, filepath=str(place / "manifest.json"))


def test_a_stock_client_reads_as_much_of_a_snapshot_as_is_signed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However much it is configured to read: docs/reference/sizing.md says so."""
    size = 2 * UpdaterConfig().snapshot_max_length
    monkeypatch.setattr("builders.sign_snapshot", lambda *of: sign_snapshot(*of).ljust(size))
    world = honest()
    assert len(world.snapshot) == size
    with StaticServer(world.files()) as server:
        fetch(world, server, tmp_path)


# --- what one organisation says about another --------------------------------------------------


def signs_a_path_of_another(signed: dict[str, object]) -> None:
    signed["targets"] = {
        MANIFEST: {"length": 3, "hashes": {"sha256": sha256(b"bad")}},
    }


def delegates_a_project_of_another(signed: dict[str, object]) -> None:
    role = signed["delegations"]["roles"][0]  # type: ignore[index]
    role.update(name=NAME.role, paths=[NAME.target("*", "*")])


@pytest.mark.parametrize("reach", [signs_a_path_of_another, delegates_a_project_of_another])
def test_an_organisation_says_nothing_about_another(
    forge: Forge, tmp_path: Path, reach: Callable[[dict[str, object]], None]
) -> None:
    world = honest()
    world.publish({**tree(OTHER), "forge.toml": forge_toml(OTHER)})
    release = next(each for each in world.releases.values() if each.manifest.component == NAME)
    key = world.org_keys[OTHER.org]
    world.set_role(OTHER.org, changed_role(world.roles[OTHER.org], [key], reach))
    announce(world)
    bad = f"/tuf/targets/{NAME}/1.0.0/{sha256(b'bad')}.manifest.json"
    with StaticServer({**world.files(), bad: b"bad"}) as server:
        fetch(world, server, tmp_path)
        forge.trust(server, world)
        forge.ok("install", str(NAME), "--into", "out")
        refused = forge("install", str(OTHER), "--into", "out2")
    assert (tmp_path / "manifest.json").read_bytes() == release.manifest.raw
    assert refused.code == 3, refused.err
    assert forge.nothing_installed("out2")


# --- withheld ----------------------------------------------------------------------------------


def test_a_mirror_that_withholds_updates_is_found_out_by_age(forge: Forge, tmp_path: Path) -> None:
    """It serves what it had a day ago, honest to the byte, to somebody who was never here."""
    world = honest(ago=timedelta(hours=25))
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        ran = forge("install", str(NAME), "--into", "out")
        with pytest.raises(ExpiredMetadataError):
            fetch(world, server, tmp_path)
    assert ran.code == 3, ran.err
    assert "timestamp.json is expired" in ran.err
    assert "forge doctor" in ran.err
    assert forge.nothing_installed()


def test_offline_use_says_how_old_its_view_is(forge: Forge) -> None:
    world = honest()
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        forge.ok("install", str(NAME), "--into", "out")
    ran = forge("verify", f"out/forge_components/{NAME}")
    assert ran.code == 0, ran.err
    assert re.search(r"4 ✓ freshness +as of \d{4}-\d\d-\d\d \d\d:\d\d UTC", ran.out)
    assert "the registry was last asked moments ago" in ran.out + ran.err
