"""Checks of this machine and the registry, each with what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path

from signing.ages import ago
from signing.status import ROLE, summary

from ..context import Context
from ..errors import ForgeError, describe
from ..output import count_text, size_text

_MAX_SKEW_SECONDS = 300
_LOW_DISK = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: ``status`` is ``ok``, ``warning``, ``problem`` or ``skipped``."""

    title: str
    status: str
    detail: str
    hint: str | None = None
    exit_code: int = 0


def examine(context: Context) -> Iterator[Finding]:
    """Every finding in turn; a failing check never keeps the next ones from running."""
    broken: Callable[[Context], Finding] | None = None
    for check in (
        _modules,
        _keys,
        _credentials,
        _cache,
        _disk,
        _pin,
        _reach,
        _metadata,
        _status,
        _expiry,
        _account,
    ):
        if broken is not None and check in _NEEDS[broken]:
            # The same complaint once more would hide the one that is to be mended.
            yield Finding(
                title=_TITLES[check],
                status="skipped",
                detail=f"needs the check {_TITLES[broken]!r} first",
            )
            continue
        try:
            yield check(context)
        except Exception as error:
            failure = describe(error)
            if check in _NEEDS:
                broken = check
            yield Finding(
                title=_TITLES[check],
                status="problem",
                detail=failure.message,
                hint=failure.hint,
                exit_code=failure.exit_code,
            )


def _modules(context: Context) -> Finding:
    """Our packages have common names: another distribution could own them (ARCHITECTURE §4)."""
    title = _TITLES[_modules]
    owners = metadata.packages_distributions()
    ours = owners.get("forge_cli", [])
    for name in ("signing", "storage", "forge_cli"):
        module = sys.modules.get(name) or __import__(name)
        place = Path(str(module.__file__)).parent.parent
        here = Path(__file__).parent.parent.parent
        foreign = [owner for owner in set(owners.get(name, [])) if owner not in ours]
        if place != here or foreign:
            whose = ", ".join(foreign) or str(place)
            return Finding(
                title=title,
                status="problem",
                detail=f"module {name!r}: expected ours in {here}, found {whose}",
                hint="install forge in an environment of its own, for instance with pipx",
                exit_code=1,
            )
    return Finding(title=title, status="ok", detail="signing and storage are forge's own")


def _keys(context: Context) -> Finding:
    title = _TITLES[_keys]
    problems = context.keys.problems()
    if problems:
        return Finding(
            title=title,
            status="problem",
            detail="; ".join(problems),
            hint=f"chmod 700 {context.places.keys} && chmod 600 {context.places.keys}/*",
            exit_code=4,
        )
    keys = list(context.keys.all())
    plain = [key.name for key in keys if key.guarded_by == "no passphrase"]
    if plain:
        return Finding(
            title=title,
            status="warning",
            detail=f"not protected by a passphrase: {', '.join(plain)}",
            hint="whoever can read your files can sign as you; make a new key with a passphrase",
        )
    count = len(keys)
    detail = f"{count} in {context.places.keys}" if count else "none yet (forge key new)"
    return Finding(title=title, status="ok", detail=detail)


def _credentials(context: Context) -> Finding:
    title = _TITLES[_credentials]
    path = context.places.credentials
    if not path.exists():
        return Finding(title=title, status="ok", detail="no token is kept here")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return Finding(
            title=title,
            status="problem",
            detail=f"{path}: expected mode 0600, found {mode:04o}",
            hint=f"chmod 600 {path}, and replace the token: forge token create",
            exit_code=4,
        )
    return Finding(title=title, status="ok", detail=str(path))


def _cache(context: Context) -> Finding:
    title = _TITLES[_cache]
    context.cache.require_writable()
    root = context.places.cache
    usage = context.cache.usage()
    same = os.stat(root).st_dev == os.stat(Path.cwd()).st_dev
    how = (
        "the filesystem of this folder: installing shares bytes"
        if same
        else "another filesystem than this folder: installing copies"
    )
    return Finding(
        title=title,
        status="ok" if same else "warning",
        detail=f"{root} ({_filesystem(root)}), {size_text(usage.blob_bytes)} in "
        f"{usage.blobs} blobs; {how}",
        hint=None if same else "set XDG_CACHE_HOME to a folder on the filesystem of your projects",
    )


def _filesystem(path: Path) -> str:
    """The type of the filesystem that holds ``path``, from the mount table."""
    best, kind = "", "unknown filesystem"
    try:
        lines = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return kind
    for line in lines:
        fields = line.split(" ")
        mount = fields[1].replace("\\040", " ")
        inside = str(path).startswith(mount.rstrip("/") + "/") or mount == "/"
        if inside and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


def _disk(context: Context) -> Finding:
    title = _TITLES[_disk]
    root = context.places.cache
    free = shutil.disk_usage(root if root.exists() else Path.home()).free
    low = free < _LOW_DISK
    return Finding(
        title=title,
        status="warning" if low else "ok",
        detail=f"{size_text(free)} free for the cache",
        hint="forge cache prune" if low else None,
    )


def _pin(context: Context) -> Finding:
    pin = context.pin
    return Finding(title=_TITLES[_pin], status="ok", detail=f"{pin.url} {pin.fingerprint}")


def _reach(context: Context) -> Finding:
    title = _TITLES[_reach]
    url = context.pin.url
    before = datetime.now(UTC)
    with context.http.open("GET", f"{url}/tuf/timestamp.json") as response:
        date, status = response.headers.get("Date"), response.status
    if status != 200:
        raise ForgeError("network", f"{url}/tuf/timestamp.json: answer {status}")
    skew = 0.0
    if date is not None:
        skew = (parsedate_to_datetime(date) - before).total_seconds()
    if abs(skew) > _MAX_SKEW_SECONDS:
        return Finding(
            title=title,
            status="problem",
            detail=f"{url} answers, but its clock and ours differ by {abs(skew):.0f} seconds",
            hint="set this machine's clock: signed metadata has dates of expiry",
            exit_code=1,
        )
    return Finding(title=title, status="ok", detail=f"{url} answers; the clocks agree")


def _metadata(context: Context) -> Finding:
    context.view.refresh()
    count = len(context.view.organisations())
    return Finding(
        title=_TITLES[_metadata],
        status="ok",
        detail=f"verified from the pinned root; {count_text(count, 'organisation')} registered",
    )


def _status(context: Context) -> Finding:
    """How old the status host's word is, and how long it lasts."""
    title = _TITLES[_status]
    status = context.view.status
    if status is None:
        return Finding(title=title, status="ok", detail="the authority names no status host")
    expires = context.view.expiries()[ROLE]
    return Finding(
        title=title,
        status="ok",
        detail=f"it looked at the registry {ago(context.now - status.at)} ago; its word lasts "
        f"until {expires:%Y-%m-%d %H:%M} UTC; {summary(status.withheld)}",
    )


def _expiry(context: Context) -> Finding:
    """Of the authority's roles, and of what this person can sign."""
    from signing.renewal import expiring

    from .renew import advice, held_expiries

    expiries = context.view.expiries() | held_expiries(context, context.view)
    soon = expiring(expiries, context.now)
    return Finding(
        title=_TITLES[_expiry],
        status="warning" if soon else "ok",
        detail="; ".join(map(str, soon)) or "no role that concerns you expires within 60 days",
        hint="; ".join(dict.fromkeys(advice(item.role) for item in soon)) or None,
    )


def _account(context: Context) -> Finding:
    title = _TITLES[_account]
    if context.token is None:
        return Finding(
            title=title, status="skipped", detail="not logged in (reading needs no account)"
        )
    answer = context.api().get("whoami")
    return Finding(title=title, status="ok", detail=f"logged in as {answer.get('user')}")


_TITLES: dict[Callable[[Context], Finding], str] = {
    _modules: "modules",
    _keys: "keys",
    _credentials: "access token",
    _cache: "cache",
    _disk: "disk",
    _pin: "trust",
    _reach: "registry",
    _metadata: "metadata",
    _status: "status host",
    _expiry: "expiry",
    _account: "account",
}
# What cannot be looked at where one of these failed.
_NEEDS: dict[Callable[[Context], Finding], tuple[Callable[[Context], Finding], ...]] = {
    _pin: (_reach, _metadata, _status, _expiry, _account),
    _reach: (_metadata, _status, _expiry, _account),
    _metadata: (_status, _expiry),
}
