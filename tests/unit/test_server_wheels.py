"""What is read out of a wheel, and the archives out of which nothing is."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from wheels import archive, wheel

from forge_server.domain.wheels import (
    MAX_METADATA_BYTES,
    Metadata,
    WheelRefusedError,
    distribution_of,
    read_metadata,
)

NAME = "odd-1.0.0-py3-none-any.whl"
INFO = "odd-1.0.0.dist-info"
GOOD = wheel("odd")[NAME]


def read(data: bytes, name: str = NAME) -> Metadata:
    named = distribution_of(f"dist/{name}")
    assert named is not None
    return read_metadata(io.BytesIO(data), len(data), named)


def test_metadata_is_the_exact_bytes() -> None:
    found = read(GOOD)
    with zipfile.ZipFile(io.BytesIO(GOOD)) as file:
        assert found.data == file.read(f"{INFO}/METADATA")
    assert found.requires_python == ">=3.9"


@pytest.mark.parametrize(
    ("name", "project", "version"),
    [
        ("Gov_Demo-1.0-py3-none-any.whl", "gov-demo", "1.0"),
        ("gov_demo-1.0-2-cp311-cp311-linux_x86_64.whl", "gov-demo", "1.0"),
        ("gov_demo-1.0.tar.gz", "gov-demo", "1.0"),
    ],
)
def test_names_of_files(name: str, project: str, version: str) -> None:
    found = distribution_of(f"a/b/{name}")
    assert found is not None
    assert (found.filename, found.project, found.version) == (name, project, version)


@pytest.mark.parametrize(
    "name",
    [
        "README.md", "x.whl", "a-b.whl", "weights-1.0.zip", "weights.tar.gz", ".whl", "",
        "r\u0435quests-1.0-py3-none-any.whl", "donn\xe9es-1.0.tar.gz", "x y-1.0.tar.gz",
        "a;b-1.0.tar.gz", "a&b-1.0.tar.gz", "_-1.0-py3-none-any.whl", "x_-1.0-py3-none-any.whl",
        "x-1.0-1 a-py3-none-any.whl",
        "x-1.0-py3-none-\u202eany.whl", "x-1.0-py3-none-any;a=b.whl",
        f"{'x' * 300}-1.0-py3-none-any.whl",
    ],
    ids=ascii,
)  # fmt: skip
def test_other_files_are_no_distributions(name: str) -> None:
    assert distribution_of(name) is None


def two_members() -> bytes:
    buffer = io.BytesIO(GOOD)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(buffer, "a") as file:
        file.writestr(f"{INFO}/METADATA", b"Name: requests")
    return buffer.getvalue()


def lying_size() -> bytes:
    """The directory says 10 bytes, the member unpacks to more than the limit."""
    data = wheel("odd", metadata=b"Name: odd\nVersion: 1.0.0\n\n" + b"x" * 3_000_000)[NAME]
    real = struct.pack("<L", len(b"Name: odd\nVersion: 1.0.0\n\n") + 3_000_000)
    return data.replace(real, struct.pack("<L", 10))


def wide_directory() -> bytes:
    """A directory of 4 GB, as the end of the archive says."""
    at = GOOD.rfind(b"PK\5\6")
    return GOOD[: at + 12] + struct.pack("<L", 0xFFFFFFF0) + GOOD[at + 16 :]


CASES = {
    "no-zip": (lambda: b"not an archive", "zip archive"),
    "empty": (lambda: b"", "zip archive"),
    "cut": (lambda: GOOD[:-30], "zip archive"),
    "trailing": (lambda: GOOD + b"more", "nothing after the archive"),
    "wide-directory": (wide_directory, "directory of the archive"),
    "no-info": (lambda: archive({"odd.py": b""}), "one .dist-info"),
    "two-infos": (
        lambda: wheel("odd", files={"other-1.0.0.dist-info/METADATA": b""})[NAME],
        "one .dist-info",
    ),
    "no-metadata": (lambda: archive({f"{INFO}/WHEEL": b""}), f"one {INFO}/METADATA"),
    "two-metadata": (two_members, f"one {INFO}/METADATA"),
    "other-folder": (lambda: archive({"requests-1.0.0.dist-info/METADATA": b""}), "requests"),
    "other-name": (lambda: wheel("odd", says="requests")[NAME], "requests"),
    "other-version": (
        lambda: wheel("odd", metadata=b"Name: odd\nVersion: 2.0.0\n")[NAME],
        "'2.0.0'",
    ),
    "no-version": (lambda: wheel("odd", metadata=b"Name: odd\n")[NAME], "odd 1.0.0"),
    "bad-range": (lambda: wheel("odd", requires_python="soon")[NAME], "Requires-Python"),
    "not-text": (lambda: wheel("odd", metadata=b"Name: \xff\n")[NAME], "core metadata"),
    "bomb": (lambda: wheel("odd", metadata=b"x" * (MAX_METADATA_BYTES + 1))[NAME], "at most"),
    "lying-size": (lying_size, "expected"),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_out_of_other_archives_nothing_is_read(case: str) -> None:
    make, message = CASES[case]
    with pytest.raises(WheelRefusedError, match=message):
        read(make())
