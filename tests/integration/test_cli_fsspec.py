"""``forge://`` for fsspec: what is listed, opened, copied and refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from builders import NAME, sha256
from reading import FILES, PINNED, WEIGHTS, Readable, readable

from forge_cli import api
from forge_cli.truststore import TrustStore

__all__ = ["readable"]

ROOT = f"forge://{PINNED}"


@pytest.fixture(scope="module")
def files(readable: Readable) -> Any:
    """The file system that fsspec finds for ``forge://`` by itself."""
    return fsspec.filesystem("forge")


def test_what_is_listed_is_what_was_signed(files: Any) -> None:
    assert files.ls(ROOT, detail=False) == [
        f"{PINNED}/README.md", f"{PINNED}/forge.toml", f"{PINNED}/weights"
    ]  # fmt: skip
    assert files.find(ROOT) == sorted(f"{PINNED}/{path}" for path in FILES)
    assert files.glob(f"{ROOT}/**/*.safetensors") == [f"{PINNED}/{WEIGHTS}"]
    assert files.glob(f"{ROOT}/*.md") == [f"{PINNED}/README.md"]
    assert files.ls(f"{ROOT}/{WEIGHTS}") == [files.info(f"{ROOT}/{WEIGHTS}")]
    assert files.info(f"{ROOT}/{WEIGHTS}") == {
        "name": f"{PINNED}/{WEIGHTS}",
        "size": len(FILES[WEIGHTS]),
        "type": "file",
        "sha256": sha256(FILES[WEIGHTS]),
    }
    assert files.info(f"{ROOT}/weights/")["type"] == "directory"
    assert files.isdir(ROOT)
    assert files.isfile(f"{ROOT}/README.md")
    assert files.exists(f"{ROOT}/README.md")
    assert not files.exists(f"{ROOT}/README")
    assert files.du(ROOT) == sum(map(len, FILES.values()))


def test_files_are_read_whole_and_in_part(files: Any, tmp_path: Path) -> None:
    with fsspec.open(f"{ROOT}/{WEIGHTS}") as file:
        file.seek(-256, io.SEEK_END)
        assert file.read() == bytes(range(256))
    with fsspec.open(f"{ROOT}/README.md", "r", encoding="utf-8") as file:
        assert file.read() == "# card\n"
    assert files.cat_file(f"{ROOT}/{WEIGHTS}", start=10, end=12) == b"\x0a\x0b"
    assert files.cat_ranges([f"{ROOT}/{WEIGHTS}"] * 2, [0, 5], [1, 6]) == [b"\x00", b"\x05"]
    assert files.head(f"{ROOT}/{WEIGHTS}", 2) == b"\x00\x01"
    files.get(ROOT, str(tmp_path / "all"), recursive=True)
    for path, data in FILES.items():
        assert (tmp_path / "all" / path).read_bytes() == data
    with fsspec.open(f"simplecache::{ROOT}/README.md") as file:
        assert file.read() == FILES["README.md"]
    with fsspec.open(f"forge://{NAME}/forge.toml") as file:
        assert b'version = "1.1.0"' in file.read()
    with fsspec.open(f"forge://{NAME}>=1,<1.1/forge.toml") as file:
        assert b'version = "1.0.0"' in file.read()


WRITES: dict[str, Callable[[Any, str], object]] = {
    "wb": lambda files, path: files.open(path, "wb"),
    "ab": lambda files, path: files.open(path, "ab"),
    "w": lambda files, path: files.open(path, "w"),
    "r+b": lambda files, path: files.open(path, "r+b"),
    "pipe": lambda files, path: files.pipe(path, b"x"),
    "put": lambda files, path: files.put(__file__, path),
    "put_file": lambda files, path: files.put_file(__file__, path),
    "rm": lambda files, path: files.rm(path),
    "rm_file": lambda files, path: files.rm_file(path),
    "mv": lambda files, path: files.mv(path, f"{path}2"),
    "cp_file": lambda files, path: files.cp_file(path, f"{path}2"),
    "copy": lambda files, path: files.copy(path, f"{path}2"),
    "touch": lambda files, path: files.touch(path),
    "mkdir": lambda files, path: files.mkdir(f"{path}s"),
    "makedirs": lambda files, path: files.makedirs(f"{path}s"),
    "rmdir": lambda files, path: files.rmdir(path),
}


@pytest.mark.parametrize("write", WRITES)
def test_nothing_is_written(files: Any, write: str) -> None:
    with pytest.raises(api.ReadOnly, match="forge publish"):
        WRITES[write](files, f"{ROOT}/README.md")
    assert issubclass(api.ReadOnly, OSError)


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("forge://", api.Invalid, "forge://organisation/name@version/path"),
        ("forge://minds-lab", api.Invalid, "forge://organisation/name@version/path"),
        ("forge://forge.example/minds-lab/darija-lid/x", api.Invalid, "it names no registry"),
        ("forge://localhost:8080/minds-lab/x", api.Invalid, "it names no registry"),
        ("forge://you@forge.example/minds-lab/x", api.Invalid, "it names no registry"),
        ("forge:///etc/passwd", api.Invalid, "it names no registry"),
        (f"{ROOT}/../darija-lid/README.md", api.Invalid, "without empty, . or .. parts"),
        (f"{ROOT}/weights/../README.md", api.Invalid, "without empty, . or .. parts"),
        (f"{ROOT}/weights//model.safetensors", api.Invalid, "without empty, . or .. parts"),
        (f"{ROOT}/weights%2Fmodel.safetensors", api.Invalid, "percent-encodings"),
        (f"{ROOT}/%2e%2e/x", api.Invalid, "percent-encodings"),
        ("forge://minds-lab%2Fdarija-lid/README.md", api.Invalid, "lower-case letters"),
        ("forge://..%2f../darija-lid/README.md", api.Invalid, "it names no registry"),
        (f"forge://{NAME}@latest/README.md", api.Invalid, "a version like 1.0.0"),
        (f"forge://{NAME}@7/README.md", api.Conflict, "the registry has 1.1.0, 1.0.0"),
        (f"{ROOT}/nothing.csv", FileNotFoundError, "no such file in the release"),
        (f"{ROOT}/weights", FileNotFoundError, "a folder, not a file"),
    ],
)
def test_other_addresses_are_refused(
    files: Any, url: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        fsspec.open(url).open()
    assert words in str(caught.value)


def test_what_cannot_be_asked_is_no_empty_answer(
    readable: Readable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """fsspec itself takes any exception for "no such file"."""
    monkeypatch.setenv("FORGE_HOME", str(tmp_path))
    files = fsspec.filesystem("forge", skip_instance_cache=True)
    for ask in (files.exists, files.isfile, files.isdir, files.find, files.glob, files.open):
        with pytest.raises(api.NotTrusted, match="forge trust add"):
            ask(f"{ROOT}/README.md")
    with pytest.raises(api.Invalid, match="percent-encodings"):
        files.exists(f"{ROOT}/a%2Fb")
    nobody, pin = (
        "http://127.0.0.1:1",
        TrustStore(readable.home / "trust").require(readable.server.url),
    )
    TrustStore(tmp_path / "trust").add(nobody, pin.fingerprint, pin.root)
    monkeypatch.setattr("forge_cli.remote.http.pause_seconds", lambda _: 0.0)
    files = fsspec.filesystem("forge", registry=nobody, skip_instance_cache=True)
    for ask in (files.exists, files.find, files.glob, files.open, lambda at: list(files.walk(at))):
        with pytest.raises(api.Unreachable):
            ask(f"{ROOT}/README.md")


def test_another_registry_is_an_option(readable: Readable) -> None:
    wrong = fsspec.filesystem("forge", registry="http://127.0.0.1:1")
    with pytest.raises(api.NotTrusted, match=r"http://127\.0\.0\.1:1 is not trusted"):
        wrong.ls(ROOT)
    url = readable.server.url
    assert fsspec.filesystem("forge", registry=url, mirrors=(url,)).exists(ROOT)


def test_a_changed_cache_is_put_right(files: Any, readable: Readable) -> None:
    path = f"{ROOT}/{WEIGHTS}"
    files.cat_file(path)
    (blob,) = readable.home.glob(f"cache/blobs/*/{sha256(FILES[WEIGHTS])}")
    blob.chmod(0o644)
    blob.write_bytes(bytes(len(FILES[WEIGHTS])))
    assert files.cat_file(path) == FILES[WEIGHTS]
