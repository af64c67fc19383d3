"""Threads that work together: the first failure stops all, and so does Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):  # not an error: somebody pressed Ctrl-C, or another thread failed
    """The transfer was asked to stop between two blocks."""


class Crew:
    """Runs the same job over many items, ``parallel`` at a time; the first failure stops all.

    Ctrl-C reaches the main thread only: it sets ``stop``, the workers leave between two blocks,
    and what they have written so far stays for the next run.
    """

    def __init__(self, parallel: int) -> None:
        self.stop = threading.Event()
        self.parallel = parallel

    def run(self, job: Callable[[T], None], items: Iterable[T]) -> None:
        pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="forge")
        futures: list[Future[None]] = []
        try:
            futures += [pool.submit(job, item) for item in items]
            wait(futures, return_when=FIRST_EXCEPTION)
        except KeyboardInterrupt:
            # A worker may hang on a silent connection: the person does not wait for it, and
            # nothing it does after this can become visible.
            self.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        failed = any(future.done() and future.exception() for future in futures)
        if failed:
            self.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        failures = [future.exception() for future in futures if not future.cancelled()]
        for error in sorted((e for e in failures if e), key=lambda e: isinstance(e, Stopped)):
            raise error

    def sleep(self, seconds: float) -> None:
        """A pause that ends early, with `Stopped`, when the crew is told to stop."""
        if self.stop.wait(seconds):
            raise Stopped
