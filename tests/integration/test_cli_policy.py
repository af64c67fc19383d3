"""Pinned policies: pinned by digest, held to by every command, and never talked out of it."""

from __future__ import annotations

import json

import pytest
from builders import NAME, World, sha256
from cli_fixtures import Forge, new_world
from forge_client import forge
from policed_forge import OUT, SAFE, UNSAFE, lock_text, served, world
from policies import BASELINE, PICKLE, policy_tree, publish_policy, with_file

from signing.names import parse_version
from signing.role_edits import set_yanked

__all__ = ["forge", "world"]


# --- pinning -------------------------------------------------------------------------------------


def test_a_policy_is_pinned_by_digest_and_shown(forge: Forge, world: World) -> None:
    with served(forge, world):
        ran = forge.ok("policy", "use", str(BASELINE))
        assert f"{BASELINE}==1.0.0" in ran.out
        assert "formats-denied" in ran.out
        shown = forge.ok("policy", "show", "--json").json
    (pin,) = shown
    release = world.releases[f"{BASELINE}==1.0.0"]
    assert pin["manifest_sha256"] == release.manifest.digest
    assert pin["scope"] == "machine"
    assert pin["rules"] == {"formats-denied": "pickle"}
    assert release.manifest.digest in (forge.home / "policies.toml").read_text()


def test_a_projects_policy_lies_beside_its_lock_and_binds_only_there(
    forge: Forge, world: World
) -> None:
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE), "--project", *OUT)
        assert (forge.place / "out" / "forge-policy.toml").exists()
        assert forge("install", f"{NAME}==1.1.0", *OUT).code == 7
        forge.ok("install", f"{NAME}==1.1.0", "--into", "elsewhere")


def test_what_is_no_policy_cannot_be_pinned(forge: Forge, world: World) -> None:
    with served(forge, world):
        ran = forge("policy", "use", str(NAME))
        assert ran.code == 5
        assert "expected a component of kind policy, found a model" in ran.err
        assert not (forge.home / "policies.toml").exists()


def test_an_update_is_asked_for_and_shows_what_changes(forge: Forge, world: World) -> None:
    with served(forge, world) as server:
        forge.ok("policy", "use", str(BASELINE))
        publish_policy(world, 'formats-denied = ["pickle", "keras"]\ncooldown-days = 7', "1.1.0")
        server.files.update(world.files())
        assert "cooldown" not in forge.ok("policy", "show").out
        forge.ok("install", str(NAME), *OUT)  # the old one binds until somebody says otherwise
        ran = forge.ok("policy", "update")
        assert f"{BASELINE}==1.0.0  →  {BASELINE}==1.1.0" in ran.out
        assert "~ formats-denied: pickle  →  pickle, keras" in ran.out
        assert "+ cooldown-days: 7" in ran.out
        again = forge.ok("policy", "update")
        assert "is the newest" in again.err


def test_nobody_goes_back_to_older_rules_without_naming_them(forge: Forge, world: World) -> None:
    publish_policy(world, 'formats-denied = ["pickle", "keras"]', "1.1.0")
    with served(forge, world) as server:
        forge.ok("policy", "use", f"{BASELINE}>=1.1")
        for wanted in (f"{BASELINE}<1.1", f"{BASELINE}==1.0.*"):
            ran = forge("policy", "use", wanted)
            assert (ran.code, f"{BASELINE}==1.1.0 is pinned" in ran.err) == (6, True)
        key, current = world.project_keys[str(BASELINE)], world.roles[BASELINE.role]
        yanked = set_yanked(current, BASELINE, parse_version("1.1.0"), "x", [key], world.now)
        world.set_role(BASELINE.role, yanked)
        world.publish_metadata()
        server.files.update(world.files())
        assert forge("policy", "use", str(BASELINE)).code == 6
        assert 'version = "1.1.0"' in (forge.home / "policies.toml").read_text()
        ran = forge.ok("policy", "use", f"{BASELINE}==1.0.0")
        assert f"{BASELINE}==1.0.0 is older than {BASELINE}==1.1.0" in ran.err


@pytest.mark.parametrize("command", ["use", "update"])
def test_another_registrys_policy_of_that_name_takes_nobodys_place(
    forge: Forge, world: World, command: str
) -> None:
    other = new_world()
    other.add_org("gov-ma", kind="government")
    for version in ("1.0.0", "2.0.0"):
        publish_policy(other, 'formats-denied = ["keras"]', version)
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        before = (forge.home / "policies.toml").read_text()
        with served(forge, other):
            ran = forge("policy", command, str(BASELINE))
            assert (ran.code, f"{BASELINE}==1.0.0 is pinned from" in ran.err) == (3, True), ran.err
    assert (forge.home / "policies.toml").read_text() == before


def test_a_dropped_policy_binds_nothing(forge: Forge, world: World) -> None:
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        assert forge("policy", "drop", "gov-ma/other").code == 5
        assert forge("policy", "drop", str(BASELINE), "--project").code == 5
        forge.ok("policy", "drop", str(BASELINE))
        assert not (forge.home / "policies.toml").exists()
        forge.ok("install", f"{NAME}==1.1.0", *OUT)


def test_a_file_is_read_and_tried_before_it_is_published(forge: Forge, world: World) -> None:
    (forge.place / "mine").mkdir()
    rules = forge.place / "mine" / "policy.toml"
    rules.write_bytes(policy_tree(PICKLE)["policy.toml"])
    with served(forge, world):
        assert "no file has one of these formats" in forge.ok("policy", "check", "mine").out
        ran = forge("policy", "check", str(rules), f"{NAME}==1.0.0", str(NAME))
        assert ran.code == 7
        assert "✗ formats-denied: wants no pickle" in ran.out
        assert "✓ formats-denied" in ran.out
        rules.write_text("")
        ran = forge("policy", "check", "mine")
        assert ran.code == 1
        assert "an empty policy allows nothing" in ran.err


# --- every command holds to it -------------------------------------------------------------------


def test_a_version_that_is_refused_is_passed_over_and_it_is_said_why(
    forge: Forge, world: World
) -> None:
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        ran = forge.ok("install", str(NAME), *OUT)
        assert f"{NAME}==1.0.0" in ran.out
        assert f"passed over {NAME}==1.1.0: {BASELINE}==1.0.0: formats-denied" in ran.err
        assert "found pickle (model.pkl)" in ran.err
        value = forge.ok("lock", str(NAME), "--upgrade", *OUT, "--json").json
        (one,) = value["permission"]["passed_over"]
        assert one["version"] == "1.1.0"
        assert "found pickle (model.pkl)" in one["why"]


@pytest.mark.parametrize("command", ["install", "lock"])
def test_where_nothing_else_will_do_it_is_refused(forge: Forge, world: World, command: str) -> None:
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        ran = forge(command, f"{NAME}>=1.1", *OUT)
        assert ran.code == 7, ran.err
        assert f"{NAME}==1.1.0 is not permitted by {BASELINE}==1.0.0" in ran.err
        assert "formats-denied: wants no pickle" in ran.err
        assert "would satisfy it: a release without these files" in ran.err
        assert "--override formats-denied --reason TEXT" in ran.err
        assert forge.nothing_installed()
        error = forge(command, f"{NAME}>=1.1", *OUT, "--json").json["error"]
        assert error["code"] == "policy-refused"
        (policy,) = error["policies"]
        assert [rule["rule"] for rule in policy["rules"] if not rule["holds"]] == ["formats-denied"]


def test_what_was_installed_before_is_refused_from_then_on(forge: Forge, world: World) -> None:
    tree = f"out/forge_components/{NAME}"
    with served(forge, world):
        forge.ok("install", str(NAME), *OUT)
        assert "1.1.0" in lock_text(forge)
        forge.ok("policy", "use", str(BASELINE))
        for args in (
            ("install", str(NAME), *OUT),
            ("install", *OUT, "--locked"),
            ("sync", *OUT),
            ("verify", tree),
            ("verify", tree, "--online"),
            ("verify", str(NAME)),
        ):
            ran = forge(*args)
            assert ran.code == 7, (args, ran.out, ran.err)
            assert "formats-denied" in ran.out + ran.err, args
        assert "--upgrade resolves anew" in forge("install", *OUT).err
        ran = forge("verify", tree)
        assert f"NOT PERMITTED, though verified: {tree}" in ran.out
        assert "\nverified:" not in ran.out


def test_an_exported_release_is_held_to_it_as_well(forge: Forge, world: World) -> None:
    with served(forge, world):
        forge.ok("export-bundle", str(NAME), "--into", "third-party")
        forge.ok("policy", "use", str(BASELINE))
    assert forge("verify", "third-party").code == 7


def test_explain_shows_all_rules_also_those_that_hold(forge: Forge, world: World) -> None:
    publish_policy(world, f'licences = ["Apache-2.0"]\n{PICKLE}', "1.1.0")
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        ran = forge.ok("install", str(NAME), *OUT, "--explain")
        assert "✓ licences: wants Apache-2.0, found Apache-2.0" in ran.out
        assert "✓ formats-denied" in ran.out
        assert "✗ formats-denied" in ran.out  # of the version that was passed over
        for args in (("sync", *OUT), ("lock", str(NAME), *OUT)):
            assert "✓ licences" in forge.ok(*args, "--explain").out
        assert "✓ licences" in forge.ok("verify", f"{NAME}==1.0.0", "--explain").out


def test_all_pinned_policies_must_permit_it(forge: Forge, world: World) -> None:
    other = BASELINE.parse("gov-ma/other-rules")
    publish_policy(world, 'licences = ["EUPL-1.2"]', name=other)
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        forge.ok("install", f"{NAME}==1.0.0", *OUT)
        forge.ok("policy", "use", str(other), "--project", *OUT)
        ran = forge("sync", *OUT)
        assert ran.code == 7
        assert "licences: wants EUPL-1.2" in ran.err
        assert [pin["scope"] for pin in forge.ok("policy", "show", *OUT, "--json").json] == [
            "project",
            "machine",
        ]


# --- overrides -----------------------------------------------------------------------------------


def overridden(forge: Forge) -> None:
    forge.ok("policy", "use", str(BASELINE))
    forge.ok("install", str(NAME), *OUT, "--override", "formats-denied",
             "--reason", "read by hand, line by line")  # fmt: skip


def test_an_override_is_recorded_and_every_later_command_shows_it(
    forge: Forge, world: World
) -> None:
    with served(forge, world):
        overridden(forge)
        assert 'reason = "read by hand, line by line"' in lock_text(forge)
        assert "1.1.0" in lock_text(forge)
        for args in (
            ("install", str(NAME), *OUT),
            ("sync", *OUT),
            ("lock", str(NAME), *OUT),
            ("list", *OUT),
            ("verify", f"out/forge_components/{NAME}"),
        ):
            ran = forge.ok(*args)
            assert "read by hand, line by line" in ran.err, args
            assert "formats-denied" in ran.err, args
        value = forge.ok("sync", *OUT, "--json").json
        (one,) = value["permission"]["overrides"]
        assert (one["rule"], one["version"]) == ("formats-denied", "1.1.0")


def test_an_override_is_for_one_release_and_for_no_other(forge: Forge, world: World) -> None:
    with served(forge, world) as server:
        overridden(forge)
        world.publish(with_file(UNSAFE, "1.2.0"))
        server.files.update(world.files())
        ran = forge.ok("install", str(NAME), *OUT, "--upgrade")
        assert f"passed over {NAME}==1.2.0" in ran.err
        assert f"{NAME}==1.1.0" in ran.out  # what was put aside for 1.1.0 stays put aside for it
        assert forge("install", f"{NAME}==1.2.0", *OUT).code == 7


def test_an_override_that_nothing_needs_is_not_kept(forge: Forge, world: World) -> None:
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        ran = forge.ok("install", f"{NAME}==1.0.0", *OUT, "--override", "formats-denied",
                       "--reason", "just in case")  # fmt: skip
        assert "formats-denied is not broken, so nothing is put aside" in ran.err
        assert "override" not in lock_text(forge)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--override", "formats-denied"), "--override and --reason TEXT go together"),
        (("--reason", "because"), "--override and --reason TEXT go together"),
        (("--override", "formats-denied", "--reason", " "), "go together"),
        (("--override", "format-denied", "--reason", "x"), "did you mean 'formats-denied'?"),
        (("--override", "reviewers", "--reason", "x"), "expected a rule"),
        (("--override", "Gov:formats-denied", "--reason", "x"), "organisation/name"),
        (("--override", "formats-denied", "--reason", "a\u202eb"), "plain text"),
        (("--override", "formats-denied", "--reason", "x", "--locked"), "leave it alone"),
        (("--override", "formats-denied", "--reason", "x", "--include", "*"), "leave it alone"),
    ],
)
def test_an_override_without_sense_is_a_mistake_on_the_command_line(
    forge: Forge, world: World, args: tuple[str, ...], words: str
) -> None:
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        ran = forge("install", str(NAME), *OUT, *args)
        assert ran.code == 2, ran.err
        assert words in ran.err
        assert forge.nothing_installed()


def test_without_a_policy_there_is_nothing_to_override(forge: Forge, world: World) -> None:
    with served(forge, world):
        ran = forge("install", str(NAME), *OUT, "--override", "licences", "--reason", "x")
        assert ran.code == 2
        assert "no policy is pinned here" in ran.err


# --- a policy that cannot be held to refuses everything ------------------------------------------


def assert_nothing_goes(forge: Forge, *words: str) -> None:
    for args in (("install", f"{NAME}==1.0.0", *OUT), ("policy", "show", *OUT)):
        ran = forge(*args)
        assert ran.code == 7, (args, ran.err)
        for word in (*words, "nothing is permitted"):
            assert word in ran.err, (args, ran.err)
        assert "Traceback" not in ran.err
    assert forge.nothing_installed()


@pytest.mark.parametrize("text", ["", "[", "policy = []\n", "policy = 5\n", "other = 1\n"])
@pytest.mark.parametrize("scope", ["machine", "project"])
def test_a_spoilt_file_of_pins_refuses_everything(
    forge: Forge, world: World, text: str, scope: str
) -> None:
    path = forge.home / "policies.toml"
    if scope == "project":
        path = forge.place / "out" / "forge-policy.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with served(forge, world):
        assert_nothing_goes(forge, path.name)


def test_a_file_of_pins_that_leads_nowhere_refuses_everything(forge: Forge, world: World) -> None:
    forge.home.mkdir(exist_ok=True)
    (forge.home / "policies.toml").mkdir()
    with served(forge, world):
        assert_nothing_goes(forge, "cannot be read")


def test_a_policy_of_a_registry_that_is_not_trusted_refuses_everything(
    forge: Forge, world: World
) -> None:
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        path = forge.home / "policies.toml"
        path.write_text(path.read_text().replace(world.fingerprint, "sha256:" + "ab" * 32))
        assert_nothing_goes(forge, "is not trusted here")


def test_a_swapped_policy_refuses_everything(forge: Forge, world: World) -> None:
    """The pin is edited to another release of the registry: a policy that permits more."""
    publish_policy(world, 'formats-denied = ["keras"]', "1.1.0")
    with served(forge, world):
        forge.ok("policy", "use", f"{BASELINE}==1.0.0")
        path = forge.home / "policies.toml"
        digest = world.releases[f"{BASELINE}==1.1.0"].manifest.digest
        path.write_text(
            path.read_text().replace(world.releases[f"{BASELINE}==1.0.0"].manifest.digest, digest)
        )
        assert_nothing_goes(forge, f"manifest sha256 {digest}, as pinned")


def test_kept_rules_that_were_edited_are_fetched_anew_or_refuse(forge: Forge, world: World) -> None:
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        (kept,) = (forge.home / "policies").iterdir()
        value = json.loads(kept.read_bytes())
        value["policy"] = value["policy"].replace("pickle", "keras")
        kept.write_text(json.dumps(value))
        assert_nothing_goes(forge, "expected the signed rules, found other rules")
        kept.unlink()
        assert forge("install", f"{NAME}==1.1.0", *OUT).code == 7  # fetched anew, and in force


def test_what_is_kept_of_another_policy_does_not_stand_in(forge: Forge, world: World) -> None:
    """Genuine in every part, and of another version than the pinned one."""
    publish_policy(world, 'formats-denied = ["keras"]', "1.1.0")
    first, second = (
        forge.home / "policies" / f"{world.releases[f'{BASELINE}=={version}'].manifest.digest}.json"
        for version in ("1.0.0", "1.1.0")
    )
    with served(forge, world):
        for version in ("1.0.0", "1.1.0"):
            forge.ok("policy", "use", f"{BASELINE}=={version}")
        first.write_bytes(second.read_bytes())
        forge.ok("policy", "use", f"{BASELINE}>=1.1")
        text = (forge.home / "policies.toml").read_text()
        digests = second.stem, first.stem
        text = text.replace('"1.1.0"', '"1.0.0"').replace(*digests)
        (forge.home / "policies.toml").write_text(text)
        assert_nothing_goes(forge, f"expected manifest sha256 {first.stem}")


def test_without_a_network_and_without_the_kept_rules_nothing_goes(
    forge: Forge, world: World
) -> None:
    with served(forge, world):
        forge.ok("policy", "use", str(BASELINE))
        (kept,) = (forge.home / "policies").iterdir()
        kept.unlink()
    assert_nothing_goes(forge)


def test_the_registry_cannot_exchange_the_rules(forge: Forge, world: World) -> None:
    rules = world.releases[f"{BASELINE}==1.0.0"].files["policy.toml"]
    swapped = rules.replace(b"pickle", b"keras ")
    with served(forge, world, {f"/blobs/{sha256(rules)}": swapped}):
        ran = forge("policy", "use", str(BASELINE))
        assert ran.code == 7
        assert not (forge.home / "policies.toml").exists()


@pytest.mark.parametrize("how", ["yanked", "quarantined", "revoked"])
def test_a_policy_that_was_taken_back_refuses_everything(forge: Forge, how: str) -> None:
    from datetime import UTC, datetime

    world = World(now=datetime.now(UTC).replace(microsecond=0), with_status=True)
    world.add_org("gov-ma", kind="government")
    release = publish_policy(world, PICKLE)
    world.publish(with_file(SAFE))
    world.say_status()
    with served(forge, world) as server:
        forge.ok("policy", "use", str(BASELINE))
        forge.ok("install", str(NAME), "--into", "before")
        if how == "yanked":
            key = world.project_keys[str(BASELINE)]
            current = world.roles[BASELINE.role]
            version = release.manifest.version
            world.set_role(
                BASELINE.role, set_yanked(current, BASELINE, version, "wrong", [key], world.now)
            )
            world.publish_metadata()
        else:
            world.say_status(world.withheld(release, how, "wrong"))
        server.files.update(world.files())
        ran = forge("install", str(NAME), *OUT, "--upgrade")
        assert ran.code == 7, ran.err
        assert "wrong" in ran.err
        assert "nothing is permitted" in ran.err
        assert forge.nothing_installed()
        # And it is remembered, also where no network is needed.
        assert forge("sync", "--into", "before").code == 7
