"""Another Python index on loopback, honest unless a test says otherwise."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

from static_server import StaticServer

JSON = "application/vnd.pypi.simple.v1+json"
LONG_AGO = datetime.now(UTC) - timedelta(days=100)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(filename: str, data: bytes, at: datetime = LONG_AGO, **more: Any) -> dict[str, Any]:
    """A file of a page, as an honest index describes it."""
    value = {
        "filename": filename,
        "url": f"../../files/{filename}",
        "hashes": {"sha256": sha256(data)},
        "size": len(data),
        "upload-time": at.isoformat().replace("+00:00", "Z"),
        "yanked": False,
    }
    if filename.endswith(".whl"):
        value["core-metadata"] = {"sha256": sha256(metadata_of(data))}
    return {**value, **more}


def metadata_of(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        (name,) = (one for one in file.namelist() if one.endswith(".dist-info/METADATA"))
        return file.read(name)


class UpstreamIndex(StaticServer):
    """Serves pages under ``/simple/`` and files under ``/files/``."""

    def __init__(self) -> None:
        super().__init__({})
        self.pages: dict[str, dict[str, Any]] = {}

    @property
    def index(self) -> str:
        return f"{self.url}/simple/"

    def add(self, name: str, files: Mapping[str, bytes], **more: Any) -> None:
        """Adds files to a project; ``more`` goes into the entry of each."""
        for filename, data in files.items():
            self.describe(name, entry(filename, data, **more))
            self.files[f"/files/{filename}"] = data
            if filename.endswith(".whl"):
                self.files[f"/files/{filename}.metadata"] = metadata_of(data)

    def describe(self, name: str, *entries: dict[str, Any], **more: Any) -> None:
        """Puts entries on a project's page, in the place of those of the same file names."""
        page = self.pages.setdefault(name, {"meta": {"api-version": "1.4"}, "name": name})
        page.update(more)
        known = {one["filename"]: one for one in page.get("files", ())}
        page["files"] = list({**known, **{one["filename"]: one for one in entries}}.values())
        self.files[f"/simple/{name}/"] = lambda handler: send_json(handler, self.pages[name])


def send_json(handler: BaseHTTPRequestHandler, value: Any, **headers: str) -> None:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    handler.send_response(200)
    sent = {"Content-Type": JSON, "Content-Length": str(len(data)), **headers}
    for name, text in sent.items():
        handler.send_header(name.replace("_", "-"), text)
    handler.end_headers()
    handler.wfile.write(data)
