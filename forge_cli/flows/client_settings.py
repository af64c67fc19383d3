"""The settings with which clients written by others use a registry.

Files that a person may have written are never changed: what is there already is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import ForgeError, UsageError
from ..files import create_private


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``text`` of a file, at ``path`` below the home (``config`` for ``$XDG_CONFIG_HOME``); where
    there is no such file, ``text`` is for the start file of a shell."""

    text: str
    path: str | None


def settings_of(client: str, url: str, organisation: str | None) -> Settings:
    """What ``client`` needs to use the registry at ``url``; with an ``organisation``, its packages
    alone.

    Raises:
        UsageError: only Python's clients can be told to see one organisation.
    """
    if organisation is not None and client not in ("pip", "uv"):
        raise UsageError(f"--org: {client} cannot be told to see one organisation alone")
    return CLIENTS[client](url, organisation)


def write_settings(settings: Settings, client: str, home: Path, config: Path) -> Path:
    """Writes the file, unless it is there; says where.

    Raises:
        UsageError: ``client`` reads no file.
        ForgeError: there is one with other settings (``already-exists``).
    """
    if settings.path is None:
        raise UsageError(
            f"--write: {client} is told by its environment, not by a file",
            hint="add the line to the start file of your shell, or to the service's environment",
        )
    folder, _, rest = settings.path.partition("/")
    path = config / rest if folder == "config" else home / settings.path
    try:
        create_private(path, settings.text.encode())
    except FileExistsError:
        if path.read_text(encoding="utf-8", errors="replace") == settings.text:
            return path
        raise ForgeError(
            "already-exists",
            f"{path}: expected no file, found one with settings of yours",
            hint=f"add to it what this prints: forge config {client}",
        ) from None
    return path


def _index(url: str, organisation: str | None) -> str:
    return f"{url}/simple/" if organisation is None else f"{url}/simple/-/{organisation}/"


def _pip(url: str, organisation: str | None) -> Settings:
    text = f"[global]\nindex-url = {_index(url, organisation)}\n"
    return Settings(text=text, path="config/pip/pip.conf")


def _uv(url: str, organisation: str | None) -> Settings:
    text = (
        f'publish-url = "{url}/legacy/"\n\n'
        f'[[index]]\nname = "forge"\nurl = "{_index(url, organisation)}"\ndefault = true\n'
    )  # fmt: skip
    return Settings(text=text, path="config/uv/uv.toml")


def _twine(url: str, organisation: str | None) -> Settings:
    text = (
        "[distutils]\nindex-servers = forge\n\n"
        f"[forge]\nrepository = {url}/legacy/\nusername = __token__\n"
    )  # fmt: skip
    return Settings(text=text, path=".pypirc")


def _hf(url: str, organisation: str | None) -> Settings:
    return Settings(text=f"export HF_ENDPOINT={url}/hf\n", path=None)


def _mlflow(url: str, organisation: str | None) -> Settings:
    """For whatever reads ``forge://``: MLflow, fsspec, and `forge` itself."""
    return Settings(text=f"export FORGE_URL={url}\n", path=None)


def _docker(url: str, organisation: str | None) -> Settings:
    """For skopeo and whatever else reads containers-registries.conf(5)."""
    parts = urlsplit(url)
    insecure = "insecure = true\n" if parts.scheme == "http" else ""
    text = f'[[registry]]\nlocation = "{parts.netloc}"\n{insecure}'
    return Settings(text=text, path="config/containers/registries.conf.d/forge.conf")


CLIENTS: Mapping[str, Callable[[str, str | None], Settings]] = {
    "docker": _docker,
    "hf": _hf,
    "mlflow": _mlflow,
    "pip": _pip,
    "twine": _twine,
    "uv": _uv,
}
