"""pandas and MLflow, as they are, with our plug-ins: they find them by themselves.

One program each does all its reading, because starting them takes longest; the tests look at what
it wrote down.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders import World, forge_toml
from cli_fixtures import new_world
from log_builders import Log
from static_server import StaticServer

from forge_cli.truststore import TrustStore
from signing.names import ComponentName

MODEL = ComponentName.parse("minds-lab/greeter")
WORDS = ComponentName.parse("minds-lab/words")
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "fsspec-and-mlflow.md"
CSV = b"word,count\nazul,3\nsalam,4\n"

SAVE = '''
import sys
from pathlib import Path
import mlflow.pyfunc
here = Path(sys.argv[1])
(here / "model.py").write_text("""
import mlflow

class Greeter(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.words = set(open(context.artifacts["words"]).read().split())

    def predict(self, context, model_input, params=None):
        return [text in self.words for text in model_input["text"]]

mlflow.models.set_model(Greeter())
""")
(here / "words.txt").write_text("azul salam")
mlflow.pyfunc.save_model(
    here / "saved",
    python_model=str(here / "model.py"),
    artifacts={"words": str(here / "words.txt")},
    pip_requirements=[],
)
'''

READ = """
import json, re, sys
from pathlib import Path
import fsspec, mlflow, mlflow.artifacts, mlflow.pyfunc, pandas
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

place, page, found = Path(sys.argv[1]), Path(sys.argv[2]), {}

def refusal(action):
    try:
        action()
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__name__}: {error}"

shown = {}
for code in re.findall("^```python\\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
    exec(code, shown)
found["page"] = [len(shown["table"]), len(shown["files"]), Path(shown["folder"]).is_dir()]

table = pandas.read_csv("forge://minds-lab/words@1.0.0/data/words.csv")
found["sum"] = int(table["count"].sum())
found["columns"] = list(pandas.read_csv("forge://minds-lab/words/data/words.csv", nrows=1))
found["version"] = fsspec.open("forge://minds-lab/words/forge.toml", "r").open().read()
found["to_csv"] = refusal(lambda: table.to_csv("forge://minds-lab/words@1.0.0/data/new.csv"))
found["option"] = refusal(
    lambda: pandas.read_csv(
        "forge://minds-lab/words@1.0.0/data/words.csv",
        storage_options={"registry": "http://127.0.0.1:1"},
    )
)

uri = "forge://minds-lab/greeter@1.0.0"
model = mlflow.pyfunc.load_model(uri)
found["predicted"] = model.predict(pandas.DataFrame({"text": ["azul", "hello"]}))
folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=place))
found["folder"] = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
one = Path(mlflow.artifacts.download_artifacts(f"{uri}/artifacts/words.txt"))
found["one"] = one.read_text()
one.write_text("mine")
found["newest"] = Path(
    mlflow.artifacts.download_artifacts("forge://minds-lab/greeter/MLmodel")
).name
found["text"] = mlflow.artifacts.load_text(f"{uri}/artifacts/words.txt")
found["listed"] = [
    [each.path, each.is_dir, each.file_size] for each in mlflow.artifacts.list_artifacts(uri)
]
repository = get_artifact_repository(uri)
found["below"] = [each.path for each in repository.list_artifacts("artifacts")]
found["of a file"] = repository.list_artifacts("MLmodel")
found["log_artifact"] = refusal(lambda: repository.log_artifact(sys.executable))
found["log_artifacts"] = refusal(lambda: repository.log_artifacts(str(place), "x"))
found["delete"] = refusal(lambda: repository.delete_artifacts("MLmodel"))
found["nothing"] = refusal(lambda: mlflow.artifacts.download_artifacts(f"{uri}/nothing"))
found["outside"] = refusal(
    lambda: get_artifact_repository(uri).download_artifacts("../../minds-lab/words")
)
found["encoded"] = refusal(lambda: mlflow.artifacts.download_artifacts(f"{uri}/artifacts%2Fx"))
found["nobody"] = refusal(lambda: mlflow.artifacts.download_artifacts("forge://minds-lab/no@1"))
found["elsewhere"] = refusal(
    lambda: mlflow.artifacts.download_artifacts("forge://forge.example/minds-lab/greeter")
)
(place / "found.json").write_text(json.dumps(found))
"""

REFUSED = """
import mlflow.artifacts, mlflow.pyfunc, pandas
for action in (
    lambda: mlflow.pyfunc.load_model("forge://minds-lab/greeter@1.0.0"),
    lambda: mlflow.artifacts.list_artifacts("forge://minds-lab/greeter@1.0.0"),
    lambda: pandas.read_csv("forge://minds-lab/words@1.0.0/data/words.csv"),
):
    try:
        action()
    except Exception as error:
        print(type(error).__name__, str(error).replace("\\n", " "))
"""


def judge() -> Path:
    """The Python with MLflow and pandas. `make test` installs it and names its folder."""
    folder = os.environ.get("FORGE_JUDGE_PLUGINS")
    if folder is None or not Path(folder, "python").exists():
        if os.environ.get("CI"):
            pytest.fail("MLflow and pandas are required in CI; run the tests through make test")
        pytest.skip("FORGE_JUDGE_PLUGINS does not name MLflow's environment; use make test")
    return Path(folder).absolute() / "python"


@dataclass
class Hosts:
    """Programs that read ``forge://`` from ``server``, in a home of their own."""

    python: Path
    place: Path
    world: World
    server: StaticServer

    def run(self, program: str, *arguments: str) -> str:
        """What ``program``, which must succeed, prints."""
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        done = subprocess.run(
            [str(self.python), "-c", program, *arguments],
            env={
                **kept, "HOME": str(self.place), "FORGE_HOME": str(self.place / "forge"),
                "FORGE_URL": self.server.url, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """A registry with an MLflow model and a dataset, and a home that trusts it."""
    python, place = judge(), tmp_path_factory.mktemp("hosts")
    world = World(now=new_world().now, log=Log(), with_status=True)
    with StaticServer({}) as server:
        made = Hosts(python, place, world, server)
        made.run(SAVE, str(place))
        saved = {
            path.relative_to(place / "saved").as_posix(): path.read_bytes()
            for path in (place / "saved").rglob("*")
            if path.is_file()
        }
        world.publish({"forge.toml": forge_toml(MODEL), **saved})
        for version in ("1.0.0", "1.1.0"):
            toml = forge_toml(WORDS, version, kind="dataset")
            world.publish({"forge.toml": toml, "data/words.csv": CSV})
        world.say_status()
        server.files = dict(world.files())
        trust = TrustStore(place / "forge" / "trust")
        trust.add(server.url, world.fingerprint, world.root)
        yield made


@pytest.fixture(scope="module")
def found(hosts: Hosts) -> Any:
    """What the program wrote down."""
    hosts.run(READ, str(hosts.place), str(PAGE))
    return json.loads((hosts.place / "found.json").read_text())


def test_pandas_reads_a_table(found: Any) -> None:
    assert found["sum"] == 7
    assert found["columns"] == ["word", "count"]
    assert 'version = "1.1.0"' in found["version"]


def test_the_page_says_how(found: Any) -> None:
    rows, files, downloaded = found["page"]
    assert rows == 2
    assert files > 3
    assert downloaded


def test_mlflow_loads_a_model(found: Any) -> None:
    assert found["predicted"] == [True, False]


def test_mlflow_lists_and_downloads(found: Any) -> None:
    assert {"MLmodel", "artifacts/words.txt", "forge.toml", "model.py"} <= set(found["folder"])
    assert found["one"] == found["text"] == "azul salam"  # a copy: whoever writes there harms none
    assert found["newest"] == "MLmodel"
    names = {path.rpartition("/")[2]: (folder, size) for path, folder, size in found["listed"]}
    assert names["artifacts"] == (True, None)
    assert names["MLmodel"][0] is False
    assert names["MLmodel"][1] > 100
    assert found["below"] == ["artifacts/words.txt"]
    assert found["of a file"] == []


@pytest.mark.parametrize("name", ["to_csv", "log_artifact", "log_artifacts", "delete"])
def test_nothing_is_written(found: Any, name: str) -> None:
    assert "forge publish" in found[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("option", "NotTrusted: http://127.0.0.1:1 is not trusted yet"),
        ("nothing", "NotFound: minds-lab/greeter==1.0.0: nothing: no such file"),
        ("outside", "without empty, . or .. parts"),
        ("encoded", "percent-encodings"),
        ("nobody", "minds-lab/no"),
        ("elsewhere", "it names no registry"),
    ],
)
def test_refusals_are_our_sentences(found: Any, name: str, words: str) -> None:
    assert words in found[name]


def test_a_quarantined_release_is_not_loaded_from_the_cache_either(
    hosts: Hosts, found: Any
) -> None:
    world = hosts.world
    world.say_status(
        *(world.withheld(world.releases[f"{name}==1.0.0"]) for name in (MODEL, WORDS))
    )  # fmt: skip
    hosts.server.files = dict(world.files())
    lines = hosts.run(REFUSED).splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("Withheld ")
        assert "looks poisoned" in line
