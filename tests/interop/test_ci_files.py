"""The ready steps for CI systems, run line by line against a real registry, and judged by the
schemas that the makers of these systems publish."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from live_registry import LiveRegistry

CI = Path(__file__).parents[2] / "examples" / "ci"
COMPONENT = "minds-lab/my-model"
_READ = "import json, sys, yaml; print(json.dumps(yaml.load(open(sys.argv[1]), yaml.BaseLoader)))"
_POSIX = ("sh", "-e")
_BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder of the judges. `make test` installs them and names it in the environment."""
    folder = os.environ.get("FORGE_JUDGE_INTERFACE")
    if folder is None or not (Path(folder) / "check-jsonschema").exists():
        if os.environ.get("CI"):
            pytest.fail("check-jsonschema is required in CI; run the tests through make test")
        pytest.skip("FORGE_JUDGE_INTERFACE names no folder with check-jsonschema; use make test")
    return Path(folder).absolute()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    """With my-model 1.0.0 published, and a key and a token as docs/howto/ci.md makes them."""
    with LiveRegistry(tmp_path_factory.mktemp("ci")) as live:
        live.register("minds-lab")
        live.forge("publish", str(live.new_component("minds-lab", "my-model")))
        live.forge("lock", COMPONENT, "--into", "app")
        (live.place / "passphrase").write_text("three small words")
        with (live.place / "passphrase").open() as passphrase:
            subprocess.run(
                ["forge", "key", "new", "ci", "--passphrase-fd", str(passphrase.fileno())],
                env=live.environment, cwd=live.place, check=True, capture_output=True,
                pass_fds=[passphrase.fileno()],
            )  # fmt: skip
        (live.place / "ci.pub").write_text(live.forge("key", "show", "ci", "--pem"))
        live.forge("org", "publisher", "add", COMPONENT, "--key", "ci.pub")
        live.ci_token = live.forge(  # type: ignore[attr-defined]
            "token", "create", "ci", "--component", COMPONENT, "-q"
        ).strip()
        yield live


@dataclass(frozen=True)
class Job:
    """The scripts of one job, each for a shell of its own, and what it sets beyond the project."""

    scripts: Sequence[str]
    shell: Sequence[str]
    variables: Mapping[str, str]


def secrets(live: LiveRegistry) -> dict[str, Path | str]:
    return {
        "token": live.ci_token,  # type: ignore[attr-defined]
        "key": live.place / "home" / "keys" / "ci.pem",
        "passphrase": live.place / "passphrase",
    }


def gitlab(programs: Path, live: LiveRegistry, project: Path) -> dict[str, Job]:
    document = _yaml(programs, CI / ".gitlab-ci.yml")
    before = document["default"]["before_script"]
    variables = {
        name: text.replace("$CI_PROJECT_DIR", str(project))
        for name, text in document["variables"].items()
    }
    kept = secrets(live)
    files = {
        "FORGE_TOKEN": str(kept["token"]),
        "SIGNING_KEY": str(kept["key"]),
        "SIGNING_PASSPHRASE": str(kept["passphrase"]),
    }
    return {
        name: Job(["\n".join([*before, *document[name]["script"]])], _POSIX, more)
        for name, more in (("verify", variables), ("publish", variables | files))
    }


def github(programs: Path, live: LiveRegistry, project: Path) -> dict[str, Job]:
    document = _yaml(programs, CI / "github-workflow.yml")
    kept = secrets(live)
    values = {
        "vars.FORGE_URL": live.url,
        "vars.FORGE_FINGERPRINT": live.fingerprint,
        "github.workspace": str(project),
        "secrets.FORGE_TOKEN": str(kept["token"]),
        "secrets.SIGNING_KEY": Path(kept["key"]).read_text().rstrip("\n"),
        "secrets.SIGNING_PASSPHRASE": Path(kept["passphrase"]).read_text(),
    }
    jobs = {}
    for name, job in document["jobs"].items():
        variables = {**document["env"], "RUNNER_TEMP": str(project.parent)}
        for step in job["steps"]:
            variables |= step.get("env", {})
        said = {
            key: re.sub(r"\$\{\{ (.*?) \}\}", lambda match: values[match[1]], text)
            for key, text in variables.items()
        }
        scripts = [step["run"] for step in job["steps"] if "run" in step]
        assert not any("${{" in script for script in scripts), "a shell would read it as text"
        jobs[name] = Job(scripts, _BASH, said)
    return jobs


def jenkins(_programs: Path, live: LiveRegistry, project: Path) -> dict[str, Job]:
    text = (CI / "Jenkinsfile").read_text()
    # In ''' a backslash before the end of a line joins it to the next one.
    scripts = [found.replace("\\\n", "") for found in re.findall(r"sh '''(.*?)'''", text, re.S)]
    cache = re.findall(r'(\w+) = "(\S+)"', text)
    variables = {name: value.replace("${WORKSPACE}", str(project)) for name, value in cache}
    kept = secrets(live)
    for variable in re.findall(r"variable: '(\w+)'", text):
        variables[variable] = {
            "FORGE_TOKEN": str(kept["token"]),
            "SIGNING_KEY": str(kept["key"]),
            "SIGNING_PASSPHRASE_FILE": str(kept["passphrase"]),
        }[variable]
    verify, publish = scripts
    return {
        "verify": Job([verify], ("sh", "-xe"), variables),
        "publish": Job([publish], ("sh", "-xe"), variables),
    }


SYSTEMS = {"gitlab": gitlab, "github": github, "jenkins": jenkins}


def _yaml(programs: Path, path: Path) -> Any:
    done = subprocess.run(
        [str(programs / "python"), "-c", _READ, str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def run(job: Job, live: LiveRegistry, project: Path) -> subprocess.CompletedProcess[str]:
    """The job as the system runs it: one shell after the other until one fails, an empty home."""
    environment = {
        "PATH": live.environment["PATH"],
        "HOME": str(project.parent),
        "FORGE_URL": live.url,
        "FORGE_FINGERPRINT": live.fingerprint,
        **job.variables,
    }
    done = None
    for script in job.scripts:
        done = subprocess.run(
            [*job.shell, "-c", script], env=environment, cwd=project, check=False,
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            break
    assert done is not None
    return done


def checkout(live: LiveRegistry, folder: Path, version: str) -> Path:
    """A project with the lock and the component at ``version``."""
    project = folder / "project"
    shutil.copytree(live.place / "app", project / "app")
    shutil.copytree(live.place / "my-model", project / "component")
    toml = project / "component" / "forge.toml"
    toml.write_text(
        re.sub(r"^version = .*", f'version = "{version}"', toml.read_text(), flags=re.M)
    )
    return project


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_build_verifies_and_a_tag_publishes(
    programs: Path, registry: LiveRegistry, tmp_path: Path, system: str
) -> None:
    version = f"1.{list(SYSTEMS).index(system) + 1}.0"
    project = checkout(registry, tmp_path, version)
    jobs = SYSTEMS[system](programs, registry, project)
    assert list(jobs) == ["verify", "publish"]

    verified = run(jobs["verify"], registry, project)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert json.loads((project / "forge.sarif").read_text())["version"] == "2.1.0"
    assert (project / ".cache" / "forge").is_dir(), "what the CI is told to keep"

    shutil.rmtree(project.parent / ".local")  # each job begins on a machine of its own
    published = run(jobs["publish"], registry, project)
    assert published.returncode == 0, published.stdout + published.stderr
    assert version in registry.forge("info", COMPONENT)
    words = "three small words"
    assert words not in published.stdout + published.stderr, "the log of a build is read by many"
    assert not list(project.parent.glob("forge.*")), "secrets are gone with the job"


def test_a_version_that_is_taken_ends_the_job(
    programs: Path, registry: LiveRegistry, tmp_path: Path
) -> None:
    project = checkout(registry, tmp_path, "1.0.0")
    (project / "component" / "more.txt").write_text("other content")
    published = run(gitlab(programs, registry, project)["publish"], registry, project)
    assert published.returncode == 6, published.stdout + published.stderr


def test_a_yanked_release_is_said_in_the_log(
    programs: Path, registry: LiveRegistry, tmp_path: Path
) -> None:
    project = checkout(registry, tmp_path, "9.0.0")
    registry.forge("yank", f"{COMPONENT}==1.0.0", "--reason", "broken")
    built = run(gitlab(programs, registry, project)["verify"], registry, project)
    assert built.returncode == 0, "a yank is said, and what is locked stays installable"
    assert "yanked" in built.stdout + built.stderr


@pytest.mark.parametrize(
    ("kind", "name"),
    [("vendor.gitlab-ci", ".gitlab-ci.yml"), ("vendor.github-workflows", "github-workflow.yml")],
)
def test_the_makers_schemas_accept_the_files(
    programs: Path, tmp_path: Path, kind: str, name: str
) -> None:
    def judge(path: Path) -> subprocess.CompletedProcess[str]:
        command = [str(programs / "check-jsonschema"), "--builtin-schema", kind]
        if kind == "vendor.gitlab-ci":
            command += ["--data-transform", "gitlab-ci"]
        return subprocess.run(
            [*command, str(path)], capture_output=True, text=True, check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )  # fmt: skip

    done = judge(CI / name)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / name
    wrong.write_text(
        (CI / name).read_text().replace("script:", "scripts:").replace("jobs:", "job:")
    )
    assert judge(wrong).returncode != 0, "the judge sees mistakes"


def test_no_file_names_a_secret_or_a_registry_of_packages() -> None:
    for path in (*CI.iterdir(), CI.parents[1] / "docs" / "howto" / "ci.md"):
        text = path.read_text()
        assert "forge_" not in text.replace("forge_components", ""), f"{path.name}: a token"
        assert "PRIVATE KEY" not in text
        assert not re.search(r"https?://(?!127\.0\.0\.1)", text), f"{path.name}: a foreign host"
