"""The status host with a real registry: founded, renewed, quarantining, replaced, and ended.

What one chapter does the next builds upon, so each test here is a story; commands are run as their
users run them, in processes of their own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_registry import LiveRegistry

NAME = "minds-lab/my-model"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveRegistry]:
    """A registry with a status host that has signed, and one release."""
    with LiveRegistry(tmp_path, options=("--with-status",)) as registry:
        registry.register("minds-lab")
        registry.forge("authority", "status", "--key", str(registry.authority / "status.pem"))
        registry.new_component("minds-lab", "my-model")
        registry.forge("publish", "my-model")
        yield registry


def run(live: LiveRegistry, *arguments: str) -> subprocess.CompletedProcess[str]:
    return live.forge_with(live.environment, *arguments)


def says(live: LiveRegistry, *arguments: str, key: str | None = None) -> dict[str, object]:
    """What `forge authority status` answers, signed by the status host's key."""
    key = key or str(live.authority / "status.pem")
    answer = live.forge("authority", "status", "--key", key, "--json", *arguments)
    said: dict[str, object] = json.loads(answer)
    return said


def test_nobody_relies_on_a_registry_whose_host_has_not_spoken(tmp_path: Path) -> None:
    with LiveRegistry(tmp_path, options=("--with-status",)) as live:
        live.register("minds-lab")  # what the authority does must work before
        refused = run(live, "info", NAME)
        assert (refused.returncode, "role status" in refused.stderr) == (3, True), refused.stderr
        assert "forge authority status" in refused.stderr
        doctor = run(live, "doctor")
        assert doctor.returncode == 3
        assert says(live)["version"] == 1
        assert run(live, "info", NAME).returncode == 5  # there is no such component, and that holds
        assert run(live, "doctor").returncode == 0


def test_quarantine_lift_and_revoke(live: LiveRegistry) -> None:
    release = f"{NAME}==1.0.0"
    live.forge("install", NAME, "--into", "out")
    live.forge("install", NAME, "--into", "other")

    said = says(live, "--quarantine", release, "--reason", "looks poisoned")
    assert said["changes"] == [
        f"{release}  quarantined since {str(said['at'])[:10]} {str(said['at'])[11:16]} UTC: "
        "looks poisoned"
    ]
    for command in (
        ("install", release, "--into", "new"),
        ("verify", release),
        ("verify", f"out/forge_components/{NAME}", "--online"),
        ("verify", f"out/forge_components/{NAME}"),
        ("sync", "--into", "out"),
        ("lock", release, "--into", "new"),
    ):
        done = run(live, *command)
        assert done.returncode == 7, (command, done.stdout, done.stderr)
        assert "looks poisoned" in done.stdout + done.stderr
    assert not (live.place / "new/forge_components/minds-lab").exists()
    assert f"{NAME}  1.0.0 (quarantined)" in live.forge("search")
    assert "quarantined since" in live.forge("list", "--into", "out")

    # A timer signs what is there, and forgets nothing.
    again = says(live)
    assert again["withheld"] == said["withheld"]
    assert again["version"] == int(str(said["version"])) + 1
    assert says(live, "--if-older-than", "12h")["renewed"] is False

    says(live, "--lift", release)
    live.forge("verify", f"out/forge_components/{NAME}", "--online")
    live.forge("install", release, "--into", "new")

    says(live, "--revoke", release, "--reason", "the training data was stolen")
    key = str(live.authority / "status.pem")
    lifted = run(live, "authority", "status", "--key", key, "--lift", release)
    assert (lifted.returncode, "final" in lifted.stderr) == (3, True), lifted.stderr
    assert run(live, "install", release, "--into", "third").returncode == 7
    log = live.forge("log", "show", "--entries", "40").splitlines()
    for act in ("release.quarantine", "release.unquarantine", "release.revoke"):
        assert [line for line in log if f" {act} " in line and f" {release} " in line], log
    live.forge_server("check", str(live.data), "--deep")


def test_a_new_host_without_a_gap_and_the_end_of_the_role(live: LiveRegistry) -> None:
    release = f"{NAME}==1.0.0"
    says(live, "--revoke", release, "--reason", "stolen data")
    live.forge("key", "new", "host", "--algorithm", "ed25519", "--insecure-unencrypted")
    public = json.loads(live.forge("authority", "public-key", "host", "--json"))
    (live.place / "host.pub").write_text(public["public"])
    old = json.loads(
        live.forge("authority", "public-key", str(live.authority / "status.pem"), "--json")
    )

    live.forge("authority", "fetch", "metadata")
    plan = ("--from", "metadata", "--dev", "-o")
    live.forge("authority", "rotate", "status", "--add", "host.pub", "--remove", old["keyid"],
               *plan, "one.json")  # fmt: skip
    sign(live, "one.json")
    left = run(live, "authority", "submit", "one.json")
    assert left.returncode != 0
    assert "--status-key" in left.stderr
    assert "status" in live.forge("authority", "submit", "one.json", "--status-key", "host")
    assert run(live, "install", NAME, "--into", "x").returncode == 7  # carried forward
    stranger = run(live, "authority", "status", "--key", str(live.authority / "status.pem"))
    assert (stranger.returncode, "is not a key of" in stranger.stderr) == (4, True)
    assert says(live, key="host")["withheld"]

    live.forge("authority", "fetch", "later")
    live.forge("authority", "rotate", "status", "--no-status", "--from", "later", "--dev",
               "-o", "two.json")  # fmt: skip
    words = live.forge("authority", "inspect", "two.json")
    assert "WHAT IS LOST" in words
    sign(live, "two.json")
    live.forge("authority", "submit", "two.json")
    live.forge("install", NAME, "--into", "x")  # nobody withholds anything any more
    none = run(live, "authority", "status", "--key", "host")
    assert (none.returncode, "names no status host" in none.stderr) == (5, True)


def sign(live: LiveRegistry, plan: str) -> None:
    key = str(live.authority / "targets.pem")
    live.forge("authority", "sign", plan, "--key", key, "--fingerprint", live.fingerprint, "--dev")


def test_what_a_revoked_key_signed_is_stopped_in_caches_too(live: LiveRegistry) -> None:
    """Locked and cached it installs without a request, until the machine hears of it."""
    live.forge("install", NAME, "--into", "out")
    keyid = live.forge("key", "show", "default", "-q").strip()
    live.forge("key", "new", "fresh", "--insecure-unencrypted")
    live.forge("org", "publisher", "add", NAME, "--key", "fresh")
    live.forge("org", "publisher", "revoke", NAME, keyid, "--reason", "stolen")
    live.forge("sync", "--into", "out")
    done = run(live, "authority", "status", "--key", str(live.authority / "status.pem"),
               "--revoke", f"{NAME}==1.0.0", "--reason", "its key was stolen")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "does not verify any more (" in done.stderr
    assert run(live, "info", NAME).returncode == 3
    stopped = run(live, "sync", "--into", "out")
    assert (stopped.returncode, "its key was stolen" in stopped.stderr) == (7, True), stopped.stderr


def test_what_a_thief_of_the_hosts_key_revoked_ends_with_the_key(live: LiveRegistry) -> None:
    says(live, "--revoke", f"{NAME}==1.0.0", "--reason", "because I can")
    assert run(live, "install", NAME, "--into", "x").returncode == 7
    live.forge("key", "new", "host", "--algorithm", "ed25519", "--insecure-unencrypted")
    public = json.loads(live.forge("authority", "public-key", "host", "--json"))
    (live.place / "host.pub").write_text(public["public"])
    old = json.loads(
        live.forge("authority", "public-key", str(live.authority / "status.pem"), "--json")
    )
    live.forge("authority", "fetch", "metadata")
    live.forge("authority", "rotate", "status", "--add", "host.pub", "--from", "metadata",
               "--dev", "-o", "both.json")  # fmt: skip
    sign(live, "both.json")
    # While the thief's key is named what it said binds.
    kept = run(live, "authority", "submit", "both.json", "--status-key", "host",
               "--forget-withheld")  # fmt: skip
    assert (kept.returncode, "a revocation is final" in kept.stderr) == (3, True), kept.stderr
    live.forge("authority", "rotate", "status", "--add", "host.pub", "--remove", old["keyid"],
               "--from", "metadata", "--dev", "-o", "new.json")  # fmt: skip
    sign(live, "new.json")
    live.forge("authority", "submit", "new.json", "--status-key", "host", "--forget-withheld")
    live.forge("install", NAME, "--into", "x")


def test_two_of_three_hosts(live: LiveRegistry) -> None:
    """A statement that several must sign is carried, said in words, and sent by the last."""
    old = str(live.authority / "status.pem")
    for name in ("two", "three"):
        live.forge("key", "new", name, "--algorithm", "ed25519", "--insecure-unencrypted")
        public = json.loads(live.forge("authority", "public-key", name, "--json"))
        (live.place / f"{name}.pub").write_text(public["public"])
    live.forge("authority", "fetch", "metadata")
    live.forge("authority", "rotate", "status", "--add", "two.pub", "--add", "three.pub",
               "--threshold", "2", "--from", "metadata", "--dev", "-o", "plan.json")  # fmt: skip
    sign(live, "plan.json")
    one = run(live, "authority", "submit", "plan.json", "--status-key", "two")
    assert (one.returncode, "needs 2 signatures" in one.stderr) == (4, True), one.stderr
    live.forge("authority", "submit", "plan.json", "--status-key", "two", "--status-key", old)

    said = says(live, "--quarantine", f"{NAME}==1.0.0", "--reason", "odd", "--out", "s.json",
                key="three")  # fmt: skip
    assert (said["sent"], said["file"]) == (False, "s.json")
    live.forge("info", NAME)
    assert run(live, "authority", "status", "--from", "s.json", "--key", "three",
               "--lift", f"{NAME}==1.0.0").returncode == 2  # fmt: skip
    done = run(live, "authority", "status", "--from", "s.json", "--key", "two")
    assert done.returncode == 0, done.stderr
    assert "quarantined since" in done.stderr
    assert run(live, "install", NAME, "--into", "x").returncode == 7
    again = run(live, "authority", "status", "--from", "s.json", "--key", "two")
    assert again.returncode == 6, again.stderr  # it is at that version already
