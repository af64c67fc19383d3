"""Searching in all scripts on both databases; facets, orders, pages; an index that keeps up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from search_corpus import FIRST_HITS, ITEMS, NO_HITS, SUGGESTED, Item
from server_fixtures import (
    ORG,
    Client,
    World,
    _fresh_registry,
    copied_world,
    schema_engine,
)
from sqlalchemy import event, text, true

from forge_server.app import create_app
from forge_server.manage import cli
from forge_server.operate.worker import Worker
from forge_server.search.asking import IN_TEXT, TEXT_BEGINS, words_of
from forge_server.search.base import FACETS, MAX_TEXT, SORTS, UNKNOWN, Query, Results
from forge_server.search.documents import document_of
from forge_server.search.opening import open_index
from forge_server.search.tables import WAITING
from forge_server.services.components import mark_changed
from signing.errors import MalformedError
from signing.names import ComponentName, parse_version
from signing.role_edits import set_yanked

__all__ = ["_fresh_registry"]


def publish(world: World, publisher: Client, item: Item, version: str = "1.0.0") -> None:
    built = world.release(item.name, files=item.files(), toml=item.toml(ORG, version))
    publisher.publish(built)


@pytest.fixture(scope="module")
def filled(_fresh_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A registry with the corpus in it, which tests only read."""
    for world in copied_world(_fresh_registry, tmp_path_factory.mktemp("corpus")):
        token = world.user("sara")
        world.organisation(token)
        publisher = Client(create_app(world.registry).test_client(), token)
        for item in ITEMS:
            publish(world, publisher, item)
        yield world


@pytest.fixture
def fresh(_fresh_registry: Path, tmp_path: Path) -> Iterator[tuple[World, Client]]:
    """An empty registry and a publisher."""
    for world in copied_world(_fresh_registry, tmp_path):
        token = world.user("sara")
        world.organisation(token)
        yield world, Client(create_app(world.registry).test_client(), token)


def ask(world: World, text: str = "", **options: Any) -> Results:
    return world.registry.index.search(Query(text=text, **options))


def names(results: Results) -> list[str]:
    return [hit.name for hit in results.hits]


def counts(results: Results, facet: str) -> dict[str, int]:
    return {each.value: each.count for each in results.facets[facet]}


class TestCorpus:
    @pytest.mark.parametrize(("typed", "first"), FIRST_HITS, ids=[each[0] for each in FIRST_HITS])
    def test_the_first_hit_is_the_one_that_is_meant(
        self, filled: World, typed: str, first: str
    ) -> None:
        assert names(ask(filled, typed))[:1] == [first]

    @pytest.mark.parametrize("typed", NO_HITS, ids=ascii)
    def test_nothing_is_found_and_nothing_fails(self, filled: World, typed: str) -> None:
        results = ask(filled, typed)
        assert (results.total, names(results), results.pages) == (0, [], 0)

    @pytest.mark.parametrize(("typed", "offered"), SUGGESTED, ids=[each[0] for each in SUGGESTED])
    def test_names_are_offered_where_little_is_found(
        self, filled: World, typed: str, offered: str
    ) -> None:
        suggestions = ask(filled, typed).suggestions
        assert offered in [f"{each.organisation}/{each.name}" for each in suggestions]

    def test_what_stands_for_a_mistyped_word_is_not_passed_off_as_found(
        self, filled: World
    ) -> None:
        assert ask(filled, "embeddngs").respelt
        assert names(ask(filled, "embeddngs"))[:1] == ["embeddings"]
        assert not ask(filled, "embeddings").respelt
        assert not ask(filled, "embed").respelt
        assert not ask(filled, "qqqqqqq").respelt

    def test_programs_are_told_what_is_near_with_whose_it_is(self, filled: World) -> None:
        anybody = Client(create_app(filled.registry).test_client())
        answer = anybody.get("/api/v1/components", query={"q": "darja-lid"})
        assert (answer["total"], answer["items"]) == (0, [])
        (first, *_) = ask(filled, "darija-lid").hits
        assert answer["near"][0] == {
            "component": f"{ORG}/darija-lid",
            "latest": "1.0.0",
            "organisation_display_name": first.organisation_title,
            "review": "community",
            "states": [],
        }
        for asked in ("darija-lid", "qqqqqqq", ""):
            assert anybody.get("/api/v1/components", query={"q": asked})["near"] == []

    def test_without_a_question_everything_is_there(self, filled: World) -> None:
        assert ask(filled).total == len(ITEMS)
        assert ask(filled, " \n ").total == len(ITEMS)

    def test_an_exact_name_is_marked_and_comes_first_in_every_order(self, filled: World) -> None:
        for sort in SORTS:
            first, *others = ask(filled, "embeddings", sort=sort).hits
            assert (first.name, first.exact) == ("embeddings", True)
            assert not any(hit.exact for hit in others)

    def test_what_somebody_types_is_cut_to_a_length(self, filled: World) -> None:
        assert len(Query(text="a" * 10_000).text) == MAX_TEXT
        for long in ("a" * 10_000, "ﷺ" * 10_000, "ة" * 10_000, "a " * 5000, "\x00" * 10_000):
            ask(filled, long)


class TestHits:
    def test_a_hit_says_what_the_manifest_and_the_cards_say(self, filled: World) -> None:
        (hit, *_) = ask(filled, "darija-lid").hits
        assert (hit.organisation, hit.organisation_title) == (ORG, "Minds Lab")
        assert (hit.kind, hit.task, hit.licence) == ("model", "text-classification", "Apache-2.0")
        assert hit.languages == ("ary", "zgh", "ar", "fr")
        assert (hit.version, hit.risk, hit.review, hit.states) == (
            "1.0.0", "minimal", "community", (),
        )  # fmt: skip
        assert hit.title == {
            "und": "Language identification",
            "ar": "التعرّف على لغة النص",
            "fr": "Identification de la langue",
        }
        assert hit.summary["und"].startswith("Language identification for Darija")
        assert hit.summary["fr"] == "Dit dans quelle langue on écrit."
        assert hit.updated_at.tzinfo is not None

    def test_what_nobody_said_is_not_made_up(self, filled: World) -> None:
        (hit, *_) = ask(filled, "embeddings-small").hits
        assert (hit.task, hit.risk, hit.region, hit.languages) == (None, None, None, ())
        assert hit.title == {}
        results = ask(filled, "embeddings-small")
        for facet in ("task", "risk", "region", "language"):
            assert UNKNOWN in counts(results, facet)


class TestFacets:
    def test_every_facet_counts_the_components_that_were_found(self, filled: World) -> None:
        results = ask(filled)
        assert tuple(results.facets) == FACETS
        assert counts(results, "kind") == Counter(item.kind for item in ITEMS)
        assert counts(results, "risk") == Counter(item.risk or UNKNOWN for item in ITEMS)
        assert counts(results, "format") == {
            "safetensors": sum(item.file.endswith(".safetensors") for item in ITEMS),
            "parquet": 1, "jsonl": 1, "csv": 1, "onnx": 1, "wheel": 1, "gguf": 1, "text": 1,
        }  # fmt: skip
        assert counts(results, "review") == {"community": len(ITEMS)}
        assert counts(results, "organisation_kind") == {"startup": len(ITEMS)}

    def test_a_choice_narrows_the_other_facets_and_not_its_own(self, filled: World) -> None:
        results = ask(filled, chosen={"kind": frozenset(["dataset"])})
        assert results.total == 3
        assert counts(results, "kind") == counts(ask(filled), "kind")
        assert counts(results, "licence") == {"Apache-2.0": 2, "CC-BY-4.0": 1}
        assert [each.value for each in results.facets["kind"] if each.chosen] == ["dataset"]

    def test_values_of_one_facet_add_up_and_facets_narrow(self, filled: World) -> None:
        either = ask(filled, chosen={"language": frozenset(["zgh", "fr"])})
        expected = [item for item in ITEMS if {"zgh", "fr"} & set(item.languages)]
        assert either.total == len(expected)
        both = ask(
            filled,
            chosen={"language": frozenset(["zgh", "fr"]), "risk": frozenset(["minimal"])},
        )
        assert names(both) == ["darija-lid"]

    def test_facets_count_within_what_the_words_find(self, filled: World) -> None:
        results = ask(filled, "embeddings")
        assert counts(results, "format") == {"gguf": 1, "safetensors": 1}

    def test_a_value_that_nothing_has_is_chosen_and_finds_nothing(self, filled: World) -> None:
        results = ask(filled, chosen={"licence": frozenset(["No-Such"])})
        assert results.total == 0
        (value,) = results.facets["licence"][:1]
        assert (value.value, value.count, value.chosen) == ("No-Such", 0, True)

    @pytest.mark.parametrize(
        "options",
        [
            {"chosen": {"colour": frozenset(["red"])}},
            {"sort": "colour"},
            {"page": 0},
            {"page": 10**9},
            {"per_page": 1000},
            {"chosen": {"task": frozenset(map(str, range(51)))}},
        ],
        ids=["facet", "sort", "page", "last page", "per page", "values"],
    )
    def test_a_question_that_makes_no_sense_is_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(MalformedError, match="search"):
            Query(**options)


class TestOrder:
    def test_orders(self, filled: World) -> None:
        by_name = names(ask(filled, sort="name", per_page=100))
        assert by_name == sorted(by_name)
        assert names(ask(filled, sort="size", per_page=100))[-2:] == ["tarjama-amz", "whisper-ma"]
        assert names(ask(filled, sort="updated"))[0] == ITEMS[-1].name

    @pytest.mark.parametrize("sort", SORTS)
    def test_pages_hold_everything_once(self, filled: World, sort: str) -> None:
        first = ask(filled, sort=sort, per_page=5)
        assert (first.total, first.pages) == (len(ITEMS), 5)
        seen = [
            name
            for page in range(1, first.pages + 1)
            for name in names(ask(filled, sort=sort, per_page=5, page=page))
        ]
        assert sorted(seen) == sorted(item.name for item in ITEMS)
        assert names(ask(filled, sort=sort, per_page=5, page=6)) == []

    def test_a_word_of_the_name_counts_more_than_one_of_the_text(self, filled: World) -> None:
        assert names(ask(filled, "darija"))[:2] in (
            ["chat-darija", "darija-lid"], ["darija-lid", "chat-darija"],
        )  # fmt: skip


class TestStatements:
    """What a search asks the database, which is what it costs."""

    @pytest.mark.parametrize(
        ("typed", "most"),
        [("", 2), ("embeddings", 4), ("darija tamazight arabic french", 4), ("embedings", 6)],
    )
    def test_few_statements(self, filled: World, typed: str, most: int) -> None:
        index = open_index(
            filled.registry.database,
            filled.registry.blobs,
            filled.registry.review_desk,
            filled.registry.clock,
        )
        index.search(Query())  # which reads the columns
        seen: list[str] = []
        engine = filled.registry.database.reading.kw["bind"]
        # Those that the index sends past SQLAlchemy are counted at its engine.
        inner = index.engine

        class Counting:
            def __getattr__(self, name: str) -> Any:
                def call(*arguments: Any) -> Any:
                    seen.append(name)
                    return getattr(inner, name)(*arguments)

                return call

        index.engine = Counting()  # type: ignore[assignment]

        def note(_c: object, _k: object, statement: str, *_: object) -> None:
            if not statement.startswith("BEGIN"):
                seen.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            results = index.search(Query(text=typed))
        finally:
            event.remove(engine, "before_cursor_execute", note)
        assert results.total
        assert len(seen) <= most, seen


class TestKeepingUp:
    def test_a_publish_is_found_at_once(self, fresh: tuple[World, Client]) -> None:
        world, publisher = fresh
        assert ask(world).total == 0
        publish(world, publisher, ITEMS[0])
        assert names(ask(world, "darija")) == ["darija-lid"]
        publish(world, publisher, ITEMS[1])
        assert names(ask(world, "darija")) == ["darija-lid"]
        assert ask(world).total == 2

    def test_what_is_near_a_word_is_looked_for_once_until_words_may_have_come(
        self, fresh: tuple[World, Client], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world, publisher = fresh
        publish(world, publisher, Item(name="one", summary="an umbrella"))
        engine: Any = type(world.registry.index.engine)
        near, looked = engine.near, []

        def noted(*given: Any) -> list[str]:
            looked.append(given[2])
            found: list[str] = near(*given)
            return found

        monkeypatch.setattr(engine, "near", noted)
        for _ in range(2):
            assert names(ask(world, "parasoll")) == []
            assert names(ask(world, "umbrela")) == ["one"]
        assert looked == ["parasoll", "umbrela"]
        publish(world, publisher, Item(name="two", summary="a parasol"))
        assert names(ask(world, "parasoll")) == ["two"]

    def test_who_holds_a_word_is_not_asked_again_by_its_beginning_and_sound(
        self, fresh: tuple[World, Client]
    ) -> None:
        world, publisher = fresh
        publish(world, publisher, Item(name="one", summary="prevision"))
        publish(world, publisher, Item(name="two", summary="previsionnel"))
        publish(world, publisher, Item(name="three", summary="prevision previsionnel"))
        assert names(ask(world, "prevision"))[2:] == ["two"]
        patterns = words_of("prevision")[0].patterns
        with world.registry.database.read() as session:
            held = world.registry.index.engine.holders(session, list(patterns))
        by_points = {patterns[pattern]: bits.bit_count() for pattern, bits in held.items()}
        assert (by_points[IN_TEXT], by_points[TEXT_BEGINS]) == (2, 1)

    def test_a_new_version_replaces_what_was_said(self, fresh: tuple[World, Client]) -> None:
        world, publisher = fresh
        publish(world, publisher, Item(name="one", summary="umbrella", languages=("fr",)))
        publish(world, publisher, Item(name="two", summary="umbrella"))
        assert ask(world, "umbrella").total == 2  # from now on this set is kept in memory
        publish(world, publisher, Item(name="one", summary="parasol", languages=("ar",)), "2.0.0")
        assert names(ask(world, "umbrella")) == ["two"]
        assert names(ask(world, "parasol")) == ["one"]
        assert ask(world, "parasol").hits[0].version == "2.0.0"
        assert counts(ask(world), "language") == {"ar": 1, UNKNOWN: 1}

    def test_a_yank_is_found_at_once(self, fresh: tuple[World, Client]) -> None:
        world, publisher = fresh
        publish(world, publisher, ITEMS[0])
        name = ComponentName.parse(f"{ORG}/darija-lid")
        for reason, states in (("broken", ("yanked",)), (None, ())):
            role = set_yanked(
                world.current(name.role) or b"",
                name,
                parse_version("1.0.0"),
                reason,
                [world.key(ORG)],
                world.clock(),
            )
            body = {"roles": {name.role: role.decode()}}
            publisher.post("/api/v1/roles", body, expect=200)
            assert ask(world, "darija").hits[0].states == states

    def test_another_process_sees_it(self, fresh: tuple[World, Client]) -> None:
        world, publisher = fresh
        other = open_index(
            world.registry.database,
            world.registry.blobs,
            world.registry.review_desk,
            world.registry.clock,
        )
        publish(world, publisher, ITEMS[0])
        assert other.search(Query(text="darija")).total == 1
        publish(world, publisher, ITEMS[10])
        assert other.search(Query(text="darija")).total == 2
        assert world.registry.index.rebuild() == 2
        assert other.search(Query(text="darija")).total == 2

    def test_nothing_is_done_twice(self, fresh: tuple[World, Client]) -> None:
        world, publisher = fresh
        publish(world, publisher, ITEMS[0])
        assert world.registry.index.refresh() == 0

    def test_a_publisher_does_not_wait_for_all_others(
        self, fresh: tuple[World, Client], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a rebuild, or a restore, everything waits: that is the worker's to do."""
        world, publisher = fresh
        for item in ITEMS[:4]:
            publish(world, publisher, item)
        index = world.registry.index
        monkeypatch.setattr("forge_server.search.filling._AT_ONCE", 2)
        monkeypatch.setattr("forge_server.search.index.MOST", 2)
        with world.registry.database.write() as session:
            mark_changed(session, true())
        index.follow()
        assert index.refresh() == 2

    def test_a_rebuild_that_was_interrupted_is_finished_by_the_next_refresh(
        self, fresh: tuple[World, Client], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world, publisher = fresh
        for item in ITEMS[:3]:
            publish(world, publisher, item)
        index = world.registry.index

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(type(index.filling), "_write", die)
            with pytest.raises(KeyboardInterrupt):
                index.rebuild()
        assert ask(world).total == 0
        assert index.refresh() == 3
        assert ask(world).total == 3

    @pytest.mark.parametrize("followed", [True, False], ids=["by another", "by nobody yet"])
    def test_what_changes_while_it_is_indexed_is_indexed_again(
        self, fresh: tuple[World, Client], monkeypatch: pytest.MonkeyPatch, followed: bool
    ) -> None:
        world, publisher = fresh
        publish(world, publisher, Item(name="one", summary="umbrella"))
        index = world.registry.index
        index.rebuild()
        again: list[int] = []

        def slow(facts: Any) -> Any:
            if not again:  # it changes meanwhile, and perhaps another process indexes that
                again.append(1)
                if not followed:
                    monkeypatch.setattr(type(index), "follow", lambda _: None)
                publish(world, publisher, Item(name="one", summary="parasol"), "2.0.0")
            return document_of(facts)

        with world.registry.database.write() as session:
            session.execute(WAITING.insert().values(component_id=1, mark=1))
        monkeypatch.setattr("forge_server.search.filling.document_of", slow)
        index.refresh()
        assert again
        assert ask(world, "umbrella").total == 0
        assert ask(world, "parasol").total == 1

    def test_the_operator_makes_it_again(self, fresh: tuple[World, Client]) -> None:
        world, publisher = fresh
        publish(world, publisher, ITEMS[0])
        with schema_engine(world.root) as engine, engine.begin() as connection:
            connection.execute(text("DELETE FROM search_documents"))
        assert ask(world, "darija").total == 0
        result = CliRunner().invoke(cli, ["reindex", str(world.root)])
        assert (result.exit_code, result.stderr) == (0, "1 component indexed\n")
        assert names(ask(world, "darija")) == ["darija-lid"]

    def test_a_worker_indexes_what_a_crash_left(self, fresh: tuple[World, Client]) -> None:
        world, publisher = fresh
        publish(world, publisher, ITEMS[0])
        with world.registry.database.write() as session:
            mark_changed(session, true())
        said: list[str] = []
        assert Worker(world.registry, said.append).once()
        assert "indexed 1 component for search" in said[-1]
        assert world.registry.index.refresh() == 0

    def test_a_failure_to_index_does_not_fail_the_publish(
        self, fresh: tuple[World, Client], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from forge_server.errors import RegistryError

        world, publisher = fresh

        def fail(*_: object) -> int:
            raise RegistryError("busy", "the database is in use")

        with monkeypatch.context() as patched:
            patched.setattr("forge_server.search.filling.Filling.refresh", fail)
            publish(world, publisher, ITEMS[0])
        assert ask(world).total == 0
        assert world.registry.index.refresh() == 1

    def test_many_search_while_others_index(self, fresh: tuple[World, Client]) -> None:
        world, publisher = fresh
        publish(world, publisher, ITEMS[0])
        stop = threading.Event()
        wrong: list[object] = []

        def search() -> None:
            while not stop.is_set():
                try:
                    if "darija-lid" not in names(ask(world, "darija")):
                        wrong.append("lost")
                except Exception as error:
                    wrong.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for item in ITEMS[1:6]:
            publish(world, publisher, item)
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert ask(world).total == 6
