"""Pages of `/simple/` as an installer sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from facades import Facades, publish_library

from forge_server.compat import pypi_pages

JSON = pypi_pages.JSON


@pytest.fixture(scope="module")
def index(facades: Facades) -> Facades:
    publish_library(facades)
    return facades


def shown(facades: Facades, name: str = "gov-demo", prefix: str = "/simple") -> Any:
    response = facades.get(f"{prefix}/{name}/", Accept=JSON)
    assert response.status_code == 200, response.data
    return json.loads(response.data)


def address(file: Any) -> str:
    assert file["url"].startswith("../-/files/")
    return "/simple" + file["url"].removeprefix("..")
