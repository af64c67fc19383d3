"""From a report to the last host, as people type it: a real registry, a publisher, two agencies, a
reviewer body."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_registry import LiveRegistry
from server_fixtures import World

from forge_server.db.models import Finding
from signing.bodies import Body
from signing.keys import generate_key
from signing.role_edits import delegate, next_version, sign_role

MODEL = "minds-lab/my-model"
ID = "picklescan:global-import:0123456789ab"


class Country:
    """Several people with homes of their own, at one registry."""

    def __init__(self, live: LiveRegistry) -> None:
        self.live = live

    def join(self, name: str, organisation: str) -> None:
        token = self.live.forge_server("user", "add", str(self.live.data), name)
        (self.live.place / f"{name}.token").write_text(token)
        arguments = ["--fingerprint", self.live.fingerprint, "--token-file", f"{name}.token"]
        self.ok(name, "login", self.live.url, *arguments)
        self.ok(name, "key", "new", "--insecure-unencrypted")
        self.ok(name, "org", "create", organisation, "--kind", "academic", "--display-name", name)
        self.live.forge("authority", "approve", organisation, "--authority",
                        str(self.live.authority))  # fmt: skip

    def __call__(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        home = str(self.live.place / f"home-of-{name}")
        return self.live.forge_with({**self.live.environment, "FORGE_HOME": home}, *arguments)

    def ok(self, name: str, *arguments: str) -> str:
        done = self(name, *arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def json(self, name: str, *arguments: str) -> Any:
        done = self(name, *arguments, "--json")
        assert done.returncode == 0, (arguments, done.stderr)
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Country]:
    with LiveRegistry(tmp_path_factory.mktemp("country")) as live:
        live.register("minds-lab")
        live.forge("publish", str(live.new_component("minds-lab", "my-model")))
        made = Country(live)
        for name, organisation in (
            ("amal", "agency-a"),
            ("badr", "agency-b"),
            ("rita", "institute"),
        ):
            made.join(name, organisation)
        _name_body(live)
        yield made


def _name_body(live: LiveRegistry) -> None:
    """The authority names the institute a reviewer body; and a scanner found something."""
    world = World(live.data)
    signed = next_version(world.registry.roles.current("targets"), "targets", world.clock())
    delegate(signed, "reviews-institute", [generate_key("p256").public], 1)
    assert signed.delegations is not None
    assert signed.delegations.roles is not None
    said = Body(display_name="Institute").to_json()
    signed.delegations.roles["reviews-institute"].unrecognized_fields["forge"] = said
    targets = sign_role(signed, [world.authority_key("targets")])
    from forge_server.services.callers import OPERATOR

    world.registry.roles.accept(OPERATOR, {"targets": targets})
    with world.registry.database.write() as session:
        from forge_server.services.components import find_release
        from signing.names import ComponentName

        release = find_release(session, ComponentName.parse(MODEL), "1.0.0")
        assert release is not None
        session.add(
            Finding(
                manifest_sha256=release.manifest_sha256, id=ID, scanner="picklescan",
                severity="high", path="weights.bin", location="offset 3", title="os.system",
                first_seen_at=world.clock(), last_seen_at=world.clock(), gone_at=None,
            )
        )  # fmt: skip
    world.close()


def test_deprecation(country: Country) -> None:
    live = country.live
    said = ["deprecate", MODEL, "--reason", "old", "--successor", "minds-lab/other==2.0.0"]
    assert json.loads(live.forge(*said, "--json"))["changed"] == ["1.0.0"]
    assert json.loads(live.forge(*said, "--json"))["changed"] == []
    assert "(deprecated → minds-lab/other==2.0.0)" in country.ok("amal", "search", "my-model")
    shown = country.json("amal", "info", MODEL)["versions"][0]
    assert shown["deprecated"] == {"reason": "old", "successor": "minds-lab/other==2.0.0"}
    text = country.ok("amal", "info", MODEL)
    assert "(deprecated)" in text
    assert "minds-lab/other==2.0.0" in text
    assert "deprecated by its publisher: old" in country.ok("amal", "verify", f"{MODEL}==1.0.0")
    lock = country.json("amal", "lock", MODEL, "--into", str(live.place / "locked"))
    assert lock
    assert json.loads(live.forge("undeprecate", MODEL, "--json"))["changed"] == ["1.0.0"]
    for wrong in ("nothing", "a/b/c", "a/b>=1"):
        done = country("amal", "yank", f"{MODEL}==1.0.0", "--reason", "x", "--successor", wrong)
        assert done.returncode == 2, done.stderr
        assert "--successor" in done.stderr


def test_answers_and_verdicts(country: Country, tmp_path: Path) -> None:
    release = f"{MODEL}==1.0.0"
    assert f"{ID}  high  open  weights.bin  os.system" in country.ok(
        "amal", "finding", "list", release
    )
    answer = ["finding", "answer", release, ID, "--type", "mitigated", "--text", "never loaded so"]
    assert country("amal", *answer).returncode == 4
    country.live.forge(*answer, "--link", "https://x.example/proof")
    listed = country.json("amal", "finding", "list", release)
    number = str(listed["findings"][0]["answer"]["number"])
    judge = ["finding", "verify", release, ID, "--body", "institute", "--answer", number,
             "--reason", "read it"]  # fmt: skip
    assert country("amal", *judge).returncode == 4
    country.ok("rita", *judge)
    text = country.ok("amal", "finding", "list", release)
    assert "settled" in text
    assert f"answer {number}: mitigated (verified by institute): never loaded so" in text
    assert "no open findings" in country.ok("amal", "finding", "list", release, "--open")
    for form in ("openvex", "cyclonedx"):
        document = country("amal", "finding", "export", release, "--format", form).stdout
        (tmp_path / f"{form}.json").write_text(document)
        done = country.live.forge("finding", "import", release, str(tmp_path / f"{form}.json"))
        assert f"{ID}  mitigated" in done
    (tmp_path / "no.json").write_text("[]")
    done = country("amal", "finding", "import", release, str(tmp_path / "no.json"))
    assert (done.returncode, "expected an object" in done.stderr) == (1, True)
    # The import answered again: that needs a verdict again, and the old number is not the newest.
    done = country("rita", *judge)
    assert (done.returncode, "to be the newest answer" in done.stderr) == (6, True)


def test_nothing_is_told_before_somebody_says_so(country: Country) -> None:
    home = country.live.place / "home-of-badr"
    country.ok("badr", "install", MODEL, "--into", str(country.live.place / "b"))
    assert not list(home.rglob("inventory*"))
    assert country.json("badr", "inventory", "show")["installed"] == []
    assert country("badr", "inventory", "send").returncode == 5
    hosts = country.json("badr", "inventory", "hosts", "--organisation", "agency-b")
    assert hosts["hosts"] == []


def test_from_a_report_to_the_last_host(country: Country) -> None:
    live, release = country.live, f"{MODEL}==1.0.0"
    folder = str(live.place / "a")
    country.ok("amal", "inventory", "on", "--organisation", "agency-a", "--label", "ward-1")
    assert (live.place / "home-of-amal" / "inventory.toml").stat().st_mode & 0o777 == 0o600
    country.ok("amal", "install", MODEL, "--into", folder)
    (host,) = country.json("amal", "inventory", "hosts", "--organisation", "agency-a")["hosts"]
    assert (host["host"], host["installed"][0]["component"]) == ("ward-1", MODEL)
    assert country("badr", "inventory", "hosts", "--organisation", "agency-a").returncode == 4
    # Two credible reports stop it; installing it anew says why.
    said = ["report", release, "--kind", "malware", "--text", "phones home"]
    assert "will look into it" in country.ok("amal", *said)
    assert "was made already" in country.ok("amal", *said)
    assert "is held back" in country.ok("badr", *said)
    country.ok("badr", "cache", "prune", "--all")
    done = country("badr", "install", MODEL, "--into", str(live.place / "anew"))
    assert done.returncode == 7, done.stderr
    assert "quarantined by the registry" in done.stderr
    assert "credible reports by several organisations" in done.stderr
    assert json.loads(country("badr", "install", MODEL, "--into", str(live.place / "anew"),
                              "--json").stdout)["error"]["code"] == "withheld"  # fmt: skip
    # What is recalled is told to whoever installs, and to the agency.
    assert country("amal", "recall", "start", release, "--reason", "x").returncode == 4
    live.forge("recall", "start", release, "--reason", "phones home")
    assert "1 of what this host has is recalled" in country.ok("amal", "sync", "--into", folder)
    (notice,) = country.json("amal", "recall", "list", "--organisation", "agency-a")["notices"]
    assert (notice["host"], notice["acknowledged_at"]) == ("ward-1", None)
    country.ok("amal", "recall", "ack", release, "--organisation", "agency-a")
    counts = country.json("badr", "recall", "show", release)
    names = ("hosts", "notified", "acknowledged", "remedied")
    assert [counts[name] for name in names] == [1, 1, 1, 0]
    assert "ward-1" not in str(counts)
    country.ok("amal", "recall", "remedied", release, "--organisation", "agency-a")
    assert "1 remedied" in country.ok("badr", "recall", "list")
    # Off means off.
    country.ok("amal", "inventory", "off")
    hosts = country.json("amal", "inventory", "hosts", "--organisation", "agency-a")["hosts"]
    assert hosts == []
    assert not list((live.place / "home-of-amal").rglob("inventory*"))
    country.ok("amal", "sync", "--into", folder)
    live.forge_server("release", str(live.data), release, "--reason", "looked into")
    country.ok("badr", "install", MODEL, "--into", str(live.place / "anew"))


def test_an_installation_does_not_fail_for_the_list(country: Country) -> None:
    """The token was revoked: said, and no more."""
    live = country.live
    country.ok("amal", "inventory", "on", "--organisation", "agency-a", "--label", "ward-2")
    (token,) = [row for row in country.json("amal", "token", "list")
                if row["name"] == "inventory of ward-2"]  # fmt: skip
    country.ok("amal", "token", "revoke", str(token["id"]))
    text = country.ok("amal", "install", MODEL, "--into", str(live.place / "c"))
    assert "the inventory of this host was not told" in text
    assert "verified and installed" in text
