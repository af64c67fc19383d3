"""Signed metadata from the registry, verified by TUF's own client, and kept as exact bytes.

`tuf.ngclient.Updater` does the whole client workflow of the specification (§5): root chain,
expiry, rollback, thresholds, delegations. It leaves the files it has just verified in a folder;
`View` reads them there, under a lock, so that what becomes `Evidence` is byte for byte what was
signed. The pinned root is the only thing that is trusted beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tuf.ngclient import Updater, UpdaterConfig

from signing.assessment import Assessment
from signing.errors import VerificationError
from signing.evidence import Evidence
from signing.manifest import FILE as MANIFEST_FILE
from signing.names import ComponentName
from signing.oms import FILE as BUNDLE_FILE
from signing.publisher_keys import key_revoked
from signing.roles import (
    Delegation,
    IndexEntry,
    delegations_of,
    max_bytes_of,
    parse_root,
    parse_targets,
    releases_of,
    role_version,
    verify_role,
)
from signing.status import ROLE as STATUS
from signing.status import Status, Withheld
from signing.status_rules import missing
from signing.tlog.entries import role_entry
from signing.tlog.policy import Witnesses, policy_of
from signing.updates import check_shape

from ..border import sound
from ..cache import Cache
from ..errors import ForgeError
from ..files import locked
from .http import GZIP, Http, body_of, read_limited
from .log import LogView
from .metadata import Fetcher, fetch_target, not_served, tuf_said
from .reviews import Reviews
from .status import StatusView
from .status_memory import StatusMemory

# No organisation or project is called "-": such a path makes the Updater load a role without
# walking into any below it.
_NOBODY: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentState:
    """What is signed about one component. ``project`` is None before its first release."""

    component: ComponentName
    organisation: bytes
    project: bytes | None
    releases: dict[str, IndexEntry]
    log_proof: bytes | None
    delegation: Delegation | None
    organisation_delegation: Delegation


@dataclass(slots=True, kw_only=True)
class View:
    """One consistent, verified view of the registry. Refreshed once, on first use."""

    http: Http
    url: str
    fingerprint: str
    root: bytes
    state_dir: Path
    cache: Cache
    now: datetime
    witnesses: Witnesses | None = None
    requires_status: bool = True
    _status: Status | None = None
    _log: LogView | None = None
    _updater: Updater | None = None
    _snapshot: dict[str, Any] = field(default_factory=dict)
    _components: dict[ComponentName, ComponentState | None] = field(default_factory=dict)
    _roots: tuple[bytes, ...] = ()
    _top: dict[str, bytes] = field(default_factory=dict)

    def refresh(self) -> None:
        """Fetch and verify the top-level metadata and the registrar's role.

        Raises:
            VerificationError: ``expired``, ``rollback``, ``threshold-not-met``, …
            NetworkError: the registry could not be reached.
        """
        if self._updater is not None:
            return
        with self._guarded("the registry's metadata"):
            updater = Updater(
                str(self._metadata_dir),
                f"{self.url}/tuf/",
                fetcher=Fetcher(self.http),
                config=UpdaterConfig(prefix_targets_with_hash=True),
                bootstrap=self.root,
            )
            updater.refresh()
            self._snapshot = _snapshot_meta(self._read("snapshot"))
            self._top["targets"] = self._read("targets")
            updater.get_targetinfo(f"{_NOBODY}/{_NOBODY}/{_NOBODY}/{_NOBODY}")
            self._top["registrar"] = self._read("registrar")
            self._roots = self._read_roots()
            self._log = self._open_log()
            self._status = self._open_status(updater)
        self._updater = updater

    def _open_status(self, updater: Updater) -> Status | None:
        """What the status host says, checked against everything that the registry shows.

        Without `requires_status` nothing is looked at: for those who mend it.
        """
        view = self._status_view()
        if not view.is_named:
            view.memory.forget()
        if not view.is_named or not self.requires_status:
            return None
        if f"{STATUS}.json" not in self._snapshot:
            raise missing()
        try:
            with tuf_said(f"role {STATUS}"):
                updater.get_targetinfo(f"{STATUS}/{_NOBODY}")
        except VerificationError as error:
            if error.code == "expired":
                raise view.stale(self._snapshot[f"{STATUS}.json"]["version"]) from error
            raise
        self._top[STATUS] = self._read(STATUS)
        return view.check(self._top[STATUS])

    def _status_view(self) -> StatusView:
        return StatusView(
            roots=self._roots,
            targets=self._top["targets"],
            snapshot=self._read("snapshot"),
            log=self._log,
            memory=StatusMemory(self.state_dir),
            fetch=self._fetch_role,
            now=self.now,
        )

    @property
    def status(self) -> Status | None:
        """The last word of the status host, checked; None where the authority names no such host
        (and without `requires_status`)."""
        self.refresh()
        return self._status

    def _open_log(self) -> LogView | None:
        """The public log, continued from what was seen before, and holding this very snapshot: a
        view that was made for one victim would have to be shown to everybody."""
        with sound("the targets role"):
            policy = policy_of(self._top["targets"], self.witnesses)
        if policy is None:
            return None
        log = LogView(
            http=self.http, url=self.url, policy=policy, state=self.state_dir, now=self.now
        )
        log.refresh()
        announced = json.loads(self._read("timestamp"))["signed"]["meta"]["snapshot.json"]
        number = announced.get("log_index")
        snapshot = role_entry("snapshot", announced["version"], self._read("snapshot"))
        known = number if isinstance(number, int) and number >= 0 else None
        log.prove("snapshot", announced["version"], snapshot, known)
        return log

    @property
    def log(self) -> LogView | None:
        """The public log, checked; None where the authority names none."""
        self.refresh()
        return self._log

    @property
    def refreshed(self) -> bool:
        """Whether the registry was asked in this run."""
        return self._updater is not None

    @property
    def registrar(self) -> bytes:
        self.refresh()
        return self._top["registrar"]

    @property
    def targets(self) -> bytes:
        self.refresh()
        return self._top["targets"]

    @property
    def roots(self) -> tuple[bytes, ...]:
        """Every root from the pinned one to the newest."""
        self.refresh()
        return self._roots

    def organisations(self) -> dict[str, Delegation]:
        """``{name: Delegation}`` of every registered organisation."""
        with sound("the registrar's role"):
            return delegations_of(self.registrar, "registrar")

    def organisation_role(self, org: str) -> bytes | None:
        """The organisation's role as signed; None when it is not registered here."""
        self.refresh()
        if org not in self.organisations() or f"{org}.json" not in self._snapshot:
            return None
        if org not in self._top:
            self._load(f"{org}/{_NOBODY}/{_NOBODY}/{_NOBODY}", org)
            # TUF itself lets an organisation delegate names that are not its own.
            with sound(f"the role of {org}"):
                check_shape(org, parse_targets(self._top[org], org).signed)
        return self._top[org]

    def component(self, name: ComponentName) -> ComponentState | None:
        """What is signed about ``name``; None when its organisation is not registered."""
        if name not in self._components:
            self._components[name] = self._component(name)
        return self._components[name]

    def require(self, name: ComponentName) -> ComponentState:
        """`component`, raising ForgeError ``not-found`` when there is nothing released."""
        state = self.component(name)
        if state is None or not state.releases:
            what = "no such organisation" if state is None else "no such component"
            raise ForgeError(
                "not-found",
                f"{name}: {what} in {self.url}",
                hint=self.near(name) or f"look for it: forge search {name.name}",
            )
        return state

    def near(self, name: ComponentName) -> str | None:
        """What somebody may have meant who found nothing under ``name``, and whose that is."""
        from .near import near_component  # only where something went wrong already

        return near_component(self, name, (file.removesuffix(".json") for file in self._snapshot))

    def _component(self, name: ComponentName) -> ComponentState | None:
        organisation = self.organisation_role(name.org)
        if organisation is None:
            return None
        with sound(f"the role of {name.org}"):
            delegation = delegations_of(organisation, name.org).get(name.role)
        project = proof = None
        releases: dict[str, IndexEntry] = {}
        if delegation is not None and f"{name.role}.json" in self._snapshot:
            with _explained(name, delegation, lambda: self.stale_project(name)):
                self._load(name.target("0", MANIFEST_FILE), name.role)
            project = self._top[name.role]
            with sound(f"the role of {name}"):
                releases = releases_of(project, name)
            proof = self._proof(name.role, project)
        return ComponentState(
            component=name,
            organisation=organisation,
            project=project,
            releases=releases,
            log_proof=proof,
            delegation=delegation,
            organisation_delegation=self.organisations()[name.org],
        )

    def _proof(self, role: str, data: bytes) -> bytes | None:
        """That the public log holds these bytes of ``role``; None where there is no log."""
        if self._log is None:
            return None
        with self._guarded(f"the log's proof of {role}"):
            version = role_version(data, role)
            return self._log.prove(role, version, role_entry(role, version, data))

    def stale_project(self, name: ComponentName) -> bytes:
        """`stale_role` of a project."""
        return self.stale_role(name.role)

    def stale_role(self, role: str) -> bytes:
        """The role in the version that the snapshot lists, whoever signed it and expired or not:
        for those who are about to sign it anew, and to say whose signature it has."""
        self.refresh()
        meta = self._snapshot.get(f"{role}.json")
        if meta is None:
            raise ForgeError("not-found", f"{role}: nothing of that name in {self.url}")
        address = f"{self.url}/tuf/{meta['version']}.{role}.json"
        data = self._fetch_role(role, meta["version"])
        with sound(f"the role {role}"):
            found = parse_targets(data, role).signed.version
        if found != meta["version"]:
            raise VerificationError("rollback", address, f"version {meta['version']}", found)
        return data

    def _fetch_role(self, role: str, version: int) -> bytes:
        """The bytes that the registry gives for this version of a role; not looked at here."""
        address = f"{self.url}/tuf/{version}.{role}.json"
        with self.http.open("GET", address, headers=GZIP) as response:
            if response.status >= 400:
                raise not_served(address, response.status)
            return read_limited(body_of(response, address), max_bytes_of(role))

    def has_role(self, role: str) -> bool:
        """Whether the snapshot lists the role."""
        self.refresh()
        return f"{role}.json" in self._snapshot

    def expiries(self) -> dict[str, datetime]:
        """``{role: expiry}`` of the root and of every role that was looked at."""
        self.refresh()
        roles = {role: parse_targets(data, role).signed.expires for role, data in self._top.items()}
        return {"root": parse_root(self._roots[-1]).signed.expires, **roles}

    @property
    def reviewers(self) -> Reviews:
        """The reviewer bodies of this registry, and what they say."""
        return Reviews(self)

    def reviews(self, name: ComponentName, entry: IndexEntry) -> Assessment:
        """What reviewers decided about the release: its level now, and why."""
        return self.reviewers.assess(name, entry)

    def evidence(
        self, name: ComponentName, entry: IndexEntry, *, reviews: bool = False
    ) -> Evidence:
        """Everything that proves the release: roles from here, manifest and bundle fetched; with
        ``reviews`` what reviewer bodies say of it as well.

        Manifest and bundle come from the cache when it has them. Nothing is judged here beyond
        their digests: that is what `signing.verify` is for.
        """
        state = self.require(name)
        if state.project is None:
            raise AssertionError(f"{name} has releases but no role")
        version = str(entry.version)
        manifest = self.target(
            name.target(version, MANIFEST_FILE), entry.manifest_sha256, entry.manifest_size
        )
        bundle = self.target(
            name.target(version, BUNDLE_FILE), entry.bundle_sha256, entry.bundle_size
        )
        return Evidence(
            roots=self._roots,
            targets=self.targets,
            registrar=self.registrar,
            organisation=state.organisation,
            project=state.project,
            manifest=manifest,
            bundle=bundle,
            refreshed_at=self.now,
            log_proof=state.log_proof,
            status=self._top.get(STATUS),
            reviews=self.reviewers.words(name, version) if reviews else None,
        )

    def withheld(self, entry: IndexEntry) -> Withheld | None:
        """Whether the status host withholds this release."""
        return None if self.status is None else self.status.find(entry.manifest_sha256)

    def status_role(self) -> bytes | None:
        """The status role for those who sign the next one: checked like any, but it may have
        expired. None where the registry has none, and none was ever seen here.

        Raises:
            VerificationError: what is there was not signed by the keys that are named today, or
                contradicts what was seen.
        """
        self.refresh()
        if not self.has_role(STATUS):
            if StatusMemory(self.state_dir).role() is not None:
                raise missing()
            return None
        data = self.stale_role(STATUS)
        with sound(f"the role {STATUS}"):
            verify_role(self.targets, STATUS, data)
        with self._guarded(f"the role {STATUS}"):
            self._status_view().check(data)
        return data

    def require_true(self, status: Status) -> None:
        """`StatusView.require_true`: of a statement that was not published yet."""
        self.refresh()
        with self._guarded(f"the role {STATUS}"):
            self._status_view().require_true(status)

    def snapshot_seen(self) -> bytes:
        """The snapshot of this view, in its exact bytes."""
        self.refresh()
        return self._read("snapshot")

    def target(self, path: str, digest: str, size: int) -> bytes:
        """A small signed file, from the cache or the registry, up to its size and hashed."""
        data = self.cache.read(digest, size)
        if data is None:
            data = fetch_target(self.http, self.url, path, digest, size)
            self.cache.put(data)
        return data

    def load_role(self, path: str, role: str) -> bytes:
        """The role that ``path`` leads to, verified by TUF.

        Raises:
            VerificationError: it does not verify, or has expired.
        """
        if role not in self._top:
            self._load(path, role)
        return self._top[role]

    def _load(self, path: str, role: str) -> None:
        self.refresh()
        assert self._updater is not None
        with self._guarded(f"the role {role}"):
            self._updater.get_targetinfo(path)
            self._top[role] = self._read(role)

    @property
    def _metadata_dir(self) -> Path:
        return self.state_dir / "metadata"

    def _read(self, role: str) -> bytes:
        return (self._metadata_dir / f"{quote(role, '')}.json").read_bytes()

    def _read_roots(self) -> tuple[bytes, ...]:
        newest = json.loads(self._read("root"))["signed"]["version"]
        history = self._metadata_dir / "root_history"
        first = json.loads(self.root)["signed"]["version"]
        return tuple(
            (history / f"{version}.root.json").read_bytes() for version in range(first, newest + 1)
        )

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Alone in the metadata folder, with TUF's exceptions turned into ours."""
        self._metadata_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The Updater is not made for two processes in one folder: one at a time.
        with locked(self.state_dir / "lock"), tuf_said(what):
            yield


@contextmanager
def _explained(
    name: ComponentName, delegation: Delegation, role: Callable[[], bytes]
) -> Iterator[None]:
    """Says so when a project's role lacks signatures because its publishers were changed."""
    try:
        yield
    except VerificationError as error:
        former = delegation.former
        if error.code != "threshold-not-met" or not former.keys():
            raise
        with sound(f"the role of {name}"):
            signed = parse_targets(role(), name.role).signatures
        if (revocation := former.revocation_of(signed)) is not None:
            raise key_revoked(revocation, str(name)) from error
        error.hint = f"its publishers were changed; one of them runs: forge resign {name}"
        raise


def _snapshot_meta(data: bytes) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads(data)["signed"]["meta"]
    return meta
