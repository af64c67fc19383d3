"""`/hf`: models and datasets for the clients of the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from facades import MODEL_FILES, OTHER, Facades, facades, publish_library, publish_model
from server_fixtures import ORG, forge_toml
from sqlalchemy import event, select
from tensors import safetensors

from forge_server.compat.hub_json import entries_at
from forge_server.compat.releases import ServedFile
from forge_server.db.models import Release

__all__ = ["facades"]

DEMO = f"{ORG}/demo"
API = f"/hf/api/models/{DEMO}"


@pytest.fixture(scope="module")
def hub(facades: Facades) -> Facades:
    publish_model(facades, "demo", "1.0.0")
    publish_model(facades, "demo", "1.1.0")
    publish_model(facades, "words", "1.0.0", kind="dataset")
    publish_library(facades)
    return facades


def got(facades: Facades, path: str, **headers: str) -> Any:
    response = facades.get(path, **headers)
    assert response.status_code == 200, (path, response.data)
    return json.loads(response.data)


def commit(facades: Facades, version: str, name: str = "demo") -> str:
    shown = facades.sara.get(f"/api/v1/components/{ORG}/{name}")
    return next(
        str(row["manifest_sha256"])[:40] for row in shown["versions"] if row["version"] == version
    )


@pytest.mark.parametrize(
    ("revision", "version"),
    [
        (None, "1.1.0"), ("main", "1.1.0"), ("HEAD", "1.1.0"), ("1.0.0", "1.0.0"),
        ("refs%2Ftags%2F1.0.0", "1.0.0"), ("refs/heads/main", "1.1.0"), ("COMMIT", "1.0.0"),
        ("SHORT", "1.0.0"),
    ],
)  # fmt: skip
def test_revisions(hub: Facades, revision: str | None, version: str) -> None:
    sha = commit(hub, "1.0.0")
    text = {"COMMIT": sha, "SHORT": sha[:7]}.get(revision or "", revision)
    path = API if text is None else f"{API}/revision/{text}"
    assert got(hub, path)["sha"] == commit(hub, version)


@pytest.mark.parametrize(
    "revision",
    ["9.9.9", "refs%2Fpr%2F1", "refs%2Fconvert%2Fparquet", "a" * 40, "abcde", "..", "%00", "1.0"],
)
def test_unknown_revisions(hub: Facades, revision: str) -> None:
    for path in (f"{API}/revision/{revision}", f"/hf/{DEMO}/resolve/{revision}/config.json"):
        response = hub.get(path)
        assert response.status_code == 404
        assert response.headers["X-Error-Code"] == "RevisionNotFound"
        assert response.headers["X-Error-Message"]


def test_about_a_model(hub: Facades) -> None:
    value = got(hub, f"{API}?blobs=true")
    assert (value["id"], value["author"], value["private"]) == (DEMO, ORG, False)
    siblings = {each["rfilename"]: each for each in value["siblings"]}
    assert siblings.keys() == {*MODEL_FILES, "forge.toml", "version.txt"}
    weights = MODEL_FILES["model.bin"]
    assert siblings["model.bin"]["lfs"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert siblings["model.bin"]["size"] == len(weights)
    assert "license:apache-2.0" in value["tags"]
    assert "xetHash" not in json.dumps(value)


def test_trees(hub: Facades) -> None:
    top = got(hub, f"{API}/tree/main")
    assert {each["path"]: each["type"] for each in top} == {
        **{path: "file" for path in MODEL_FILES if "/" not in path},
        "forge.toml": "file", "version.txt": "file", "tokenizer": "directory",
    }  # fmt: skip
    whole = got(hub, f"{API}/tree/main?recursive=True&expand=True")
    paths = [each["path"] for each in whole]
    assert "tokenizer/vocab.txt" in paths
    assert paths == sorted(paths)
    assert whole[0]["lastCommit"]["id"] == commit(hub, "1.1.0")
    inner = got(hub, f"{API}/tree/1.0.0/tokenizer")
    assert [each["path"] for each in inner] == ["tokenizer/vocab.txt"]
    missing = hub.get(f"{API}/tree/main/additional_chat_templates")
    assert missing.headers["X-Error-Code"] == "EntryNotFound"


def test_long_trees_and_lists_come_in_pages(hub: Facades, monkeypatch: pytest.MonkeyPatch) -> None:
    from forge_server.compat import huggingface

    monkeypatch.setattr(huggingface, "_MAX_ENTRIES", 3)
    path, found = f"{API}/tree/main?recursive=true", []
    for _ in range(10):
        response = hub.get(path)
        found += [each["path"] for each in response.get_json()]
        if "Link" not in response.headers:
            break
        assert len(response.get_json()) == 3
        path = response.headers["Link"].partition(">")[0].removeprefix("<http://localhost")
    assert len(found) == len(set(found)) == len(MODEL_FILES) + 3


def test_paths(hub: Facades) -> None:
    wanted = ["config.json", "tokenizer", "nothing", "../forge.toml"]
    form = hub.sara.flask.post(f"{API}/paths-info/main", data={"paths": wanted, "expand": "true"})
    sent = hub.sara.flask.post(f"{API}/paths-info/main", json={"paths": wanted})
    assert [each["path"] for each in form.get_json()] == ["config.json", "tokenizer"]
    assert [each["type"] for each in sent.get_json()] == ["file", "directory"]
    for bad in ({"paths": 1}, [], {"paths": [1]}):
        refused = hub.sara.flask.post(f"{API}/paths-info/main", json=bad)
        assert (refused.status_code, "paths" in refused.headers["X-Error-Message"]) == (400, True)


def test_many_paths_cost_no_more_than_the_files_once() -> None:
    class Counted(list[ServedFile]):
        walks = 0

        def __iter__(self) -> Iterator[ServedFile]:
            self.walks += 1
            return super().__iter__()

    files = Counted(ServedFile(path=f"a/b/{n}", size=1, sha256="0" * 64) for n in range(3))
    release: Any = SimpleNamespace(manifest_sha256="0" * 64)
    asked = [f"x{n}" for n in range(50)]
    found = entries_at(release, files, [*asked, "a", "a/b", "a/b/1", "a/", "", "/", "b"])
    assert [each["path"] for each in found] == ["a", "a/b", "a/b/1"]
    assert files.walks == 1


def test_branches_tags_and_history(hub: Facades) -> None:
    value = got(hub, f"{API}/refs")
    assert [each["targetCommit"] for each in value["branches"]] == [commit(hub, "1.1.0")]
    assert [each["name"] for each in value["tags"]] == ["1.1.0", "1.0.0"]
    titles = [each["title"] for each in got(hub, f"{API}/commits/main")]
    assert titles == [f"{DEMO}==1.1.0", f"{DEMO}==1.0.0"]
    assert len(got(hub, f"{API}/commits/1.0.0")) == 1
    assert got(hub, f"{API}/auth-check") == {}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file(hub: Facades, method: str) -> None:
    data = MODEL_FILES["model.bin"]
    digest = hashlib.sha256(data).hexdigest()
    response = hub.get(f"/hf/{DEMO}/resolve/1.1.0/model.bin", method)
    assert response.status_code == 200
    assert response.data == (data if method == "GET" else b"")
    assert response.headers["X-Repo-Commit"] == commit(hub, "1.1.0")
    assert response.headers["ETag"] == response.headers["X-Linked-Etag"] == f'"{digest}"'
    assert int(response.headers["Content-Length"]) == len(data)
    assert response.headers["Accept-Ranges"] == "bytes"
    assert "immutable" in response.headers["Cache-Control"]
    assert "X-Xet-Hash" not in response.headers
    by_branch = hub.get(f"/hf/{DEMO}/resolve/main/model.bin", method)
    assert by_branch.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("path", "sent", "status", "content_range"),
    [
        ("model.bin", "bytes=0-0", 206, "bytes 0-0/1024000"),
        ("model.bin", "bytes=1023999-", 206, "bytes 1023999-1023999/1024000"),
        ("model.bin", "bytes=1024000-", 416, "bytes */1024000"),
        ("empty.txt", "bytes=0-0", 200, "bytes */0"),
        ("empty.txt", None, 200, None),
    ],
    ids=["probe", "end", "beyond", "probe-empty", "empty"],
)
def test_ranges(
    hub: Facades, path: str, sent: str | None, status: int, content_range: str | None
) -> None:
    headers = {} if sent is None else {"Range": sent}
    response = hub.get(f"/hf/{DEMO}/resolve/main/{path}", **headers)
    assert (response.status_code, response.headers.get("Content-Range")) == (status, content_range)


@pytest.mark.parametrize(
    "path",
    ["nothing.txt", "tokenizer", "..%2Fforge.toml", "%2e%2e/%2e%2e/tuf/1.root.json", "", "%00",
     "config.json/", "tokenizer%5Cvocab.txt"],
)  # fmt: skip
def test_what_a_release_does_not_have_is_an_unknown_entry(hub: Facades, path: str) -> None:
    """With the commit, so that clients remember it; on HEAD too, where there is no body."""
    for method in ("GET", "HEAD"):
        response = hub.get(f"/hf/{DEMO}/resolve/1.0.0/{path}", method)
        assert response.status_code == 404
        if path:
            assert response.headers["X-Error-Code"] == "EntryNotFound"
            assert response.headers["X-Repo-Commit"] == commit(hub, "1.0.0")


@pytest.mark.parametrize(
    ("path", "code"),
    [("9.9/config.json", "revision-not-found"), ("main/nothing", "file-not-found")],
)
def test_refusals_are_counted_by_their_codes(hub: Facades, path: str, code: str) -> None:
    """Operators see ours, whatever the client is told."""
    before = refusals(hub, code)
    hub.get(f"/hf/{DEMO}/resolve/{path}")
    assert refusals(hub, code) == before + 1


def refusals(facades: Facades, code: str) -> float:
    text = facades.get("/metrics").text
    lines = [line for line in text.splitlines() if f'code="{code}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_a_path_may_be_written_in_any_encoding(hub: Facades) -> None:
    assert hub.get(f"/hf/{DEMO}/resolve/main/tokenizer%2Fvocab.txt").data == b"a\nb\n"


@pytest.mark.parametrize(
    "path",
    [
        f"/hf/api/models/{ORG}/nobody", f"/hf/api/models/{OTHER}/demo", "/hf/api/models/hf/demo",
        f"/hf/api/datasets/{DEMO}", f"/hf/api/models/{ORG}/words", f"/hf/api/models/{ORG}/gov-demo",
        f"/hf/api/models/{ORG}/DEMO", "/hf/api/models/%2e%2e/demo", "/hf/api/models/a%00/demo",
        f"/hf/{ORG}/words/resolve/main/config.json",
        f"/hf/datasets/{DEMO}/resolve/main/config.json", f"/hf/{ORG}/words/raw/main/config.json",
        f"/hf/datasets/{DEMO}/raw/main/config.json", f"/hf/{OTHER}/demo/raw/main/config.json",
        f"/hf/api/spaces/{DEMO}",
    ],
)  # fmt: skip
def test_other_names_and_other_kinds_are_unknown_repositories(hub: Facades, path: str) -> None:
    for method in ("GET", "HEAD"):
        response = hub.get(path, method)
        assert response.status_code == 404
        assert response.headers["X-Error-Code"] == "RepoNotFound"


def test_datasets(hub: Facades) -> None:
    value = got(hub, f"/hf/api/datasets/{ORG}/words/revision/main")
    assert value["sha"] == commit(hub, "1.0.0", "words")
    got_file = hub.get(f"/hf/datasets/{ORG}/words/resolve/1.0.0/config.json")
    assert got_file.data == MODEL_FILES["config.json"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["demo"]), ("search=DEMO", ["demo"]), ("search=nothing", []),
        (f"author={ORG}", ["demo"]), (f"author={OTHER}", []),
        ("filter=license:apache-2.0", ["demo"]), ("filter=license:mit", []),
        ("filter=a", []), ("sort=createdAt&direction=-1&limit=1&full=true", ["demo"]),
        ("expand=siblings&expand=sha", ["demo"]), ("sort=trendingScore", ["demo"]),
        ("search=%25", []), ("cursor=5", []),
    ],
)  # fmt: skip
def test_lists(hub: Facades, query: str, names: list[str]) -> None:
    value = got(hub, f"/hf/api/models?{query}")
    assert [each["id"] for each in value] == [f"{ORG}/{name}" for name in names]
    wanted = "full" in query or "siblings" in query
    assert all(("siblings" in each) == wanted for each in value)


def test_lists_go_on(hub: Facades) -> None:
    for number in range(3):
        publish_model(hub, f"many-{number}")
    path, found = "/hf/api/models?search=many&limit=1", []
    for _ in range(5):
        response = hub.get(path)
        found += [each["id"] for each in response.get_json()]
        if "Link" not in response.headers:
            break
        path = response.headers["Link"].partition(">")[0].removeprefix("<http://localhost")
    assert sorted(found) == [f"{ORG}/many-{number}" for number in range(3)]


def test_who_a_token_belongs_to(hub: Facades) -> None:
    shown = hub.sara.get("/hf/api/whoami-v2", expect=200)
    assert (shown["name"], shown["orgs"][0]["name"]) == ("sara", ORG)
    assert shown["auth"]["accessToken"]["role"] == "write"
    for header in (None, "Bearer hf_of_another_site", "Basic x"):
        response = hub.get("/hf/api/whoami-v2", **({"Authorization": header} if header else {}))
        assert response.status_code == 401
        assert response.headers["X-Error-Message"] == "Invalid credentials in Authorization header"


def test_a_token_may_be_sent_as_the_javascript_client_wants_it(hub: Facades) -> None:
    """It sends none that does not begin with ``hf_``. Nowhere else is that one of ours."""
    header = {"Authorization": f"Bearer hf_{hub.sara.token}"}
    response = hub.get("/hf/api/whoami-v2", **header)
    assert (response.status_code, response.get_json()["name"]) == (200, "sara")
    assert hub.get("/api/v1/whoami", **header).status_code == 401
    leaked = hub.get(f"/hf/api/whoami-v2?token=hf_{hub.sara.token}", **header)
    assert leaked.status_code == 400, "in an address it is a leaked token like any other"


def test_a_token_for_another_site_does_no_harm_to_reading(hub: Facades) -> None:
    assert got(hub, API, Authorization="Bearer hf_of_another_site")["id"] == DEMO


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/hf/api/repos/create"), ("POST", f"{API}/preupload/main"),
        ("POST", f"{API}/commit/main"), ("POST", f"{API}/branch/x"), ("POST", f"{API}/tag/main"),
        ("DELETE", "/hf/api/repos/delete"), ("PUT", f"{API}/settings"), ("PATCH", f"{API}/refs"),
        ("POST", "/hf/api/spaces/x/y"), ("POST", f"{API}/revision/main"),
    ],
)  # fmt: skip
def test_changes_are_refused_with_a_sentence(hub: Facades, method: str, path: str) -> None:
    response = hub.sara.flask.open(path, method=method, json={"name": "demo"})
    assert response.status_code == 403
    assert "signed" in response.headers["X-Error-Message"]
    assert "forge publish" in response.headers["X-Error-Message"]
    hub.sara.call("PUT", f"/hf/{DEMO}/resolve/main/config.json", data=b"{}", expect=405)


def test_a_flood_of_refused_changes_fills_no_log(hub: Facades) -> None:
    def refused() -> int:
        seen = hub.world.registry.audit.newest(1000, "release.publish")
        return sum(event.address == "2001:db8::7" for event in seen)

    limit = hub.world.registry.settings.max_failures_per_minute
    for _ in range(limit + 5):
        response = hub.sara.flask.post(
            f"{API}/commit/main", environ_overrides={"REMOTE_ADDR": "2001:db8::7"}
        )
        assert response.status_code == 403
    assert refused() == limit


def test_what_is_not_there_at_all(hub: Facades) -> None:
    for path in ("/hf/api/agent-harnesses", f"{API}/discussions", "/hf/api/models/x"):
        for method in ("GET", "HEAD"):
            assert hub.get(path, method).status_code == 404, path
    assert got(hub, "/hf/api/spaces") == []


@pytest.mark.parametrize(
    "accept", ["*/*", "text/html", "application/vnd.xet-fileinfo+json, */*", "image/png;q=0.1"]
)
def test_files_do_not_depend_on_what_is_accepted(hub: Facades, accept: str) -> None:
    """Nor on whether they are asked for as they are: all of them are."""
    seen = set()
    for word in ("resolve", "raw"):
        for method in ("GET", "HEAD"):
            response = hub.get(f"/hf/{DEMO}/{word}/1.0.0/config.json", method, Accept=accept)
            assert response.data == (MODEL_FILES["config.json"] if method == "GET" else b"")
            seen.add((response.status_code, response.content_type, response.headers["ETag"]))
    assert len(seen) == 1
    missing = hub.get(f"/hf/{DEMO}/raw/1.0.0/nothing", "HEAD")
    assert missing.headers["X-Error-Code"] == "EntryNotFound"


def test_history_comes_in_pages_that_say_how_many(hub: Facades) -> None:
    first = hub.get(f"{API}/commits/main?limit=1")
    assert len(first.get_json()) == 1
    assert first.headers["X-Total-Count"] == "2"
    link = first.headers["Link"].partition(">")[0].removeprefix("<http://localhost")
    second = hub.get(link)
    assert [each["title"] for each in second.get_json()] == [f"{DEMO}==1.0.0"]
    assert "Link" not in second.headers
    assert hub.get(f"{API}/commits/main?limit=0").status_code == 400


def test_a_model_for_transformers_says_so(hub: Facades) -> None:
    assert "library_name" not in got(hub, API)
    files = {"config.json": b"{}", "model.safetensors": safetensors({"w": bytes(8)})}
    hub.sara.publish(hub.world.release("loadable", "1.0.0", files=files))
    assert got(hub, f"/hf/api/models/{ORG}/loadable")["library_name"] == "transformers"


def test_unsigned_upload_is_a_refusal_of_its_own(hub: Facades) -> None:
    events = hub.world.registry.audit.newest(200, "release.publish")
    assert "unsigned-upload" in {event.outcome for event in events}


class TestWithheldAndYanked:
    def test_a_yanked_version_is_not_the_newest_and_comes_with_a_warning(
        self, hub: Facades
    ) -> None:
        publish_model(hub, "yanking", "1.0.0")
        publish_model(hub, "yanking", "1.1.0")
        api = f"/hf/api/models/{ORG}/yanking"
        hub.yank("yanking", "1.1.0", "تسرب")
        assert got(hub, api)["sha"] == commit(hub, "1.0.0", "yanking")
        for path in (f"{api}/revision/1.1.0", f"/hf/{ORG}/yanking/resolve/1.1.0/config.json"):
            warning = hub.get(path, "HEAD").headers["X-HF-Warning"]
            topic, _, text = warning.partition("; ")
            assert topic == "forge-1.1.0"
            assert "yanked" in text
            assert "تسرب" in text.encode("latin-1").decode()
        hub.yank("yanking", "1.0.0", "old")
        response = hub.get(api)
        assert response.headers["X-Error-Code"] == "RevisionNotFound"
        assert response.get_json()["error"].startswith("forge: ")
        assert [each["id"] for each in got(hub, "/hf/api/models?search=yanking")] == []

    def test_a_withheld_version_is_an_unknown_revision_in_every_way(self, hub: Facades) -> None:
        publish_model(hub, "stopped", "1.0.0")
        publish_model(hub, "stopped", "1.1.0")
        sha = commit(hub, "1.1.0", "stopped")
        api = f"/hf/api/models/{ORG}/stopped"
        assert got(hub, f"{api}/revision/{sha}")["sha"] == sha
        hub.withhold("stopped", "1.1.0")
        for revision in ("1.1.0", sha, sha[:8], "refs%2Ftags%2F1.1.0"):
            for path in (
                f"{api}/revision/{revision}", f"{api}/tree/{revision}", f"{api}/commits/{revision}",
                f"/hf/{ORG}/stopped/resolve/{revision}/config.json",
                f"/hf/{ORG}/stopped/raw/{revision}/config.json",
            ):  # fmt: skip
                response = hub.get(path)
                assert response.status_code == 404, path
                assert response.headers["X-Error-Code"] == "RevisionNotFound"
                assert "it phones home" in response.headers["X-Error-Message"]
        assert got(hub, api)["sha"] == commit(hub, "1.0.0", "stopped")
        assert [each["name"] for each in got(hub, f"{api}/refs")["tags"]] == ["1.0.0"]
        assert len(got(hub, f"{api}/commits/main")) == 1
        (listed,) = got(hub, "/hf/api/models?search=stopped")
        assert listed["sha"] == commit(hub, "1.0.0", "stopped")

    def test_what_is_not_announced_yet_is_not_there(self, hub: Facades) -> None:
        publish_model(hub, "soon")
        database = hub.world.registry.database
        with database.write() as session:
            row = session.scalars(select(Release).order_by(Release.id.desc()).limit(1)).one()
            row.stored_at = None
        response = hub.get(f"/hf/{ORG}/soon/resolve/main/config.json")
        assert response.headers["X-Error-Code"] == "RevisionNotFound"


def test_files_of_large_releases_are_looked_up_one_by_one(
    hub: Facades, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forge_server.compat import releases

    monkeypatch.setattr(releases, "_MANY_FILES", 2)
    for path, status in (("config.json", 200), ("nothing", 404), ("%00", 404)):
        assert hub.get(f"/hf/{DEMO}/resolve/1.0.0/{path}").status_code == status
    assert len(got(hub, f"{API}/tree/1.0.0?recursive=true")) == len(MODEL_FILES) + 3


def test_for_a_known_release_the_database_is_asked_one_thing(hub: Facades) -> None:
    """Whether anything changed, past what listens to statements here."""
    path = f"/hf/{DEMO}/resolve/1.0.0/config.json"
    hub.get(path, "HEAD")
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    engine = hub.world.registry.database.reading.kw["bind"]
    event.listen(engine, "before_cursor_execute", note)
    try:
        hub.get(path, "HEAD")
        assert statements == []
        publish_model(hub, "another")
        hub.get(path, "HEAD")
        assert statements  # something was published: the release is read anew
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_a_model_that_became_something_else_is_what_its_newest_release_is(hub: Facades) -> None:
    publish_model(hub, "turned", "1.0.0")
    toml = forge_toml("turned", "2.0.0", kind="dataset")
    hub.sara.publish(hub.world.release("turned", "2.0.0", toml=toml))
    assert hub.get(f"/hf/api/models/{ORG}/turned").headers["X-Error-Code"] == "RepoNotFound"
    assert got(hub, f"/hf/api/datasets/{ORG}/turned")["id"] == f"{ORG}/turned"
