"""Fetching files for whatever flow needs them: sources, pace, and what can be reused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from signing.errors import MalformedError
from signing.manifest import FileEntry, Manifest, parse_manifest
from signing.names import ComponentName

from ..cache import looks_verified
from ..context import Context
from ..errors import NetworkError, NotThereError
from ..files import write_private
from ..output import clean, count_text, size_text
from ..remote.wanted import Old, Wanted
from .installed import Record, Site

_LEAST_OLD_BYTES: Final = 1 << 20
_LEAST_MEASURED_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """How many bytes came over the network, and how many were here already."""

    received: int = 0
    reused: int = 0


def fetch(context: Context, url: str, wanted: Sequence[Wanted]) -> Fetched:
    """Every blob of ``wanted`` is in the cache afterwards. Raises as `Downloader.fetch`.

    Raises:
        NetworkError: nobody is to be asked; it names what is missing.
    """
    if not wanted:
        return Fetched()
    if context.offline:
        raise _missing(wanted)
    total = sum(want.size for want in wanted)
    pace = context.transfer.pace()
    pace.wait_for_window(context.out.say)
    begun = _begun(context, wanted)
    context.out.say(
        f"fetching {count_text(len(wanted), 'file')}, {size_text(total)}"
        + (f"; about {size_text(begun)} of it came before" if begun else "")
    )
    began = time.monotonic()
    with context.out.progress("fetching", total) as bar:
        fetcher = context.downloader(url, bar, pace)
        try:
            fetcher.fetch(wanted)
        except NotThereError:
            raise
        except NetworkError as error:
            if begun := _begun(context, wanted):
                error.also_again(
                    f"about {size_text(begun)} is kept: the same command again continues there"
                )
            raise
    done = Fetched(received=fetcher.received_bytes, reused=fetcher.reused_bytes)
    if done.reused:
        context.out.say(
            f"  {size_text(done.reused)} were here already, {size_text(done.received)} came"
        )
    _remember_speed(context, url, done.received, time.monotonic() - began)
    return done


def _begun(context: Context, wanted: Iterable[Wanted]) -> int:
    return sum(context.cache.begun_bytes(want.digest, want.size) for want in wanted)


def _missing(wanted: Sequence[Wanted]) -> NetworkError:
    first, total = wanted[0], size_text(sum(want.size for want in wanted))
    others = f", nor {count_text(len(wanted) - 1, 'other file')}" if len(wanted) > 1 else ""
    return NetworkError(
        f"{clean(first.label)}: not on this machine{others} ({total} in all), and nobody is asked "
        "(offline)",
        hint="run it once where there is a network; what comes is kept",
    )


def to_fetch(context: Context, url: str, wanted: Iterable[Wanted]) -> int:
    """About how many bytes of ``wanted`` would come over the network, given what can be reused.

    Chunk lists are fetched to find out; no file is, and offline nothing at all.
    """
    wanted = list(wanted)
    if context.offline or not wanted:
        return sum(_left(context, want, want.size) for want in wanted)
    from ..output import SilentProgress
    from ..remote.reuse import Reuse

    fetcher = context.downloader(url, SilentProgress(), context.transfer.pace())
    needed = 0
    for want in wanted:
        chunks = fetcher.chunk_list(want) if want.olds else None
        if chunks is None:
            needed += _left(context, want, want.size)
            continue
        reuse = Reuse(context.cache, want)
        new = sum(chunk.length for chunk in chunks if not reuse.covers(chunk))
        needed += _left(context, want, new)
    return needed


def _left(context: Context, want: Wanted, needed: int) -> int:
    """``needed`` bytes of the file without those that an interrupted run brought."""
    return max(0, needed - context.cache.begun_bytes(want.digest, want.size))


def olds(context: Context, site: Site | None, name: ComponentName) -> list[tuple[str, Old]]:
    """Files of other releases of ``name`` on this disk, with their paths in those."""
    found: dict[str, tuple[str, Old]] = {}
    for manifest, record in _known(context, site, name):
        for entry in manifest.files:
            if entry.size < _LEAST_OLD_BYTES or entry.sha256 in found:
                continue
            path = context.cache.path(entry.sha256)
            if record is not None and site is not None:
                path = site.tree(name) / entry.path
            if path.is_file():
                old = Old(
                    path=path,
                    size=entry.size,
                    chunks=entry.chunks,
                    untouched=looks_verified(path.stat()),
                )
                found[entry.sha256] = (entry.path, old)
    return list(found.values())


def _known(
    context: Context, site: Site | None, name: ComponentName
) -> Iterator[tuple[Manifest, Record | None]]:
    record = site.record(name) if site is not None else None
    if record is not None:
        with suppress(MalformedError):
            yield record.manifest(), record
    for data in context.cache.all_evidence():
        with suppress(ValueError, KeyError, TypeError, AttributeError, MalformedError):
            value = json.loads(data)
            if value["component"] == str(name):
                yield parse_manifest(json.loads(value["evidence"])["manifest"].encode()), None


def wanted_for(entry: FileEntry, label: str, others: Sequence[tuple[str, Old]] = ()) -> Wanted:
    """What to fetch for ``entry``; of ``others`` the one with its path comes first."""
    suffix = entry.path.rpartition(".")[2]
    near = sorted(
        (pair for pair in others if pair[0] == entry.path or pair[0].endswith(f".{suffix}")),
        key=lambda pair: pair[0] != entry.path,
    )
    return Wanted(
        digest=entry.sha256,
        size=entry.size,
        label=label,
        chunks=entry.chunks,
        olds=tuple(old for _, old in near) if entry.chunks is not None else (),
    )


def measured_speed(context: Context, url: str) -> float | None:
    """Bytes a second of the last download from ``url``; None when there was none."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        value = json.loads((context.cache.root / "speeds.json").read_bytes()).get(url)
        return float(value) if value else None
    return None


def _remember_speed(context: Context, url: str, count: int, seconds: float) -> None:
    if count < _LEAST_MEASURED_BYTES or seconds <= 0:
        return
    path = context.cache.root / "speeds.json"
    with suppress(OSError, ValueError, TypeError):
        known = json.loads(path.read_bytes()) if path.exists() else {}
        value = json.dumps(known | {url: round(count / seconds)}).encode()
        write_private(path, value)
