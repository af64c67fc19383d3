"""Work that waits for the disk or the network, several pieces of it at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

_AT_ONCE = 16

T = TypeVar("T")
R = TypeVar("R")


def several(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What ``work`` returns for each of ``items``, in their order.

    A file system makes many waiting fsyncs durable in one go: ten files then take hardly longer
    than two. When a piece fails, that is raised when all that had begun have ended, and of the
    others nobody knows how many were done.
    """
    from concurrent.futures import ThreadPoolExecutor  # heavy, and clients write no trees

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [pool.submit(work, each) for each in items]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what has not begun need not
            raise
