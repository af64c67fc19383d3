"""Being here puts this folder on the import path: fixtures and builders are in the modules beside
this file, and a test module imports by name what it uses. Only what must exist once in a whole run
is named here: an imported fixture of session scope is made anew for each module."""

from __future__ import annotations

import gc
import signal
import socketserver

import pytest
from ceph_node import bucket, ceph
from hypothesis import HealthCheck, settings
from postgres import postgres_server

__all__ = ["bucket", "ceph", "postgres_server"]

_LONG_FIRST = ("faults", "e2e", "interop", "integration", "contract", "unit")


# Each application and engine is thousands of objects that refer to each other. To look through all
# of them for what nobody needs, as often as Python does, is a sixth of a test that publishes.
gc.set_threshold(20_000, 20, 20)

# A server of the tests writes an answer's head and its body apart. Over a connection that was used
# before, the body then waits 40 ms for the client's system to confirm the head: most of the time of
# whoever asked for many small files.
socketserver.StreamRequestHandler.disable_nagle_algorithm = True

# What a shell starts in the background ignores Ctrl-C, and so would all that is started from here.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that has other things to do is no fault of ours: an example may take as long as it does.
settings.register_profile(
    "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


@pytest.hookimpl(trylast=True)  # after tests with the same parameter were put together
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with few tests that take minutes come first: at the end, when one process has nothing
    left to do, the other has a short file."""
    items.sort(key=lambda item: _LONG_FIRST.index(item.path.parent.name))
