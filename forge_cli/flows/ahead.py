"""Files that travel while others are still hashed.

The registry takes files before it is offered their release, and shows nothing of them. So the large
ones are sent as each is hashed, if everything that can be refused without their digests was asked
first: whether the version is free, the keys are at hand and open, the right and the room are there.
What goes wrong here is no failure: the registry says with its answer to the offer what it still
lacks, and that is sent, or refused, as if nothing had been sent before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from signing.errors import SigningError
from signing.manifest import FileEntry
from signing.names import ComponentName

from ..chunking import MIN_FILE_BYTES
from ..context import Context
from ..errors import ForgeError, RemoteError
from ..output import Output, Progress, SilentProgress, count_text, size_text
from ..remote.api import Api
from ..remote.crew import Stopped
from ..remote.trust import ComponentState
from ..remote.upload import Outgoing, Uploader
from .delta import Published
from .pack import Surveyed, list_of
from .signers import Opened, held, own_key, publisher_keys

_LEAST_BYTES: Final = 8 << 20  # of large files: below, asking takes as long as sending


class Moved:
    """Progress that is shown by whichever bar there is at the moment."""

    def __init__(self) -> None:
        self.bar: Progress = SilentProgress()
        self.bytes = 0
        self._lock = threading.Lock()

    def advance(self, size: int) -> None:
        with self._lock:
            self.bytes += size
        self.bar.advance(size)


def file_to_send(
    entry: FileEntry, source: Path, kept: Path | bytes | None, published: Published
) -> Outgoing:
    """``kept`` is the file's chunk list, if it has one."""
    return Outgoing(
        digest=entry.sha256,
        size=entry.size,
        source=source,
        label=entry.path,
        chunks=entry.chunks,
        own=lambda: None if kept is None else list_of(entry, kept),
        olds=(lambda: published.like(entry)) if published.has_like(entry) else None,
    )


def list_to_send(digest: str, kept: Path | bytes) -> Outgoing:
    """A chunk list."""
    size = len(kept) if isinstance(kept, bytes) else kept.stat().st_size
    return Outgoing(digest=digest, size=size, source=kept, label=f"chunk list {digest}")


class Sending:
    """What sends the files of one release, before it is offered and after."""

    def __init__(self, context: Context, api: Api, name: ComponentName) -> None:
        self.context = context
        self.api = api
        self.moved = Moved()
        self.pace = context.transfer.pace()
        self.uploader = Uploader(
            api=api,
            component=str(name),
            parallel=context.config.parallel,
            progress=self.moved,
            pace=self.pace,
        )

    @contextmanager
    def shown(self, out: Output, total: int) -> Iterator[None]:
        """While the block runs, a bar shows what moves of ``total`` bytes."""
        with out.progress("sending", total) as bar:
            self.moved.bar = bar
            try:
                yield
            finally:
                self.moved.bar = SilentProgress()


def begin(sending: Sending, surveyed: Surveyed, keys: Opened, key: str | None) -> Ahead | None:
    """What files can go to as soon as they are hashed; None where nothing may go, or is worth it,
    before all of them are.

    Raises:
        RemoteError: the registry would refuse the release, whatever is in the files.
        NetworkError: it cannot be reached.
        ForgeError, SigningError: there is no key to sign with, or it cannot be opened.
    """
    context, spec = sending.context, surveyed.spec
    sizes = (file.info.st_size for file in surveyed.found)
    if sum(size for size in sizes if size >= MIN_FILE_BYTES) < _LEAST_BYTES:
        return None
    if sending.pace.window is not None:  # it may open much later, or close
        return None
    state = context.view.component(spec.component)
    if state is None or str(spec.version) in state.releases:
        return None
    if not _open_keys(context, state, keys, key) or not _has_room(sending.api, surveyed):
        return None
    published = Published(context, context.view, spec.component)
    return Ahead(sending, published, context.config.parallel)


def _open_keys(context: Context, state: ComponentState, keys: Opened, key: str | None) -> bool:
    """Asks for passphrases before anything travels; False where others must sign too."""
    if state.delegation is not None:
        keys.of(publisher_keys(context, state.delegation, key))
        return True
    needed = state.organisation_delegation
    stored = held(context, needed)[: needed.threshold]
    keys.of([own_key(context, key), *stored])
    return len(stored) == needed.threshold


def _has_room(api: Api, surveyed: Surveyed) -> bool:
    """Whether the registry takes these files before it is offered their release."""
    query = {"component": str(surveyed.spec.component), "size": surveyed.total_size}
    try:
        api.get("room", query=query)
    except RemoteError as error:
        if error.status in (404, 405):  # an older registry, or the offer says it better
            return False
        raise
    return True


class Ahead:
    """Sends files, by threads of its own, from when it is `told` of them until it is `closed`."""

    def __init__(self, sending: Sending, published: Published, threads: int) -> None:
        self.sent: set[str] = set()  # files and chunk lists
        self._sending = sending
        self._uploader = sending.uploader
        self._published = published
        self._waiting: deque[tuple[FileEntry, Path, Path | bytes]] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._begun_bytes = 0  # of files that a thread has taken up
        self._threads = [
            threading.Thread(target=self._run, name=f"ahead-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def told(self, entry: FileEntry, source: Path, kept: Path | bytes) -> None:
        """The file was hashed and may go."""
        with self._changed:
            self._waiting.append((entry, source, kept))
            self._changed.notify()

    def close(self) -> None:
        """All are hashed. What goes in one request is still sent, while the registry is asked what
        it lacks; parts are left to those who will send several at once."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def finish(self, out: Output) -> None:
        """Waits for the files that are on their way."""
        self.close()
        if not any(thread.is_alive() for thread in self._threads):
            return
        waiting = sum(entry.size for entry, _, _ in list(self._waiting))
        left = max(0, waiting + self._begun_bytes - self._sending.moved.bytes)
        with self._sending.shown(out, left):
            for thread in self._threads:
                thread.join()
        if self.sent:
            sent = self._uploader.sent_bytes
            out.say(f"sent {count_text(len(self.sent), 'file')}, {size_text(sent)}, meanwhile")

    def stop(self) -> None:
        """Leaves everything where it is."""
        self._uploader.stop()
        with self._changed:
            self._waiting.clear()
        self.close()

    def _run(self) -> None:
        # Whatever is wrong, the offer will tell.
        with suppress(ForgeError, SigningError, OSError, Stopped):
            while (one := self._next()) is not None:
                self._send(*one)

    def _next(self) -> tuple[FileEntry, Path, Path | bytes] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            return self._waiting.popleft() if self._waiting else None

    def _send(self, entry: FileEntry, source: Path, kept: Path | bytes) -> None:
        assert entry.chunks is not None
        chunks = list_to_send(entry.chunks, kept)
        file = file_to_send(entry, source, kept, self._published)
        begun = file.size + chunks.size
        with self._changed:
            self._begun_bytes += begun
        sent = False
        try:
            sent = self._uploader.send_ahead(file, chunks, lambda: self._open)
        finally:
            with self._changed:
                if sent:
                    self.sent |= {file.digest, chunks.digest}
                else:
                    self._begun_bytes -= begun
