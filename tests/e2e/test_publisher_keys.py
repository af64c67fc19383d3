"""A publisher's key comes, goes and is stolen: the whole life of it, against a real registry."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_registry import LiveRegistry


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    with LiveRegistry(tmp_path_factory.mktemp("live")) as registry:
        registry.register("minds-lab")
        yield registry


def key(live: LiveRegistry, name: str) -> str:
    return live.forge("key", "new", name, "--insecure-unencrypted").strip()


def set_version(folder: Path, old: str, new: str) -> None:
    toml = folder / "forge.toml"
    toml.write_text(toml.read_text().replace(f'"{old}"', f'"{new}"'))


def fails(live: LiveRegistry, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = live.forge_with(live.environment, *arguments)
    assert done.returncode != 0, done.stdout
    return done


def error_of(live: LiveRegistry, *arguments: str) -> dict[str, object]:
    error: dict[str, object] = json.loads(fails(live, *arguments, "--json").stdout)["error"]
    return error


def test_a_stolen_key_is_revoked_and_its_releases_signed_again(live: LiveRegistry) -> None:
    stolen, fresh = key(live, "stolen"), key(live, "fresh")
    folder = live.new_component("minds-lab", "model")
    name = "minds-lab/model"
    live.forge("publish", str(folder), "--key", "stolen")
    set_version(folder, "1.0.0", "1.1.0")
    live.forge("publish", str(folder), "--key", "stolen")
    live.forge("install", f"{name}==1.0.0", "--into", "before")
    # The only key cannot go without a successor.
    alone = error_of(live, "org", "publisher", "revoke", name, stolen)
    assert alone["code"] == "threshold-not-met"
    live.forge("org", "publisher", "add", name, "--key", "fresh")
    assert "verified: " in live.forge("verify", name)
    at = "2026-01-31T12:00:00Z"
    live.forge("org", "publisher", "revoke", name, stolen[:12], "--at", at, "--reason", "stolen")
    for command in (
        ("install", f"{name}==1.0.0", "--into", "after"),
        ("verify", name),
        ("verify", "before/forge_components/minds-lab/model", "--online"),
        ("info", name),
    ):
        error = error_of(live, *command)
        assert (error["code"], error["exit_code"]) == ("key-revoked", 3), command
        assert stolen[:12] in str(error["message"])
        assert "2026-01-31 12:00 UTC (stolen)" in str(error["message"])
        assert f"forge resign {name}" in str(error["hint"])
    assert not (live.place / "after" / "forge.lock").exists()
    # Nobody signs a list that came from elsewhere without having looked at it.
    assert error_of(live, "resign", name, "--key", "fresh")["code"] == "usage"
    one = json.loads(live.forge("resign", f"{name}==1.1.0", "--key", "fresh", "--json"))
    assert (one["versions"], one["signed_by"]) == (["1.1.0"], fresh)
    assert "verified: " in live.forge("verify", f"{name}==1.1.0")
    # The index is good again; the release that nobody signed again is not.
    old = error_of(live, "install", f"{name}==1.0.0", "--into", "after")
    assert (old["code"], "==1.0.0" in str(old["hint"])) == ("key-revoked", True)
    rest = json.loads(live.forge("resign", name, "--yes", "--key", "fresh", "--json"))
    assert rest["versions"] == ["1.0.0"]
    live.forge("install", f"{name}==1.0.0", "--into", "after")
    before = (live.place / "before/forge_components/minds-lab/model/forge.toml").read_bytes()
    after = (live.place / "after/forge_components/minds-lab/model/forge.toml").read_bytes()
    assert before == after
    listed = json.loads(live.forge("org", "publisher", "list", name, "--json"))["keys"]
    assert [(row["keyid"], row["state"]) for row in listed] == [
        (fresh, "current"),
        (stolen, "revoked"),
    ]
    set_version(folder, "1.1.0", "1.2.0")
    assert error_of(live, "publish", str(folder), "--key", "stolen")["code"] == "key-missing"
    live.forge("publish", str(folder), "--key", "fresh")
    assert error_of(live, "org", "publisher", "add", name, "--key", "stolen")["exit_code"] == 3
    live.forge_server("check", str(live.data))


def test_a_publisher_who_leaves_takes_nothing_along(live: LiveRegistry) -> None:
    leaver, heir = key(live, "leaver"), key(live, "heir")
    folder = live.new_component("minds-lab", "inherited")
    name = "minds-lab/inherited"
    live.forge("publish", str(folder), "--key", "leaver")
    pem = live.place / "heir.pub"
    pem.write_text(live.forge("key", "show", "heir", "--pem"))
    live.forge("org", "publisher", "replace", name, "--key", str(pem))
    gap = error_of(live, "verify", name)
    assert (gap["code"], gap["exit_code"]) == ("threshold-not-met", 3)
    assert f"forge resign {name}" in str(gap["hint"])
    done = json.loads(live.forge("resign", name, "--json"))
    assert (done["versions"], done["signed_by"]) == ([], heir)
    # The release still carries the signature of who left, and that is fine.
    assert leaver[:12] in live.forge("verify", name)
    set_version(folder, "1.0.0", "2.0.0")
    live.forge("publish", str(folder))
    live.forge("verify", f"{name}==2.0.0")
    live.forge_server("check", str(live.data))


def test_two_of_three_organisation_keys_sign_a_change_by_carrying_it(live: LiveRegistry) -> None:
    homes = [live.place / f"home-{number}" for number in range(3)]
    for number in range(3):
        key(live, f"board-{number}")
    live.forge(
        "org", "create", "three-lab", "--kind", "academic", "--display-name", "Three",
        "--key", "board-0", "--key", "board-1", "--key", "board-2", "--threshold", "2",
    )  # fmt: skip
    live.forge("authority", "approve", "three-lab", "--authority", str(live.authority))
    folder = live.new_component("three-lab", "shared")
    publisher = key(live, "three-publisher")
    live.forge("publish", str(folder), "--key", "three-publisher")
    # From here on each key is on another machine.
    keys = live.place / "home" / "keys"
    for number, home in enumerate(homes):
        (home / "keys").mkdir(parents=True, mode=0o700)
        for suffix in (".pem", ".pub"):
            (keys / f"board-{number}{suffix}").rename(home / "keys" / f"board-{number}{suffix}")

    def at(number: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**live.environment, "FORGE_HOME": str(homes[number])}
        environment["FORGE_URL"] = live.url
        return live.forge_with(environment, *arguments)

    for number in range(3):
        at(number, "trust", "add", live.url, "--fingerprint", live.fingerprint)
    second = key(live, "three-second")
    pem = live.place / "second.pub"
    pem.write_text(live.forge("key", "show", "three-second", "--pem"))
    name = "three-lab/shared"
    started = at(0, "org", "publisher", "add", name, "--key", str(pem), "--json")
    assert started.returncode == 0, started.stderr
    file = json.loads(started.stdout)["file"]
    assert json.loads(started.stdout)["sent"] is False
    early = at(0, "org", "send", file, "--json")
    assert json.loads(early.stdout)["error"]["code"] == "signature-missing"
    # The same hand twice is one hand.
    again = json.loads(at(0, "org", "sign", file, "--json").stdout)
    assert again["sent"] is False
    ended = at(2, "org", "sign", file)
    assert ended.returncode == 0, ended.stderr
    assert second in ended.stderr
    listed = json.loads(live.forge("org", "publisher", "list", name, "--json"))["keys"]
    assert [row["keyid"] for row in listed] == [publisher, second]


def test_a_role_is_renewed_without_any_other_change(live: LiveRegistry) -> None:
    live.forge("publish", str(live.new_component("minds-lab", "renewed")))

    def versions() -> dict[str, int]:
        names = ("minds-lab", "minds-lab.renewed")
        files = [path.name for path in (live.data / "public").glob("*.json")]
        return {
            name: max(int(file.split(".")[0]) for file in files if file.endswith(f"{name}.json"))
            for name in names
        }

    before = versions()
    done = json.loads(live.forge("renew", "minds-lab/renewed", "--json"))
    assert [(item["role"], item["sent"]) for item in done] == [("minds-lab.renewed", True)]
    live.forge("renew", "minds-lab")
    assert versions() == {name: number + 1 for name, number in before.items()}
    live.forge("verify", "minds-lab/renewed")
    assert json.loads(live.forge("renew", "--all", "--json")) == []  # nothing ends soon
    assert fails(live, "renew").returncode == 2
    assert error_of(live, "renew", "no-such-org")["code"] == "not-found"


def test_the_profile_is_signed_and_shown(live: LiveRegistry) -> None:
    live.forge(
        "org", "create", "atlas-lab", "--kind", "academic", "--display-name", "Atlas Lab",
        "--region", "MA-05", "--name", "ar=مختبر الأطلس", "--name", "zgh=ⴰⵙⴰⵔⵎ ⵏ ⵡⴰⵟⵍⴰⵙ",
        "--contact", "contact@atlas-lab.example",
    )  # fmt: skip
    expected = {
        "kind": "academic",
        "display_name": "Atlas Lab",
        "region": "MA-05",
        "names": {"ar": "مختبر الأطلس", "zgh": "ⴰⵙⴰⵔⵎ ⵏ ⵡⴰⵟⵍⴰⵙ"},
        "contact": "contact@atlas-lab.example",
    }
    shown = json.loads(live.forge("authority", "show-application", "atlas-lab", "--json"))
    assert expected.items() <= shown.items()
    live.forge("authority", "approve", "atlas-lab", "--authority", str(live.authority))
    signed = json.loads(live.forge("org", "show", "atlas-lab", "--json"))
    assert expected.items() <= signed.items()
    assert "Béni Mellal-Khénifra" in live.forge("org", "show", "atlas-lab")
    live.forge("publish", str(live.new_component("atlas-lab", "shown")))
    info = json.loads(live.forge("info", "atlas-lab/shown", "--json"))["organisation"]
    assert expected.items() <= info.items()


@pytest.mark.parametrize(
    "option", [("--region", "MA-13"), ("--name", "de=Labor"), ("--contact", "a\nb")]
)
def test_a_profile_that_could_not_be_shown_is_refused(
    live: LiveRegistry, option: tuple[str, str]
) -> None:
    create = ("org", "create", "odd-lab", "--kind", "academic", "--display-name", "Odd")
    assert error_of(live, *create, *option)["code"] == "malformed"


def test_an_applicant_sees_why_and_applies_again(live: LiveRegistry) -> None:
    create = ("org", "create", "late-lab", "--kind", "academic", "--display-name")
    live.forge(*create, "Late")
    refuse = ("authority", "refuse", "late-lab", "--reason", "no stamp on the letter")
    live.forge(*refuse, "--authority", str(live.authority))
    shown = json.loads(live.forge("org", "show", "late-lab", "--json"))
    assert (shown["state"], shown["reason"]) == ("refused", "no stamp on the letter")
    live.forge(*create, "Late Lab, with a stamp")
    live.forge("authority", "approve", "late-lab", "--authority", str(live.authority))
    assert "with a stamp" in live.forge("org", "show", "late-lab")
