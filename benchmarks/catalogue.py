"""Promise: with 100,000 components and 1,000,000 versions, the 95th percentile of a search, and of
the HTML of a component's page, stays within 50 ms on SQLite and on PostgreSQL.

Generated are the rows of the catalogue: organisations, components, releases, their files, and the
index, which is filled by the code that fills it always. Names and summaries are put together from
words of Arabic, French, Tamazight in Tifinagh, English, and Darija in Arabizi, so that common words
are in a great part of the components and rare ones in few. Nothing is signed and there are no
blobs: neither search nor page looks at them. Each question comes for the first time, as after a
restart of the server; ``again`` is the second time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from postgres import PostgresServer, running
from sqlalchemy import insert, text

from forge_server.app import create_app
from forge_server.db.models import Component, Organisation, Release, ReleaseFile, User
from forge_server.operate.initialise import initialise
from forge_server.search.base import Query
from forge_server.search.opening import open_index
from forge_server.services.components import mark_changed
from forge_server.settings import DataFolder
from forge_server.wiring import Registry, open_registry
from signing.names import ComponentName

from .report import promise

LIMIT_MS = 50.0
VERSIONS = 10
_REGIONS = [f"MA-{number:02}" for number in range(1, 13)]
_LICENCES = ("Apache-2.0", "MIT", "EUPL-1.2", "CC-BY-4.0", "GPL-3.0-only", "LicenseRef-own")
_TASKS = (
    "text-classification", "translation", "text-generation", "summarization", "text-to-speech",
    "automatic-speech-recognition", "question-answering", "object-detection", "image-segmentation",
    "token-classification", "optical-character-recognition", "time-series-forecasting",
)  # fmt: skip
_FILES = (
    "model.safetensors", "model.gguf", "model.onnx", "data.parquet", "data.jsonl", "data.csv",
    "pkg-1.0-py3-none-any.whl", "prompts.txt",
)  # fmt: skip
_WORDS = {
    "en": "language identification speech recognition for health records of the ministry rural "
    "agriculture water justice court archive tax customs school exam transport road satellite "
    "image crop price market weather forecast assistant citizen form address name corpus",
    "fr": "détection prévision récolte céréales santé publique dossiers hôpital justice tribunal "
    "archives impôts douanes école examen transport route satellite météo marché prix assistant "
    "citoyen formulaire adresse eau barrage énergie pêche tourisme patrimoine corpus données",
    "ar": "نموذج ترجمة العربية الأمازيغية الدارجة الصحة وزارة التعليم المدرسة القانون المحكمة "
    "الفلاحة الماء السدود الطاقة السياحة النقل الجهة المواطن الإدارة الضرائب الجمارك الأرشيف "
    "بيانات لغة كلام صوت صورة تصنيف تلخيص استخراج توقع أسعار السوق الطقس",
    "zgh": "ⵜⴰⵎⴰⵣⵉⵖⵜ ⵜⵓⵜⵍⴰⵢⵜ ⴰⵙⵓⵖⵍ ⵜⵓⵙⵙⵏⴰ ⴰⵙⴳⵎⵉ ⵜⵉⵏⵎⵍ ⴰⵎⴰⵏ ⵜⴰⴷⵓⵙⵉ ⵓⵟⵟⵓⵏ ⵉⵙⴼⴽⴰ ⴰⵡⴰⵍ ⴰⵏⴰⵡ ⵜⴰⵡⵍⴰⴼⵜ "
    "ⴰⵙⵏⵓⴱⴱⴳ ⵜⴰⴳⵔⴰⵡⵜ ⵜⴰⵎⵏⴰⴹⵜ",
    "ary": "darija tarjama dyal l7okouma sa7a ta3lim 9anoun fla7a lma trab swa9 taman m3a "
    "mosa3id lmowatin idara dariba",
}  # fmt: skip


def summary(source: random.Random) -> tuple[str, list[str]]:
    """(a line of some words and a rare one, its languages)"""
    languages = source.choices(list(_WORDS), (4, 6, 6, 2, 1), k=1 + (source.random() < 0.2))
    words = []
    for language in dict.fromkeys(languages):
        known = _WORDS[language].split()
        # A few words are in everything, most in little, as in real text (Zipf).
        weights = [1 / (rank + 1) for rank in range(len(known))]
        words += source.choices(known, weights, k=source.randint(4, 9))
    return " ".join([*words, rare(source)]), list(dict.fromkeys(languages))


def rare(source: random.Random) -> str:
    """A made-up word, of which there are some tens of thousands."""
    parts = ("ba", "da", "fi", "go", "hu", "ka", "lu", "ma", "ni", "ra", "si", "tu", "za", "cha")
    return "".join(source.choices(parts, k=source.choice((3, 4))))


def fill(registry: Registry, components: int, versions: int, seed: int = 1) -> None:
    """Adds the rows of so many components to an empty registry."""
    source = random.Random(seed)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    organisations = [f"org-{number}" for number in range(max(1, components // 100))]
    with registry.database.write() as session:
        session.execute(insert(User), [{"id": 1, "name": "sara", "created_at": now}])
        session.execute(
            insert(Organisation),
            [
                {
                    "name": name, "skeleton": name, "state": "approved", "created_at": now,
                    "kind": source.choice(("government", "startup", "academic", "company")),
                    "display_name": f"{rare(source).title()} {rare(source).title()}",
                    "region": source.choice(_REGIONS),
                    "names": {"ar": "مختبر", "fr": "Laboratoire"},
                }
                for name in organisations
            ],
        )  # fmt: skip
    for start in range(1, components + 1, 2000):
        numbers = range(start, min(start + 2000, components + 1))
        with registry.database.write() as session:
            made = [_component(source, number, organisations, versions, now) for number in numbers]
            session.execute(insert(Component), [row for row, _, _ in made])
            session.execute(insert(Release), [each for _, releases, _ in made for each in releases])
            session.execute(insert(ReleaseFile), [each for _, _, files in made for each in files])
    with registry.database.write() as session:
        mark_changed(session, Component.id > 0)


def _component(
    source: random.Random, number: int, organisations: list[str], versions: int, now: datetime
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    text_, languages = summary(source)
    # One in a thousand has a hundred times as many versions as it should.
    count = versions * 20 if number % 1000 == 0 else versions
    details = {
        "summary": text_, "license": source.choice(_LICENCES), "languages": languages,
        "tasks": source.sample(_TASKS, source.randint(0, 2)), "requires": {},
    }  # fmt: skip
    if source.random() < 0.5:
        risk = source.choice(("minimal", "limited", "high"))
        details["risk"] = {"class": risk, "rationale": "as it is used"}
    kind = source.choices(("model", "dataset", "library", "prompt"), (6, 3, 1, 1))[0]
    at = now - timedelta(minutes=source.randint(0, 10**6))
    name = f"{rare(source)}-{rare(source)}-{number}"
    row = {
        "id": number, "organisation": organisations[number % len(organisations)], "name": name,
        "kind": kind, "summary": text_, "license": details["license"], "languages": languages,
        "tasks": details["tasks"], "latest": f"1.{count - 1}.0", "versions": count,
        "search_text": "", "created_at": at, "updated_at": at,
    }  # fmt: skip
    releases, files = [], []
    for version in range(count):
        id_ = number * 1000 + version
        size = int(10 ** source.uniform(3, 10))
        releases.append({
            "id": id_, "component_id": number, "version": f"1.{version}.0", "kind": kind,
            "details": details, "manifest_sha256": f"{id_:064x}", "bundle_sha256": f"{id_:064x}",
            "total_bytes": size, "file_count": 2, "publisher_id": 1, "publisher_key": "0" * 64,
            "role": f"{row['organisation']}.{name}", "role_version": version + 1,
            "snapshot_version": 1, "published_at": at, "stored_at": at,
        })  # fmt: skip
        if version == count - 1:
            path = source.choice(_FILES)
            files = [
                {"release_id": id_, "path": "forge.toml", "size": 500, "sha256": f"{id_:064x}"},
                {"release_id": id_, "path": path, "size": size, "sha256": f"{id_ + 1:064x}"},
            ]
    return row, releases, files


def questions(seed: int, count: int) -> Iterator[Query]:
    """What people ask: a word or several, in all scripts, some mistyped, some with choices."""
    source = random.Random(seed)
    words = [word for each in _WORDS.values() for word in each.split()]
    for _ in range(count):
        what = source.random()
        chosen: dict[str, frozenset[str]] = {}
        if what < 0.1:
            typed = ""
        elif what < 0.4:
            typed = source.choice(words)
        elif what < 0.65:
            typed = " ".join(source.sample(words, 2))
        elif what < 0.75:
            typed = rare(source)
        elif what < 0.85:
            typed = source.choice(words)[:4]
        else:
            word = source.choice([word for word in words if len(word) > 5])
            at = source.randrange(1, len(word) - 1)
            typed = word[:at] + word[at + 1 :]
        if source.random() < 0.3:
            chosen = {"kind": frozenset(["model"]), "region": frozenset(_REGIONS[:2])}
        sort = source.choice(("relevance", "relevance", "relevance", "updated", "name"))
        page = source.choice((1, 1, 1, 1, 2, 5))
        yield Query(text=typed, chosen=chosen, sort=sort, page=page)


@dataclass
class Times:
    """Milliseconds of each question: by the clock, and of a processor in this process."""

    clock: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)

    def take(self, work: Callable[[], object]) -> None:
        started, worked = time.perf_counter(), time.thread_time()
        work()
        self.work.append((time.thread_time() - worked) * 1000)
        self.clock.append((time.perf_counter() - started) * 1000)


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


@dataclass
class Measured:
    """A filled registry, and what reading one row by its key takes there."""

    what: str
    registry: Registry
    server: PostgresServer | None
    base: float = 0.0

    def take(self, name: str, works: Sequence[Callable[[], object]]) -> Times:
        """Does all ``works`` once and prints what they took."""
        times, before = Times(), self._server_ms()
        for work in works:
            times.take(work)
        promise(
            f"{self.what}: {name}, p95", p95(times.clock), LIMIT_MS, "ms", self.base,
            "reading one row by its key",
        )  # fmt: skip
        server = (self._server_ms() - before) / len(works)
        print(
            f"  median {statistics.median(times.clock):.1f} ms, slowest {max(times.clock):.0f} ms; "
            f"processor time in this process p95 {p95(times.work):.1f} ms"
            + (f", in PostgreSQL on average {server:.1f} ms" if self.server else "")
            + f"; load {os.getloadavg()[0]:.0f}",
            flush=True,
        )
        return times

    def _server_ms(self) -> float:
        """Processor time of all of PostgreSQL so far."""
        if self.server is None:
            return 0.0
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[1]) == self.server.process.pid:  # its parent, proc_pid_stat(5)
                    ticks += int(fields[11]) + int(fields[12])
        return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(
    place: Path, what: str, server: PostgresServer | None, options: argparse.Namespace
) -> None:
    database = None if server is None else server.create()
    initialise(place / "reg", dev=True, database=database)
    registry = open_registry(DataFolder(place / "reg"))
    try:
        seconds = seconds_of(lambda: fill(registry, options.components, options.versions))
        print(
            f"{what}: {options.components} components of {options.versions} versions filled in "
            f"{seconds:.0f} s, indexed in {seconds_of(registry.index.refresh):.0f} s",
            flush=True,
        )
        if server is not None:
            with registry.database.write() as session:
                session.connection().execute(text("ANALYZE"))
        _measure(Measured(what, registry, server), options)
    finally:
        registry.database.dispose()


def _measure(measured: Measured, options: argparse.Namespace) -> None:
    registry = measured.registry
    keys = random.Random(3).choices(range(1, options.components + 1), k=options.questions)
    measured.base = statistics.median(seconds_of(partial(_row, registry, n)) for n in keys) * 1000
    index = open_index(registry.database, registry.blobs, registry.review_desk, registry.clock)
    first = seconds_of(partial(index.search, Query()))
    print(f"{measured.what}: a process's first search, which reads the columns: {first:.1f} s")
    asked = list(questions(7, options.questions))
    searches = [partial(index.search, each) for each in asked]
    times = measured.take("search", searches)
    if options.verbose:
        for ms, at in sorted(zip(times.clock, range(len(asked)), strict=True))[-10:]:
            print(f"    {ms:.0f} ms {asked[at].text!r} {dict(asked[at].chosen)} {asked[at].sort}")
    measured.take("search, again", searches)
    source = random.Random(5)
    names = [_name(registry, each) for each in keys]
    client = create_app(registry).test_client()
    pages = [f"/{source.choice(('ar', 'fr', 'zgh', 'en'))}/{each}" for each in names]
    measured.take("a component's page", [partial(_page, client, each) for each in pages])


def _row(registry: Registry, number: int) -> None:
    with registry.database.read() as session:
        session.get(Component, number)


def _name(registry: Registry, number: int) -> ComponentName:
    with registry.database.read() as session:
        row = session.get_one(Component, number)
        return ComponentName.parse(f"{row.organisation}/{row.name}")


def _page(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    if answer.status_code != 200:
        raise AssertionError(f"{path}: {answer.status}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, default=100_000)
    parser.add_argument("--versions", type=int, default=VERSIONS)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--verbose", action="store_true", help="also show the slowest questions")
    options = parser.parse_args()
    if options.only != "postgresql":
        with tempfile.TemporaryDirectory() as temporary:
            measure(Path(temporary), "SQLite", None, options)
    if options.only != "sqlite":
        with tempfile.TemporaryDirectory() as temporary, running() as server:
            measure(Path(temporary), "PostgreSQL", server, options)


if __name__ == "__main__":
    main()
