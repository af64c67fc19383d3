"""Counts and times for Prometheus (text format 0.0.4), at ``/metrics``.

What happened in this server is counted as it happens; what is so (the size of the log, the age of
the timestamp) is read from the database when somebody asks. With several processes the counts lie
in files that all of them add up, which the library decides by an environment variable when it is
first imported: hence `prepare`, before anything forks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from ..db.models import Component, Organisation, Release
from ..services.log import log_size
from ..services.rolebook import current_row, head_version

if TYPE_CHECKING:
    from ..wiring import Registry

_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Publishing waits for disks and witnesses: the usual buckets end where it gets interesting.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


def prepare(folder: Path, workers: int) -> None:
    """Lets several worker processes count together, in ``folder``; what an earlier run left there
    is thrown away. Call it before the first `Metrics` is made."""
    os.environ.pop(_SHARED, None)
    if workers > 1:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.environ[_SHARED] = str(folder)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The counts of one application. ``route`` is the route's pattern, never the address: a
    stranger must not be able to make up labels."""

    requests: Any
    seconds: Any
    in_progress: Any
    refusals: Any
    registry: Any

    @classmethod
    def make(cls) -> Metrics:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        own = CollectorRegistry()
        return cls(
            requests=Counter(
                "forge_requests", "Answered requests.", ["method", "route", "status"], registry=own
            ),
            seconds=Histogram(
                "forge_request_seconds", "Time until the answer began.", ["route"],
                buckets=_BUCKETS, registry=own,
            ),
            in_progress=Gauge(
                "forge_requests_in_progress", "Requests being answered now.", registry=own,
                multiprocess_mode="livesum",
            ),
            refusals=Counter(
                "forge_refusals", "Refusals, by the code that the problem document bears.",
                ["code"], registry=own,
            ),
            registry=own,
        )  # fmt: skip

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one request."""
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def render(self, services: Registry) -> bytes:
        """Everything, as Prometheus reads it."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        counted = self.registry
        if _SHARED in os.environ:
            counted = CollectorRegistry()
            MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        state = CollectorRegistry()
        state.register(_State(services))
        return bytes(generate_latest(counted)) + bytes(generate_latest(state))


@dataclass(frozen=True, slots=True, eq=False)  # the library wants to hash it
class _State:
    """What is so at this moment."""

    services: Registry

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        services = self.services
        now = services.clock()
        with services.database.read() as session:
            values: dict[str, tuple[str, float | None]] = {
                "forge_log_entries": ("Leaves of the public log.", log_size(session)),
                "forge_snapshot_version": (
                    "The current snapshot's version.",
                    head_version(session, "snapshot"),
                ),
                "forge_organisations": (
                    "Approved organisations.",
                    session.scalar(
                        select(func.count())
                        .select_from(Organisation)
                        .where(Organisation.state == "approved")
                    ),
                ),
                "forge_components": (
                    "Components with a release.",
                    session.scalar(select(func.count()).select_from(Component)),
                ),
                "forge_releases": (
                    "Releases, yanked ones too.",
                    session.scalar(select(func.count()).select_from(Release)),
                ),
            }
            stamp = current_row(session, "timestamp")
        if stamp is not None:
            age = (now - stamp.created_at).total_seconds()
            values["forge_timestamp_age_seconds"] = (
                "Since the timestamp was signed; above 3,700 nobody re-signs, at 86,400 every "
                "client refuses.",
                age,
            )
        values["forge_read_only"] = (
            "1 while nothing can be signed.",
            float(services.publication.read_only is not None),
        )
        values["forge_unpublished"] = (
            "1 while something is recorded that the world does not see yet.",
            float(services.publication.is_behind()),
        )
        for name, (help_, value) in values.items():
            yield GaugeMetricFamily(name, help_, value=value or 0)

    def describe(self) -> list[Any]:
        """Nothing beforehand: the library would collect once only to learn the names."""
        return []
