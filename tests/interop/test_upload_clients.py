"""twine and uv publish, as they are, send what `forge sign` has signed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_registry import LiveRegistry
from stock_clients import client_programs
from wheels import sdist, wheel

pytestmark = pytest.mark.filterwarnings("default")

TOML = """[component]
org = "minds-lab"
name = "{name}"
version = "{version}"
kind = "library"
summary = "A demonstration"
license = "Apache-2.0"
card = "README.md"
"""


@pytest.fixture(scope="module")
def programs() -> Path:
    return client_programs()


@pytest.fixture(scope="module")
def live(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    with LiveRegistry(tmp_path_factory.mktemp("uploads")) as registry:
        registry.register("minds-lab")
        yield registry


def project(live: LiveRegistry, name: str, version: str = "1.0.0") -> Path:
    """A folder with forge.toml, a card, and a wheel and an sdist in dist/."""
    folder = live.place / f"{name}-{version}"
    (folder / "dist").mkdir(parents=True)
    (folder / "forge.toml").write_text(TOML.format(name=name, version=version))
    (folder / "README.md").write_text(f"# {name}\n")
    (folder / "README.ar.md").write_text("# عرض\n")
    for filename, data in (wheel(name, version) | sdist(name, version)).items():
        (folder / "dist" / filename).write_bytes(data)
    return folder


def sign(live: LiveRegistry, folder: Path) -> None:
    dist = [str(path) for path in sorted((folder / "dist").iterdir())]
    live.forge("sign", "--folder", str(folder), *dist)


def send(
    live: LiveRegistry, programs: Path, client: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """`twine upload`, or `uv publish`, of what is in dist/."""
    url, token = f"{live.url}/legacy/", live.token.strip()
    files = [str(path) for path in sorted((folder / "dist").glob("*"))]
    if client == "twine":
        options = ["--attestations", "--disable-progress-bar", "--repository-url", url]
        command = ["twine", "upload", "--non-interactive", *options, *files]
    else:
        command = ["uv", "publish", "--publish-url", url]
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=folder,
        env={
            **kept, "HOME": str(live.place / "home-of-clients"), "NO_COLOR": "1",
            "TWINE_USERNAME": "__token__", "TWINE_PASSWORD": token, "UV_PUBLISH_TOKEN": token,
        },
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("client", ["twine", "uv"])
def test_a_signed_upload_is_an_ordinary_release(
    live: LiveRegistry, programs: Path, client: str
) -> None:
    name = f"by-{client}"
    folder = project(live, name)
    sign(live, folder)
    done = send(live, programs, client, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"minds-lab/{name}" in live.forge("verify", f"minds-lab/{name}==1.0.0")
    live.forge("install", f"minds-lab/{name}", "--into", f"out-{client}", "--no-pip")
    installed = live.place / f"out-{client}" / "forge_components" / "minds-lab" / name
    (filename, data), _ = (wheel(name) | sdist(name)).items()
    assert (installed / filename).read_bytes() == data
    assert (installed / "README.ar.md").exists()
    # Once more is a success that changes nothing, also of what was signed before.
    again = send(live, programs, client, folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "already" in live.forge_with(
        live.environment, "sign", "--folder", str(folder), str(folder / "dist" / filename),
        *(str(path) for path in sorted((folder / "dist").glob("*.tar.gz"))),
    ).stderr  # fmt: skip


@pytest.mark.parametrize("client", ["twine", "uv"])
def test_an_unsigned_upload_is_refused_in_words_that_the_client_shows(
    live: LiveRegistry, programs: Path, client: str
) -> None:
    folder = project(live, f"not-by-{client}")
    if client == "twine":  # it asks for attestations to be there when told to send them
        for path in sorted((folder / "dist").iterdir()):
            path.with_name(f"{path.name}.publish.attestation").write_text("{}")
    done = send(live, programs, client, folder)
    assert done.returncode != 0
    said = "".join((done.stdout + done.stderr).split())
    assert "publisher'ssignature" in said
    if client == "twine":
        assert "forgesigndist" in said


@pytest.mark.parametrize("client", ["twine", "uv"])
def test_a_file_that_was_built_again_is_refused(
    live: LiveRegistry, programs: Path, client: str
) -> None:
    name = f"rebuilt-by-{client}"
    folder = project(live, name)
    sign(live, folder)
    ((filename, data),) = wheel(name, requires_python=">=3.1").items()
    (folder / "dist" / filename).write_bytes(data)
    done = send(live, programs, client, folder)
    assert done.returncode != 0
    assert hashlib.sha256(data).hexdigest()[:16] in "".join((done.stdout + done.stderr).split())


def test_what_forge_sign_refuses(live: LiveRegistry) -> None:
    folder = project(live, "odd", "2.0.0")
    (folder / "dist" / "odd-1.0.0-py3-none-any.whl").write_bytes(b"x")
    (folder / "dist" / "notes.txt").write_bytes(b"x")

    def code(*files: str) -> tuple[int, str]:
        done = live.forge_with(
            live.environment, "sign", "--folder", str(folder),
            *(str(folder / "dist" / name) for name in files),
        )  # fmt: skip
        return done.returncode, done.stderr

    assert code("odd-1.0.0-py3-none-any.whl")[0] == 2
    assert "expected version 2.0.0" in code("odd-1.0.0-py3-none-any.whl")[1]
    assert code("notes.txt")[0] == 2
    assert code("missing-2.0.0-py3-none-any.whl")[0] == 1
    assert code("notes.txt.publish.attestation")[0] == 2
    text = (folder / "forge.toml").read_text()
    (folder / "forge.toml").write_text(text.replace('"library"', '"model"'))
    assert "kind library" in code("odd-2.0.0-py3-none-any.whl")[1]
    assert not list((folder / "dist").glob("*.attestation"))
