"""Wheels and sdists made in memory, valid by default; a test spoils the one thing it is about."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping

from server_fixtures import ORG, Built, World, forge_toml


def wheel(
    name: str = "gov-demo",
    version: str = "1.0.0",
    requires_python: str | None = ">=3.9",
    *,
    says: str | None = None,
    metadata: bytes | None = None,
    files: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """``{file name: bytes}`` of a wheel that pip installs. ``says`` is the name in its METADATA."""
    module = name.replace("-", "_")
    folder = f"{module}-{version}.dist-info"
    if metadata is None:
        lines = [
            "Metadata-Version: 2.1", f"Name: {says or name}", f"Version: {version}",
            "Summary: A demonstration",
        ]  # fmt: skip
        lines += [] if requires_python is None else [f"Requires-Python: {requires_python}"]
        metadata = "\n".join([*lines, "", "A demonstration."]).encode()
    members = {
        f"{module}/__init__.py": f"VERSION = {version!r}\n".encode(),
        f"{folder}/METADATA": metadata,
        f"{folder}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
        **(files or {}),
    }
    rows = [f"{path},{_record(data)},{len(data)}" for path, data in members.items()]
    members[f"{folder}/RECORD"] = "\n".join([*rows, f"{folder}/RECORD,,", ""]).encode()
    return {f"{module}-{version}-py3-none-any.whl": archive(members)}


def archive(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for path, data in members.items():
            file.writestr(zipfile.ZipInfo(path, (2026, 1, 2, 3, 4, 4)), data)
    return buffer.getvalue()


def sdist(name: str = "gov-demo", version: str = "1.0.0") -> dict[str, bytes]:
    module = name.replace("-", "_")
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for path, data in (
            ("PKG-INFO", metadata.encode()),
            ("pyproject.toml", f'[project]\nname = "{name}"\nversion = "{version}"\n'.encode()),
        ):
            info = tarfile.TarInfo(f"{module}-{version}/{path}")
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return {f"{module}-{version}.tar.gz": gzip.compress(buffer.getvalue(), mtime=0)}


def library(
    world: World,
    files: Mapping[str, bytes],
    name: str = "gov-demo",
    version: str = "1.0.0",
    org: str = ORG,
) -> Built:
    """A release of a `library` component with ``files``, ready to be offered."""
    toml = forge_toml(name, version, org, kind="library", summary="A library")
    return world.release(name, version, org, files=dict(files), toml=toml)


def _record(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"
