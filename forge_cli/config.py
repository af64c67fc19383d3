"""Settings and the places where they, keys, trust and cache live.

XDG base directories by default; ``FORGE_HOME`` puts everything into one folder, for scripts and
tests. ``FORGE_URL`` chooses the registry and ``FORGE_TOKEN`` its access token, over the files.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import ForgeError, UsageError
from .files import read_private, write_private

SETTINGS: Final[Mapping[str, str]] = {
    "registry": "URL of the registry that commands talk to",
    "key": "name of the signing key that is used unless --key says otherwise",
    "parallel": "files or parts of files moved at the same time, at most (1 to 16)",
    "mirrors": "URLs that files are fetched from before the registry; they need no trust",
}
DEFAULT_PARALLEL: Final = 2
MOST_LANES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The folders of one person."""

    config: Path
    credentials: Path
    keys: Path
    trust: Path
    cache: Path
    receipts: Path
    folders: Path  # where something was installed, for `forge status`
    policies: Path  # what this person pinned for this machine
    kept_policies: Path
    system_policies: Path = Path("/etc/forge/policies.toml")  # what its administrator pinned

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Places:
        """`FORGE_HOME` for everything, else the XDG base directory specification."""
        if home := env.get("FORGE_HOME"):
            root = Path(home).expanduser().absolute()
            config, data, cache = root, root, root / "cache"
        else:
            config = config_home(env) / "forge"
            data = _xdg(env, "XDG_DATA_HOME", ".local/share") / "forge"
            cache = _xdg(env, "XDG_CACHE_HOME", ".cache") / "forge"
        return cls(
            config=config / "config.toml",
            credentials=config / "credentials.toml",
            keys=data / "keys",
            trust=data / "trust",
            cache=cache,
            receipts=data / "receipts",
            folders=data / "folders.json",
            policies=config / "policies.toml",
            kept_policies=data / "policies",
        )


def config_home(env: Mapping[str, str]) -> Path:
    """Where other programs look for their settings."""
    return _xdg(env, "XDG_CONFIG_HOME", ".config")


def _xdg(env: Mapping[str, str], name: str, default: str) -> Path:
    value = env.get(name, "")
    # The specification says that a relative path here is to be ignored.
    return (
        Path(value) if value.startswith("/") else Path(env.get("HOME", "~")).expanduser() / default
    )


def normalise_url(text: str) -> str:
    """``text`` as the URL under which a registry is remembered: no trailing slash.

    Raises UsageError when it is not a plain http(s) URL; user names in URLs are refused because
    they end up in logs.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{text!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"expected the URL of a registry, found {text!r}",
            hint=f"perhaps http://{text}"
            if re.fullmatch(r"[\w.-]+:\d+(/.*)?", text)
            else "it looks like https://forge.example",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f"a registry's URL is scheme, host, port and path only, found {parts.scheme}://… "
            "with more in it",
            hint="access tokens go to `forge login --token-file`, never into a URL",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    place = host if port in (None, default) else f"{host}:{port}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


@dataclass(slots=True, kw_only=True)
class Config:
    """The settings file; `set_value` writes it back whole."""

    path: Path
    values: dict[str, str]

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read ``path``; a missing file is an empty one. Raises ForgeError when it is broken."""
        return cls(path=path, values=read_strings(path, lists=("mirrors",)))

    def get(self, name: str) -> str | None:
        require_setting(name)
        return self.values.get(name)

    def set_value(self, name: str, value: str | None) -> None:
        """Set a setting, or with None take it out."""
        require_setting(name)
        if value is None:
            self.values.pop(name, None)
        else:
            self.values[name] = check_setting(name, value)
        write_private(self.path, dump_strings(self.values, lists=("mirrors",)), mode=0o644)

    @property
    def parallel(self) -> int:
        """How many uploads at a time."""
        return int(self.values.get("parallel", DEFAULT_PARALLEL))

    @property
    def lanes(self) -> int:
        """How many downloads at a time at most; fewer where more are not faster."""
        return int(self.values.get("parallel", MOST_LANES))

    @property
    def mirrors(self) -> tuple[str, ...]:
        return tuple(self.values.get("mirrors", "").split())


def require_setting(name: str) -> None:
    if name not in SETTINGS:
        raise UsageError(f"no setting {name!r}", hint="settings are: " + ", ".join(SETTINGS))


def check_setting(name: str, value: str) -> str:
    """``value`` as it is stored. Raises UsageError."""
    if name == "registry":
        return normalise_url(value)
    if name == "mirrors":
        return " ".join(normalise_url(url) for url in value.replace(",", " ").split())
    if name == "parallel" and not (value.isascii() and value.isdigit() and 1 <= int(value) <= 16):
        raise UsageError(f"parallel: expected a number from 1 to 16, found {value!r}")
    return value


@dataclass(slots=True, kw_only=True)
class Credentials:
    """Access tokens by registry URL, in a file that only its owner can read."""

    path: Path

    def get(self, url: str) -> str | None:
        return self._read().get(url)

    def put(self, url: str, token: str) -> None:
        write_private(self.path, dump_strings(self._read() | {url: token}))

    def remove(self, url: str) -> bool:
        """True when there was a token."""
        tokens = self._read()
        if tokens.pop(url, None) is None:
            return False
        write_private(self.path, dump_strings(tokens))
        return True

    def _read(self) -> dict[str, str]:
        return read_strings(self.path, private=True)


def read_strings(path: Path, *, private: bool = False, lists: Sequence[str] = ()) -> dict[str, str]:
    """The table in the file. A list of strings under a name in ``lists`` is joined by spaces."""
    try:
        data = read_private(path) if private else path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        table = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ForgeError("malformed", f"{path}: not valid TOML: {error}") from None
    for key, value in table.items():
        if key in lists and isinstance(value, list) and all(isinstance(v, str) for v in value):
            table[key] = check_setting(key, " ".join(value))
        elif not isinstance(value, str):
            raise ForgeError("malformed", f"{path}: {key}: expected text, found {value!r}")
    return table


def dump_strings(table: Mapping[str, str], *, lists: Sequence[str] = ()) -> bytes:
    import tomli_w

    values = {key: text.split() if key in lists else text for key, text in sorted(table.items())}
    return tomli_w.dumps(values).encode()


def environment_url() -> str | None:
    return os.environ.get("FORGE_URL") or None
