"""forge.lock: written deterministically, read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from forge_cli.lockfile import Lock, LockedComponent, dump_lock, parse_lock, read_lock, write_lock
from signing.errors import MalformedError
from signing.names import ComponentName, Requirement

A, B = ComponentName.parse("minds-lab/a"), ComponentName.parse("minds-lab/b")


def locked(name: ComponentName, version: str, **requires: str) -> LockedComponent:
    return LockedComponent(
        component=name,
        version=Version(version),
        kind="model",
        manifest_sha256="ab" * 32,
        requires={key.replace("_", "/"): value for key, value in requires.items()},
    )


def make(*requirements: str) -> Lock:
    return Lock(
        registry="https://forge.example",
        fingerprint="sha256:" + "cd" * 32,
        requirements=tuple(map(Requirement.parse, requirements or ("minds-lab/a>=1,<2",))),
        components=(locked(A, "1.5.0", **{"minds-lab/b": ">=2"}), locked(B, "2.0.0")),
    )


def test_a_lock_reads_back_as_it_was_written() -> None:
    data = dump_lock(make())
    assert parse_lock(data) == make()
    assert dump_lock(parse_lock(data)) == data
    assert '"minds-lab/a>=1,<2"' in data.decode()


def test_writing_the_same_lock_again_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "forge.lock"
    assert write_lock(path, make())
    before = path.stat()
    assert not write_lock(path, make())
    assert path.stat() == before


def test_no_lock_is_none(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "forge.lock") is None


@pytest.mark.parametrize(
    ("requirement", "holds"),
    [
        ("minds-lab/a", True),
        ("minds-lab/a==1.5.0", True),
        ("minds-lab/b<3", True),
        ("minds-lab/a>2", False),
        ("minds-lab/c", False),
    ],
)
def test_satisfies_follows_requirements_of_requirements(requirement: str, holds: bool) -> None:
    assert make().satisfies((Requirement.parse(requirement),)) is holds


def test_a_lock_whose_own_components_contradict_each_other_does_not_satisfy() -> None:
    lock = Lock(
        registry="r",
        fingerprint="f",
        requirements=(),
        components=(locked(A, "1.0.0", **{"minds-lab/b": ">=3"}), locked(B, "2.0.0")),
    )
    assert not lock.satisfies((Requirement.parse("minds-lab/a"),))


MALFORMED = {
    "not toml": ("schema = 1", "schema = ", "TOML"),
    "newer schema": ("schema = 1", "schema = 2", "schema"),
    "boolean schema": ("schema = 1", "schema = true", "schema"),
    "unknown key": ("schema = 1", "schema = 1\nextra = 1", "extra"),
    "missing key": ('registry = "https://forge.example"\n', "", "registry"),
    "number for text": ('registry = "https://forge.example"', "registry = 5", "registry"),
    "bad digest": ("ab" * 32, "AB" * 32, "component[0].manifest_sha256"),
    "bad fingerprint": ("sha256:" + "cd" * 32, "sha256:cd", "fingerprint"),
    "bad name": ('name = "minds-lab/a"', 'name = "minds-lab/../a"', "component[0].name"),
    "bad version": ('"1.5.0"', '"1.5.0+local"', "component[0].version"),
    "twice": ('name = "minds-lab/b"', 'name = "minds-lab/a"', "component"),
    "unsatisfied": (">=1,<2", ">=7", "satisfy"),
    "bad range": ('"minds-lab/b" = ">=2"', '"minds-lab/b" = "banana"', "requires"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_spoilt_lock_is_refused_with_its_place(case: str) -> None:
    old, new, place = MALFORMED[case]
    text = dump_lock(make()).decode()
    assert old in text
    with pytest.raises(MalformedError) as caught:
        parse_lock(text.replace(old, new, 1).encode())
    assert place in caught.value.message


def test_garbage_is_malformed_whatever_it_is() -> None:
    for data in (b"\xff\xfe", b"[" * 100_000, b"\x00", b"a = 1e999"):
        with pytest.raises(MalformedError):
            parse_lock(data)
