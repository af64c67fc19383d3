"""The client against a real registry: every command, as a person types it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from live_registry import BIN, LiveRegistry


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    with LiveRegistry(tmp_path_factory.mktemp("live")) as registry:
        registry.register("minds-lab")
        yield registry


@dataclass(frozen=True)
class Person:
    """Somebody with a home of their own."""

    live: LiveRegistry
    home: Path

    def __call__(
        self, *args: str, pass_fds: tuple[int, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        environment = {**self.live.environment, "FORGE_HOME": str(self.home)}
        if not pass_fds:
            return self.live.forge_with(environment, *args)
        return subprocess.run(
            [str(BIN / "forge"), *args],
            env=environment,
            cwd=self.live.place,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            pass_fds=pass_fds,
        )

    def ok(self, *args: str, pass_fds: tuple[int, ...] = ()) -> str:
        done = self(*args, pass_fds=pass_fds)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)


def person(live: LiveRegistry, name: str, *, login: bool = True) -> Person:
    made = Person(live, live.place / f"home-{name}")
    if login:
        token = live.forge_server("user", "add", str(live.data), name)
        (live.place / f"{name}.token").write_text(token)
        arguments = ["--fingerprint", live.fingerprint, "--token-file", f"{name}.token"]
        made.ok("login", live.url, *arguments)
    return made


def set_version(folder: Path, version: str) -> None:
    text = (folder / "forge.toml").read_text()
    changed = re.sub(r'^version = "[^"]*"', f'version = "{version}"', text, flags=re.MULTILINE)
    (folder / "forge.toml").write_text(changed)


def test_from_init_to_verify(live: LiveRegistry) -> None:
    folder = live.new_component("minds-lab", "first-model")
    (folder / "weights.bin").write_bytes(os.urandom(3 << 20))
    live.forge("check", str(folder))
    live.forge("publish", str(folder), "--dry-run")
    assert "first-model" not in live.forge("search", "first-model")
    published = json.loads(live.forge("publish", str(folder), "--json"))
    assert published["state"] == "published"
    assert published["receipt"]["manifest_sha256"] == published["manifest_sha256"]
    assert "minds-lab/first-model" in live.forge("search", "first-model")
    live.forge("install", "minds-lab/first-model>=1,<2", "--into", "out")
    target = live.place / "out/forge_components/minds-lab/first-model"
    assert {p.name for p in target.iterdir()} == {p.name for p in folder.iterdir()}
    assert "verified: " in live.forge("verify", str(target))
    live.forge("verify", "minds-lab/first-model")
    live.forge("verify", str(target), "--online")


def test_an_installed_folder_that_was_touched_fails_with_3(live: LiveRegistry) -> None:
    folder = live.new_component("minds-lab", "touched")
    live.forge("publish", str(folder))
    for change in ("changed", "missing", "extra", "link"):
        into = f"touched-{change}"
        live.forge("install", "minds-lab/touched", "--into", into)
        target = live.place / into / "forge_components/minds-lab/touched"
        card = target / "README.md"
        if change != "extra":
            card.unlink()
        if change == "changed":
            card.write_text("other")
        elif change == "extra":
            (target / "extra").write_text("x")
        elif change == "link":
            card.symlink_to(folder / "README.md")
        done = live.forge_with(live.environment, "verify", str(target))
        assert done.returncode == 3, (change, done.stdout, done.stderr)
        live.forge("sync", "--into", into)
        assert "verified: " in live.forge("verify", str(target))


def test_publishing_again_is_a_success_and_other_content_a_conflict(live: LiveRegistry) -> None:
    folder = live.new_component("minds-lab", "again")
    first = json.loads(live.forge("publish", str(folder), "--json"))
    second = json.loads(live.forge("publish", str(folder), "--json"))
    assert second["state"] == "already-published"
    (folder / "README.md").write_text("# other\n")
    done = live.forge_with(live.environment, "publish", str(folder))
    assert done.returncode == 6
    assert first["manifest_sha256"] in done.stderr
    assert "raise version" in done.stderr


def test_versions_ranges_and_yanking(live: LiveRegistry) -> None:
    folder = live.new_component("minds-lab", "versions")
    live.forge("publish", str(folder))
    set_version(folder, "1.1.0")
    live.forge("publish", str(folder))
    live.forge("yank", "minds-lab/versions==1.1.0", "--reason", "wrong tokenizer")
    assert "1.1.0 (yanked)" in live.forge("info", "minds-lab/versions")
    live.forge("install", "minds-lab/versions>=1,<2", "--into", "y")
    assert 'version = "1.0.0"' in (live.place / "y/forge.lock").read_text()
    done = live.forge_with(live.environment, "install", "minds-lab/versions==1.1.0", "--into", "y2")
    assert done.returncode == 0
    assert "wrong tokenizer" in done.stderr
    live.forge("unyank", "minds-lab/versions==1.1.0")
    live.forge("install", "minds-lab/versions", "--into", "y", "--upgrade")
    assert 'version = "1.1.0"' in (live.place / "y/forge.lock").read_text()
    live.forge("install", "minds-lab/versions", "--into", "y", "--locked")
    set_version(folder, "1.0.5")
    late = live.forge_with(live.environment, "publish", str(folder))
    assert "warning: 1.0.5 is below 1.1.0, which stays what is installed" in late.stderr


def test_a_publisher_without_the_organisations_key_needs_its_signature(
    live: LiveRegistry,
) -> None:
    amina = person(live, "amina")
    amina.ok("key", "new", "--insecure-unencrypted")
    live.forge("org", "member", "add", "minds-lab", "amina")
    folder = live.new_component("minds-lab", "carried")
    done = amina("publish", str(folder))
    assert done.returncode == 4
    assert "minds-lab-adds-carried.json" in done.stderr
    assert "forge org sign" in done.stderr
    # Made from the same version of the role as the first: old as soon as that one is signed.
    assert amina("publish", str(live.new_component("minds-lab", "later"))).returncode == 4
    stranger = person(live, "stranger")
    stranger.ok("key", "new", "--insecure-unencrypted")
    assert stranger("org", "sign", "minds-lab-adds-carried.json").returncode == 4
    shown = live.forge_with(live.environment, "org", "sign", "minds-lab-adds-carried.json")
    assert shown.returncode == 0, shown.stderr
    assert "minds-lab/carried  key" in shown.stderr
    old = live.forge_with(live.environment, "org", "sign", "minds-lab-adds-later.json")
    assert old.returncode == 6
    assert "forge publish" in old.stderr
    assert "do not sign" not in old.stderr
    amina.ok("publish", str(folder))
    set_version(folder, "1.1.0")
    assert live.forge_with(live.environment, "publish", str(folder)).returncode == 4
    amina.ok("publish", str(folder))


def test_two_publishers_at_once_both_succeed(live: LiveRegistry) -> None:
    """The slower one rebases its signature on what the faster one signed."""
    folder = live.new_component("minds-lab", "race")
    live.forge("publish", str(folder))
    running = []
    for number in range(2, 5):
        copy = live.place / f"race-{number}"
        shutil.copytree(folder, copy)
        set_version(copy, f"{number}.0.0")
        running.append(
            subprocess.Popen(
                [str(BIN / "forge"), "publish", str(copy)],
                env=live.environment,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
        )
    for process in running:
        _, err = process.communicate()
        assert process.returncode == 0, err
    shown = json.loads(live.forge("info", "minds-lab/race", "--json"))
    assert [v["version"] for v in shown["versions"]] == ["4.0.0", "3.0.0", "2.0.0", "1.0.0"]


def test_a_passphrase_is_asked_once_and_never_on_the_command_line(live: LiveRegistry) -> None:
    leila = person(live, "leila")
    for index, args in enumerate(
        [("key", "new"), ("org", "create", "leila-lab", "--kind", "academic",
                          "--display-name", "Leila")]
    ):  # fmt: skip
        read, write = os.pipe()
        os.write(write, b"correct horse\n")
        os.close(write)
        leila.ok(*args, "--passphrase-fd", str(read), pass_fds=(read,))
        os.close(read)
        assert index in (0, 1)
    pem = (leila.home / "keys" / "default.pem").read_text()
    assert pem.startswith("-----BEGIN ENCRYPTED")
    live.forge("authority", "approve", "leila-lab", "--authority", str(live.authority))
    leila.ok("init", "secret", "--org", "leila-lab", "--name", "secret", "--kind", "prompt")
    done = leila("publish", "secret")
    assert done.returncode == 4
    assert "--passphrase-fd" in done.stderr
    read, write = os.pipe()
    os.write(write, b"correct horse\n")
    os.close(write)
    leila.ok("publish", "secret", "--passphrase-fd", str(read), pass_fds=(read,))
    os.close(read)


def test_rights_are_refused_with_4_and_say_what_was_needed(live: LiveRegistry) -> None:
    reader = person(live, "reader", login=False)
    reader.ok("trust", "add", live.url, "--fingerprint", live.fingerprint)
    assert reader("whoami").returncode == 4
    reader.ok("search", "model")
    outsider = person(live, "outsider")
    outsider.ok("key", "new", "--insecure-unencrypted")
    folder = live.new_component("minds-lab", "not-yours")
    assert outsider("publish", str(folder)).returncode == 4
    token = live.forge("token", "create", "ro", "--action", "read").strip()
    done = live.forge_with({**live.environment, "FORGE_TOKEN": token}, "publish", str(folder))
    assert done.returncode == 4
    assert "publish" in done.stderr
    assert token not in done.stderr
    bad = live.forge_with({**live.environment, "FORGE_TOKEN": "forge_wrong"}, "whoami")
    assert bad.returncode == 4


def test_tokens_are_listed_and_revoked(live: LiveRegistry) -> None:
    made = json.loads(live.forge("token", "create", "ci", "--json"))
    rows = json.loads(live.forge("token", "list", "--json"))
    assert any(row["name"] == "ci" for row in rows)
    live.forge("token", "revoke", str(made["id"]))
    env = {**live.environment, "FORGE_TOKEN": made["token"]}
    assert live.forge_with(env, "whoami").returncode == 4


def test_the_authority_sees_what_it_signs_and_refuses_another_key(live: LiveRegistry) -> None:
    live.forge("org", "create", "ministry", "--kind", "government", "--display-name", "Ministry")
    assert "ministry" in live.forge("authority", "list")
    where = ("--authority", str(live.authority))
    mistyped = live.forge_with(live.environment, "authority", "approve", "ministery", *where)
    assert mistyped.returncode == 5
    assert "forge authority list" in mistyped.stderr
    elsewhere = live.forge_with(
        live.environment, "authority", "approve", "ministry", "--authority", str(live.data)
    )
    assert elsewhere.returncode == 2
    assert "the folder of the authority's keys" in elsewhere.stderr
    wrong = live.forge_with(
        live.environment, "authority", "approve", "ministry", *where, "--key-id", "0" * 12
    )
    assert wrong.returncode == 3
    keyid = live.forge("key", "show").strip()
    done = live.forge_with(
        live.environment, "authority", "approve", "ministry", *where, "--key-id", keyid[:12]
    )
    assert done.returncode == 0, done.stderr
    assert keyid in done.stderr
    assert "registrar" in live.forge("authority", "show", *where)
    shown = json.loads(live.forge("org", "show", "ministry", "--json"))
    assert shown["kind"] == "government"


def test_loose_files_verify_without_registry_or_home(live: LiveRegistry, tmp_path: Path) -> None:
    folder = live.new_component("minds-lab", "loose")
    live.forge("publish", str(folder))
    live.forge("export-bundle", "minds-lab/loose==1.0.0", "--into", "third-party")
    out = live.place / "third-party"
    command = [
        "verify", str(out / "files"), "--bundle", str(out / "release.sigstore.json"),
        "--key", str(out / "publisher.pem"), "--manifest", str(out / "manifest.json"),
    ]  # fmt: skip
    empty = {**live.environment, "FORGE_HOME": str(tmp_path / "nobody")}
    done = live.forge_with(empty, *command)
    assert done.returncode == 0, done.stderr
    (out / "files" / "README.md").write_text("other")
    assert live.forge_with(empty, *command).returncode == 3
    assert not (tmp_path / "nobody").exists()
    export = ("export-bundle", "minds-lab/loose", "--into", "third-party")
    again = live.forge_with(live.environment, *export)
    assert again.returncode == 6


def wheel(folder: Path, version: str) -> Path:
    """A minimal wheel that answers with its version."""
    path = folder / f"forge_test_lib-{version}-py3-none-any.whl"
    info = f"forge_test_lib-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: forge-test-lib\nVersion: {version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("forge_test_lib.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_a_librarys_wheel_is_installed_after_verification(
    live: LiveRegistry, tmp_path: Path
) -> None:
    library = live.new_component("minds-lab", "lib", kind="library")
    wheel(library, "1.0")
    live.forge("publish", str(library))
    model = live.new_component("minds-lab", "needs-lib")
    with (model / "forge.toml").open("a") as file:
        file.write('\n[requires]\n"minds-lab/lib" = ">=1,<2"\n')
    live.forge("publish", str(model))
    live.forge("install", "minds-lab/needs-lib", "--into", "nopip", "--no-pip")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    arguments = ["install", "minds-lab/needs-lib", "--into", "pip", "--python", str(python)]
    assert json.loads(live.forge(*arguments, "--json"))["wheels"]
    program = "import forge_test_lib; print(forge_test_lib.VERSION)"
    done = subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0\n"
    assert json.loads(live.forge(*arguments, "--json"))["wheels"] == []


def test_doctor_is_content_and_finds_what_is_wrong(live: LiveRegistry) -> None:
    live.forge("doctor")
    key = live.place / "home" / "keys" / "default.pem"
    key.chmod(0o644)
    try:
        done = live.forge_with(live.environment, "doctor", "--json")
    finally:
        key.chmod(0o600)
    assert done.returncode == 4
    assert any(f["status"] == "problem" for f in json.loads(done.stdout))


def test_logout_forgets_the_token_and_keeps_the_trust(live: LiveRegistry) -> None:
    nora = person(live, "nora")
    assert nora.ok("whoami") == "nora\n"
    mode = (nora.home / "credentials.toml").stat().st_mode & 0o777
    assert mode == 0o600
    nora.ok("logout")
    assert nora("whoami").returncode == 4
    assert live.url in nora.ok("trust", "list")


def test_an_unreachable_registry_is_a_clear_8(live: LiveRegistry) -> None:
    done = live.forge_with({**live.environment, "FORGE_URL": "http://127.0.0.1:9"}, "search", "x")
    assert done.returncode == 2  # not pinned: nothing is asked
    lost = Person(live, live.place / "home-lost")
    shutil.copytree(live.place / "home", lost.home)
    for name in ("config.toml", "trust/pins.toml"):
        path = lost.home / name
        path.write_text(path.read_text().replace(live.url, "http://127.0.0.1:9"))
    ran = lost("info", "minds-lab/first-model")
    assert ran.returncode == 8
    assert "connection refused" in ran.stderr
