"""`/simple/` of an organisation: what its policies permit is what is shown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from facades import OTHER, Facades, facades
from reviewing import Bodies
from server_fixtures import ORG
from simple_pages import JSON, index, shown
from sqlalchemy.orm import Session
from wheels import library, wheel

from forge_server.db.models import Finding, Release, Scan
from forge_server.scans.known import known
from forge_server.services import policies
from forge_server.services.policies import Policies
from forge_server.services.rates import Rates
from signing.names import ComponentName
from storage import BackendError

__all__ = ["facades", "index"]


class TestUnderPolicies:
    """What policies permit is judged once, and anew when something that they look at changes."""

    PREFIX = f"/simple/-/{OTHER}/-"

    @pytest.fixture
    def judged(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The releases that were judged."""
        seen: list[str] = []
        facts = Policies.facts

        def counted(self: Policies, session: Session, name: ComponentName, release: Release) -> Any:
            seen.append(f"{name}=={release.version}")
            return facts(self, session, name, release)

        monkeypatch.setattr(Policies, "facts", counted)
        return seen

    def files(self, index: Facades, name: str) -> list[str]:
        return [file["filename"] for file in shown(index, name, self.PREFIX)["files"]]

    def test_a_second_request_judges_nothing_and_what_changes_is_seen(
        self, index: Facades, judged: list[str]
    ) -> None:
        name = "judged-once"
        index.sara.publish(library(index.world, wheel(name), name))
        index.pin_policy(OTHER, 'licences = ["Apache-2.0"]', "once-rules")
        try:
            (file,) = shown(index, name, self.PREFIX)["files"]
            paths = [f"{self.PREFIX}/{name}/", f"{self.PREFIX}/{file['url'][3:]}",
                     f"{self.PREFIX}/{file['url'][3:]}.metadata"]  # fmt: skip
            first = [index.get(path).data for path in paths]
            assert judged
            judged.clear()
            assert [index.get(path).data for path in paths] == first
            assert judged == []
            index.yank(name, "1.0.0", "no good")
            assert shown(index, name, self.PREFIX)["files"][0]["yanked"] == "no good"
            index.sara.publish(library(index.world, wheel(name, "1.1.0"), name, "1.1.0"))
            assert len(self.files(index, name)) == 2
            judged.clear()
            assert len(self.files(index, name)) == 2
            assert judged == []
        finally:
            index.drop_policy(OTHER, "once-rules")

    def test_an_end_and_a_finding_are_seen_at_once(self, index: Facades) -> None:
        name, bodies = "judged-again", Bodies(index.world)
        built = library(index.world, wheel(name), name)
        index.sara.publish(built)
        bodies.name("rabat", "Institut de Rabat")
        bodies.decide("rabat", f"{ORG}/{name}", "1.0.0", days=1 / 24)
        index.pin_policy(OTHER, 'review-level = "reviewed"\nmax-severity = "medium"', "all-rules")
        digest, now = built.manifest.digest, index.world.clock()
        finding = Finding(
            manifest_sha256=digest, id="x:y:z", scanner="x", severity="high", path="a", title="t",
            location="", first_seen_at=now, last_seen_at=now, gone_at=None,
        )  # fmt: skip
        scan = Scan(
            manifest_sha256=digest, component=f"{ORG}/{name}", version="1.0.0", state="clean",
            scanner="formats", scanner_version=known()["formats"].version, data_date=None,
            detail="", report=b"{}", report_sha256="ab" * 32, started_at=now, finished_at=now,
        )  # fmt: skip
        database = index.world.registry.database
        try:
            assert self.files(index, name) == []  # never scanned
            with database.write() as session:
                session.add(scan)
            assert len(self.files(index, name)) == 1
            with database.write() as session:
                session.add(finding)
            assert self.files(index, name) == []
            with database.write() as session:
                session.get_one(Finding, (digest, "x:y:z")).gone_at = now
            index.world.clock.ahead = timedelta(minutes=59)
            assert len(self.files(index, name)) == 1
            index.world.clock.ahead = timedelta(minutes=60)
            assert self.files(index, name) == []
            index.world.clock.ahead = timedelta(minutes=59)
            assert len(self.files(index, name)) == 1
        finally:
            index.world.clock.ahead = timedelta()
            index.drop_policy(OTHER, "all-rules")

    def test_what_was_not_readable_a_moment_ago_is_asked_again(
        self, index: Facades, judged: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = "judged-later"
        index.sara.publish(library(index.world, wheel(name), name))
        index.pin_policy(OTHER, 'licences = ["Apache-2.0"]', "later-rules")
        try:
            with monkeypatch.context() as patched:
                patched.setattr(policies, "parse_policy", unreadable)
                assert self.files(index, name) == []
            assert len(self.files(index, name)) == 1
        finally:
            index.drop_policy(OTHER, "later-rules")

    def test_what_must_be_judged_counts_against_the_limit_of_a_caller(
        self, index: Facades, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Strangers may ask, as fast as they like: what they cost is limited."""
        name = "judged-often"
        index.sara.publish(library(index.world, wheel(name), name))
        index.pin_policy(OTHER, 'licences = ["Apache-2.0"]', "often-rules")
        path = f"{self.PREFIX}/{name}/"
        app = index.sara.flask.application
        monkeypatch.setitem(app.extensions, "forge-rates", Rates(3))
        index.world.clock.stop()
        try:
            first = index.get(path, Accept=JSON)
            assert first.headers["RateLimit-Policy"] == '"caller";q=3;w=60'
            assert first.headers["RateLimit"].startswith('"caller";r=2;')
            for _ in range(5):
                again = index.get(path, Accept=JSON)
                assert (again.status_code, again.data) == (200, first.data)
                assert "RateLimit" not in again.headers, "what is kept costs nothing"
            (file,) = first.get_json()["files"]
            assert index.get(f"{self.PREFIX}/{file['url'][3:]}").status_code == 200
            assert index.get(f"{self.PREFIX}/made-up-a/").status_code == 404
            for refused in ("made-up-b/", f"files/{'0' * 64}/{file['filename']}"):
                answer = index.get(f"{self.PREFIX}/{refused}")
                assert answer.status_code == 429
                assert 1 <= int(answer.headers["Retry-After"]) <= 20
            assert index.get(path, Accept=JSON).status_code == 200
            assert index.get(f"/simple/{name}/").status_code == 200, "nothing is judged there"
        finally:
            index.world.clock.go_on()
            index.drop_policy(OTHER, "often-rules")


def unreadable(_: bytes) -> Any:
    raise BackendError("the store is away", retry=True)
