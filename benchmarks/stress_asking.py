"""What people and programs ask of a registry of many components: search, pages, interfaces, the
figures of operators."""

from __future__ import annotations

import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from flask.testing import FlaskClient

from forge_server.app import create_app
from forge_server.observe.metrics import Metrics
from forge_server.search.base import Query
from forge_server.search.opening import open_index
from forge_server.services.stats import count

from .catalogue import p95, questions
from .made_up import PROJECTS, name_of, org_of
from .stress_stand import Line, Stand, took

_QUESTIONS = 200
_PAGES = 40
# Of the whole registry, or of something in it that is no component: {what: path}.
_WHOLE = {
    "the page of figures": "/en/statistics",
    "the page of what was taken back": "/en/tombstones",
    "the page of the log": "/en/log",
    "the page of regions": "/en/regions/",
    "an organisation's page": "/en/org-00003",
    "an organisation's feed": "/en/org-00003.atom",
    "the feed of notices": "/en/tombstones.atom",
    "/api/v1/components, a word": "/api/v1/components?q=corpus",
    "/api/v1/components, the last page": "/api/v1/components?offset={last}&limit=50",
    "Hugging Face's listing, a word": "/hf/api/models?search=corpus",
    "Hugging Face's listing, a word that nothing has": "/hf/api/models?search=xyzzyxyz",
    "the Python index": "/simple/",
    "the first sitemap": "/sitemaps/1.xml",
    "/health": "/health",
}


def index(stand: Stand) -> Iterator[Line]:
    registry = stand.world.registry
    done: list[int] = []
    yield "indexing for search", took(lambda: done.append(registry.index.refresh()))
    yield "indexing for search: components", str(done[0])


def search(stand: Stand) -> Iterator[Line]:
    real = stand.world.registry
    kept = open_index(real.database, real.blobs, real.review_desk, real.clock)
    yield "the first search of a process", took(lambda: kept.search(Query()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    yield "memory after it", f"{peak} MiB"
    asked = [partial(kept.search, each) for each in questions(7, _QUESTIONS)]
    yield f"search, {_QUESTIONS} questions", _spread(asked)
    yield "the same a second time", _spread(asked)


def pages(stand: Stand) -> Iterator[Line]:
    client = create_app(stand.world.registry).test_client()
    source = random.Random(5)
    names = [
        f"{org_of(number // PROJECTS).decode()}/{name_of(number % PROJECTS).decode()}"
        for number in source.sample(range(stand.filled.components), _PAGES)
    ]
    for what, path in (
        ("a component's page", "/fr/{}"),
        ("its versions", "/fr/{}/versions"),
        ("its history", "/fr/{}/history"),
        ("a release's page", "/fr/{}/1.3.0"),
        ("a component by /v1", "/api/v1/components/{}"),
        ("a component by Hugging Face's interface", "/hf/api/models/{}"),
    ):
        yield what, _spread([partial(_get, client, path.format(name)) for name in names])
    last = stand.filled.components - 50
    for what, path in _WHOLE.items():
        asked = partial(_get, client, path.format(last=last))
        yield what, f"{took(asked)}; again {took(asked)}"


def figures(stand: Stand) -> Iterator[Line]:
    registry = stand.world.registry
    yield "forge-server stats", took(lambda: count(registry.database))
    yield "metrics for Prometheus", took(lambda: Metrics.make().render(registry))
    yield "what the worker asks each minute: scans due", took(lambda: registry.scans.due(500))
    yield "the same: what ends", took(registry.expiry.notices)
    yield "the same: what is superseded", took(lambda: registry.superseded.remove(1000))


def _spread(works: Sequence[Callable[[], object]]) -> str:
    clock, worked = [], []
    for work in works:
        began, before = time.perf_counter(), time.process_time()
        work()
        worked.append((time.process_time() - before) * 1000)
        clock.append((time.perf_counter() - began) * 1000)
    return (
        f"median {statistics.median(clock):.1f} ms, p95 {p95(clock):.1f} ms, slowest "
        f"{max(clock):.0f} ms (of a processor median {statistics.median(worked):.1f} ms, p95 "
        f"{p95(worked):.1f} ms)"
    )


def _get(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    if answer.status_code != 200:
        raise AssertionError(f"{path}: {answer.status}")
