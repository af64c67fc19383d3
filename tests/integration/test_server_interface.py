"""The interface as it describes itself: the document, the page, and what a description enforces."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from promised import require_promised
from server_fixtures import Client, World, set_settings

from forge_server.api.described import TOKEN
from forge_server.api.interface import described_routes
from forge_server.app import create_app
from forge_server.domain.scopes import ACTIONS
from forge_server.operate.initialise import initialise
from forge_server.web.languages import LANGUAGES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("interface") / "reg"
    initialise(root, dev=True)
    set_settings(root, "max_failures_per_minute = 0\n")  # each route refuses its share
    world = World(root)
    yield world
    world.close()


@pytest.fixture(scope="module")
def stranger(made: World) -> Client:
    return Client(create_app(made.registry).test_client())


def test_the_document_is_kept_by_whoever_has_it(made: World, stranger: Client) -> None:
    with stranger.flask.get("/api/v1/openapi.json") as first:
        assert first.get_json()["openapi"] == "3.1.0"
        assert made.registry.settings.name in first.get_json()["info"]["title"]
        assert first.headers["Cache-Control"] == "public, max-age=300"
        tag = first.headers["ETag"]
    with stranger.flask.get("/api/v1/openapi.json", headers={"If-None-Match": tag}) as again:
        assert (again.status_code, again.data) == (304, b"")


def test_every_route_that_needs_a_token_refuses_a_stranger_and_a_token_for_something_else(
    made: World, stranger: Client
) -> None:
    app = stranger.flask.application
    made.user("sara")
    routes = [one for one in described_routes(app) if one.description.caller == TOKEN]
    assert len(routes) > 20
    for one in routes:
        path = "/api/v1" + re.sub(r"\{\w+\}", "x", one.path)
        status, code = _refused(stranger, one.method, path)
        assert (status, code) == (401, "not-authenticated"), path
        needed = one.description.scopes
        if needed:
            others = tuple(action for action in ACTIONS if action not in needed)
            limited = Client(stranger.flask, made.token("sara", others))
            assert _refused(limited, one.method, path) == (403, "scope-missing"), path


def _refused(client: Client, method: str, path: str) -> tuple[int, str]:
    headers = {} if client.token is None else {"Authorization": f"Bearer {client.token}"}
    with client.flask.open(path, method=method, headers=headers) as response:
        # A HEAD has no body; its status says enough.
        named = {401: "not-authenticated", 403: "scope-missing"}.get(response.status_code, "")
        return response.status_code, named if method == "HEAD" else response.get_json()["code"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_shows_every_route(stranger: Client, lang: str) -> None:
    page = stranger.text(f"/{lang}/api").decode()
    for one in described_routes(stranger.flask.application):
        assert f"{one.method} /api/v1{one.path}" in page
    assert "<script" not in page
    assert 'href="/api/v1/openapi.json"' in page
    for record in re.findall(r'href="#(\w+)"', page):
        assert f'id="{record}"' in page, f"{record} leads nowhere"


def test_examples_hold_no_secret_and_are_lines_of_a_shell(stranger: Client) -> None:
    page = stranger.text("/en/api").decode()
    examples = re.findall(r"<code>(curl [^<]*)</code>", page)
    assert len(examples) == len(described_routes(stranger.flask.application))
    assert not any("forge_" in example for example in examples)


def test_an_answer_that_nobody_declared_fails_the_tests(stranger: Client) -> None:
    """The check that every other test relies on does check."""
    app = stranger.flask.application
    with stranger.flask.get("/api/v1/whoami") as response, pytest.raises(AssertionError):
        require_promised(app, "GET", "/api/v1/health", response)
    with stranger.flask.get("/api/v1/") as response, pytest.raises(AssertionError):
        require_promised(app, "GET", "/api/v1/health", response)
