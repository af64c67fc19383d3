"""Work that may outlast a request, such as hashing 70 GB.

A request starts it and waits a little. When it takes longer the request says so, the client asks
again, and the same work goes on meanwhile in a thread. Nothing is remembered beyond the process: if
it dies, the next question starts the work anew. So all such work must be safe to repeat.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for

_MAX_KEPT = 256


class SlowWork:
    """Runs each piece of work, named by a key, once at a time in this process."""

    def __init__(self, wait_seconds: float = 10.0) -> None:
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._running: dict[str, Future[None]] = {}

    def run(self, key: str, work: Callable[[], None]) -> bool:
        """Whether ``work`` is done; False means: ask again with the same key.

        Raises:
            Whatever ``work`` raised, once.
        """
        with self._lock:
            future = self._running.get(key)
            if future is None:
                future = self._running[key] = self._start(key, work)
        wait_for([future], timeout=self._wait_seconds)
        if not future.done():
            return False
        with self._lock:
            if self._running.get(key) is future:
                del self._running[key]
        future.result()
        return True

    def _start(self, key: str, work: Callable[[], None]) -> Future[None]:
        done = [name for name, future in self._running.items() if future.done()]
        for old in done[:-_MAX_KEPT]:
            del self._running[old]  # nobody asked what came of it
        future: Future[None] = Future()

        def run() -> None:
            try:
                work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)

        threading.Thread(target=run, name=f"slow {key[:40]}", daemon=True).start()
        return future
