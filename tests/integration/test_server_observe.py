"""What operators see: probes, counts, log lines, traces, and limits that say how much is left."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from server_fixtures import (
    ON_SQLITE,
    Client,
    World,
    _fresh_registry,
    client,
    sara,
    set_settings,
    start_server,
    world,
)

from forge_server.app import create_app
from forge_server.errors import RegistryError
from forge_server.logs import LOGGER, JsonFormatter, facts, start_logging
from forge_server.observe import tracing
from forge_server.services.rates import Rates
from forge_server.settings import parse_settings

__all__ = ["_fresh_registry", "client", "sara", "world"]


def samples(text: bytes) -> dict[str, float]:
    """``{name{labels}: value}`` as an independent reader of the format finds them."""
    return {
        f"{sample.name}{json.dumps(sample.labels, sort_keys=True)}": sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def with_settings(world: World, text: str) -> Client:
    world.close()
    set_settings(world.root, f"{text}\n")
    return Client(create_app(world.registry).test_client())


class TestProbes:
    def test_alive_and_ready(self, client: Client) -> None:
        assert client.text("/healthz") == b"ok\n"
        answer = client.get("/readyz", expect=200)
        assert answer == {
            "ready": True,
            "parts": {"database": True, "published": True, "blobs": True},
        }

    @ON_SQLITE  # the other one is taken away with its server, in test_server_postgresql
    def test_without_its_database_it_is_not_ready(self, world: World, client: Client) -> None:
        for engine in (world.registry.database.reading, world.registry.database.writing):
            engine.kw["bind"].dispose()
        (world.root / "registry.db").rename(world.root / "away")
        (world.root / "registry.db").mkdir()
        answer = client.get("/readyz", expect=503)
        assert answer["parts"]["database"] is False
        assert answer["why"]["database"].startswith("the database cannot be read or written: ")
        assert str(world.root) not in json.dumps(answer)

    def test_without_its_folders_it_is_not_ready(self, world: World, client: Client) -> None:
        shutil.rmtree(world.root / "public")
        (world.root / "public").write_text("no folder")
        answer = client.get("/readyz", expect=503)
        assert answer["parts"]["published"] is False
        assert answer["why"] == {"published": "timestamp.json is not published"}
        assert client.text("/healthz") == b"ok\n"


class TestMetrics:
    def test_requests_refusals_and_the_state(self, world: World, sara: Client) -> None:
        sara.publish(world.release())
        sara.get("/api/v1/components/minds-lab/none", code="component-not-found")
        found = samples(sara.text("/metrics"))
        published = {"method": "POST", "route": "/api/v1/releases", "status": "201"}
        assert found[f"forge_requests_total{json.dumps(published, sort_keys=True)}"] == 1
        assert found['forge_refusals_total{"code": "component-not-found"}'] == 1
        assert found["forge_releases{}"] == found["forge_components{}"] == 1
        assert found["forge_log_entries{}"] > 10
        assert found["forge_read_only{}"] == found["forge_unpublished{}"] == 0
        assert 0 <= found["forge_timestamp_age_seconds{}"] < 3600

    def test_a_timestamp_that_nobody_signs_again_shows(self, world: World, client: Client) -> None:
        world.clock.ahead = timedelta(hours=3)
        age = samples(client.text("/metrics"))["forge_timestamp_age_seconds{}"]
        assert age > 3700

    def test_a_stranger_makes_up_no_labels(self, client: Client) -> None:
        for path in ("/made/up", "/tuf/x.json", "/en/a/b"):
            client.get(path)
        client.call("BREW", "/made/up")
        text = client.text("/metrics").decode()
        assert "made" not in text
        assert "BREW" not in text
        assert 'method="other"' in text

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Forwarded-For": "203.0.113.9"},
            {"X-Forwarded-For": "127.0.0.1"},  # what a stranger writes there
        ],
    )
    def test_not_through_a_proxy_that_nobody_told_of(
        self, client: Client, headers: dict[str, str]
    ) -> None:
        client.get("/metrics", headers=headers, expect=404)

    def test_only_for_the_addresses_that_are_allowed(self, world: World) -> None:
        client = with_settings(world, 'metrics_allow = ["10.0.0.5"]')
        client.get("/metrics", expect=404)
        trusted = with_settings(world, 'metrics_allow = ["10.0.0.5"]\ntrusted_proxies = 1')
        with trusted.flask.get("/metrics", headers={"X-Forwarded-For": "10.0.0.5"}) as response:
            assert response.status_code == 200

    def test_several_processes_count_together(self, world: World) -> None:
        world.close()
        server = start_server(world.root, "--workers", "2")
        try:
            http = urllib3.PoolManager(retries=False)
            for _ in range(40):  # a connection each: both processes get some
                http.request("GET", f"{server.url}/healthz", headers={"Connection": "close"})
            text = http.request("GET", f"{server.url}/metrics").data
            key = {"method": "GET", "route": "/healthz", "status": "200"}
            assert samples(text)[f"forge_requests_total{json.dumps(key, sort_keys=True)}"] == 40
        finally:
            server.kill()


class TestLogLines:
    @pytest.fixture(autouse=True)
    def _restored(self) -> Iterator[None]:
        before = (LOGGER.handlers[:], LOGGER.level, LOGGER.propagate)
        yield
        LOGGER.handlers[:], level, LOGGER.propagate = before
        LOGGER.setLevel(level)

    def test_json_has_the_request_id_that_the_client_is_told(
        self, world: World, sara: Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        start_logging(form="json")
        answer = sara.post("/api/v1/releases", {"no": "offer"}, expect=400)
        (line,) = capsys.readouterr().err.splitlines()
        found = json.loads(line)
        assert found["request_id"] == answer["request_id"]
        assert (found["method"], found["path"], found["status"], found["actor"]) == (
            "POST", "/api/v1/releases", 400, "sara",
        )  # fmt: skip
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])

    def test_neither_form_shows_a_token_or_breaks(self, sara: Client) -> None:
        for formatter in (JsonFormatter(),):
            record = logging.LogRecord("x", 20, "f", 1, "a\n%s", (f"{sara.token}",), None)
            record.__dict__.update(facts(path=f"/x?{sara.token}\x1b[2J\u2028"))
            line = formatter.format(record)
            assert "\n" not in line
            assert "\x1b" not in line
            assert str(sara.token) not in line
            json.loads(line)

    def test_a_traceback_stays_one_line(self) -> None:
        try:
            raise ValueError("bad")
        except ValueError:
            record = logging.LogRecord("x", 40, "f", 1, "fault", (), sys.exc_info())
        line = JsonFormatter().format(record)
        assert "\n" not in line
        assert "ValueError: bad" in json.loads(line)["traceback"]

    def test_only_two_forms(self, world: World) -> None:
        with pytest.raises(RegistryError, match="text or json"):
            parse_settings({"log_format": "xml"}, world.root / "server.toml")


class TestTracing:
    def test_one_span_for_each_request(self, world: World) -> None:
        spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(spans))
        app = create_app(world.registry)
        tracing.start(app, provider)
        parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        with app.test_client().get("/en/a/b", headers={"traceparent": parent}) as response:
            request_id = response.headers["X-Request-Id"]
        (span,) = spans.get_finished_spans()
        assert span.name == "GET /<any(ar,fr,zgh,en):lang>/<organisation>/<name>"
        attributes: Any = span.attributes
        assert attributes["http.response.status_code"] == 404
        assert attributes["forge.request_id"] == request_id
        assert f"{span.get_span_context().trace_id:032x}" == parent.split("-")[1]

    def test_without_the_library_the_operator_is_told(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "opentelemetry", None)
        with pytest.raises(RegistryError, match="expected OpenTelemetry") as caught:
            with_settings(world, "tracing = true")
        assert "[tracing]" in str(caught.value.hint)


class TestRates:
    @pytest.fixture(autouse=True)
    def _stopped(self, world: World) -> None:
        world.clock.stop()

    @pytest.mark.parametrize("path", ["/api/v1/components", "/en/search.json?q=x"])
    def test_what_is_left_is_said_and_the_end_is_refused(self, world: World, path: str) -> None:
        client = with_settings(world, "max_requests_per_minute = 3")
        left = []
        for _ in range(3):
            with client.flask.get(path) as response:
                assert response.status_code == 200
                assert response.headers["RateLimit-Policy"] == '"caller";q=3;w=60'
                left.append(response.headers["RateLimit"].split(";")[1])
        assert left == ["r=2", "r=1", "r=0"]
        with client.flask.get(path) as response:
            assert response.status_code == 429
            assert 1 <= int(response.headers["Retry-After"]) <= 20
            assert response.get_json()["code"] == "too-many-requests"
        # What installing needs is not limited, and neither is another caller.
        for _ in range(5):
            client.text("/tuf/timestamp.json")
        with client.flask.get(path, environ_base={"REMOTE_ADDR": "192.0.2.7"}) as response:
            assert response.status_code == 200

    @pytest.mark.parametrize(
        "path", ["/en/search?q=a", "/ar/search.json", "/fr/verify", "/en/statistics"]
    )
    def test_pages_that_cost_something_are_limited(self, world: World, path: str) -> None:
        client = with_settings(world, "max_requests_per_minute = 1")
        assert client.flask.get(path).status_code == 200
        assert client.flask.get(path).status_code == 429
        assert client.flask.get("/en/trust").status_code == 200

    @pytest.mark.parametrize(
        "path",
        [
            "/api/v1/components", "/osv/v1/vulns/x", "/en/search?q=a", "/hf/api/models/org/name",
            "/hf/api/models/org/name/tree/main",
        ],
    )  # fmt: skip
    def test_made_up_tokens_make_nobody_many_callers(self, world: World, path: str) -> None:
        client = with_settings(world, "max_requests_per_minute = 1")
        answers = [
            client.flask.get(path, headers={"Authorization": f"Bearer {number}"}).status_code
            for number in range(3)
        ]
        assert answers[0] != 429
        assert answers[1:] == [429, 429]

    def test_users_behind_one_address_have_a_limit_each(self, world: World, sara: Client) -> None:
        client = with_settings(world, "max_requests_per_minute = 1")
        for token in (sara.token, world.user("amal")):
            headers = {"Authorization": f"Bearer {token}"}
            assert client.flask.get("/api/v1/whoami", headers=headers).status_code == 200
            assert client.flask.get("/api/v1/whoami", headers=headers).status_code == 429

    def test_it_refills_evenly(self, world: World) -> None:
        rates, now = Rates(60), world.clock()
        for _ in range(60):
            assert rates.take("x", now).allowed  # type: ignore[union-attr]
        assert not rates.take("x", now).allowed  # type: ignore[union-attr]
        later = rates.take("x", now + timedelta(seconds=2))
        assert later is not None
        assert (later.allowed, later.remaining) == (True, 1)

    def test_a_clock_that_jumps_back_locks_nobody_out(self, world: World) -> None:
        rates, now = Rates(60), world.clock()
        for _ in range(61):
            rates.take("x", now)
        back = rates.take("x", now - timedelta(days=30))
        assert back is not None
        assert back.allowed

    def test_a_crowd_of_callers_fills_no_memory(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("forge_server.services.rates._MAX_CALLERS", 100)
        rates = Rates(60)
        for number in range(1000):
            rates.take(str(number), world.clock())
        assert len(rates._buckets) == 100


def test_no_limit_without_one(world: World, tmp_path: Path) -> None:
    assert Rates(0).take("x", world.clock()) is None
