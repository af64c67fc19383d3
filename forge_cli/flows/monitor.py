"""Watching the public log for one organisation: was anything done in its name that it did not do?

The organisation says which keys are its own; the log says what was signed for it. Every version of
its roles is fetched and must be signed by those keys, every version of the registrar's role must
name those keys for it, and, where it keeps a list of what it released, nothing else may be in
its name. The state kept between two runs continues the audit, so no leaf is looked at by luck.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signing.digests import sha256_hex
from signing.encoding import Fields, canonical_json, parse_json
from signing.errors import MalformedError, SigningError
from signing.keys import PublicKey
from signing.names import ComponentName
from signing.roles import MAX_ROLE_BYTES, delegations_of, parse_targets, releases_of, verify_role
from signing.tlog.audit import Auditor, concerns
from signing.tlog.entries import ROLE, Entry

from ..context import Context
from ..errors import NetworkError
from ..files import write_private
from ..output import Progress
from ..remote.http import read_limited
from ..remote.log import LogView
from .log import require_log, walk

_SCHEMA = "forge-monitor-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something in the log that the organisation did not sign off."""

    number: int
    subject: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Watch:
    """One run for ``org``. ``keys`` are its own; ``releases`` maps each release that it signed
    off (``org/name==version``) to its manifest's digest, None where it keeps no list."""

    context: Context
    org: str
    keys: Sequence[PublicKey]
    releases: Mapping[str, str] | None
    alarms: list[Alarm] = field(default_factory=list)
    seen: list[tuple[int, Entry]] = field(default_factory=list)
    _organisation: bytes | None = None  # the newest role of the organisation that it signed

    def run(self, state: Path, progress: Progress) -> LogView:
        """Goes through what is new since the last run, and keeps where it ended."""
        log = require_log(self.context)
        auditor = self._resume(state, log)
        for number, entry in walk(log, auditor, progress):
            self._look(number, entry)
        self.alarms += [Alarm(number=-1, subject="log", reason=each) for each in auditor.problems]
        if not self.alarms:  # an alarm is raised again until somebody has dealt with it
            self._keep(state, auditor, log)
        return log

    def _resume(self, state: Path, log: LogView) -> Auditor:
        try:
            data = state.read_bytes()
        except FileNotFoundError:
            return Auditor()
        fields = Fields.of(parse_json(data, state.name), state.name)
        fields.only(("schema", "origin", "org", "audit", "organisation"))
        fields.literal("schema", _SCHEMA)
        fields.literal("origin", log.checkpoint.origin)
        fields.literal("org", self.org)
        role = fields.text("organisation", max_chars=MAX_ROLE_BYTES)
        self._organisation = role.encode() or None
        return Auditor.from_bytes(fields.text("audit", max_chars=1 << 26).encode(), state.name)

    def _keep(self, state: Path, auditor: Auditor, log: LogView) -> None:
        value = {
            "schema": _SCHEMA,
            "origin": log.checkpoint.origin,
            "org": self.org,
            "audit": auditor.to_bytes().decode(),
            "organisation": (self._organisation or b"").decode(),
        }
        write_private(state, canonical_json(value))

    def _look(self, number: int, entry: Entry) -> None:
        if entry.act == ROLE and entry.subject == "registrar":
            self._judge(number, entry, self._registrar)
        elif concerns(entry, self.org):
            self.seen.append((number, entry))
            if entry.act == ROLE:
                own = self._own_role if entry.subject == self.org else self._project
                self._judge(number, entry, own)

    def _judge(self, number: int, entry: Entry, judge: Any) -> None:
        try:
            data = self._fetch(entry)
            reason = judge(entry, data)
        except SigningError as error:
            reason = error.message
        except NetworkError as error:
            reason = f"the registry does not show what it logged: {error}"
        if reason is not None:
            self.alarms.append(Alarm(number=number, subject=entry.subject, reason=reason))

    def _fetch(self, entry: Entry) -> bytes:
        """The role's bytes, which must be the ones that the leaf stands for."""
        address = f"{self.context.pin.url}/tuf/{entry.version}.{entry.subject}.json"
        with self.context.http.open("GET", address) as response:
            if response.status != 200:
                raise NetworkError(f"{address}: {response.status}")
            data = read_limited(response, MAX_ROLE_BYTES)
        if (found := sha256_hex(data)) != entry.sha256:
            raise MalformedError(address, f"sha256 {entry.sha256}, as logged", found)
        return data

    def _registrar(self, entry: Entry, data: bytes) -> str | None:
        delegation = delegations_of(data, "registrar").get(self.org)
        if delegation is None:
            return None
        strangers = [key.keyid[:12] for key in delegation.keys if key not in self.keys]
        if strangers:
            return f"the registrar names keys for {self.org} that are not yours: " + ", ".join(
                strangers
            )
        return None

    def _own_role(self, entry: Entry, data: bytes) -> str | None:
        if not self._signed_by_us(data):
            return f"no key of yours signed version {entry.version} of {self.org}'s role"
        self._organisation = data
        return None

    def _signed_by_us(self, data: bytes) -> bool:
        metadata = parse_targets(data, self.org)
        for key in self.keys:
            signature = metadata.signatures.get(key.keyid)
            if signature is not None:
                try:
                    key.tuf.verify_signature(signature, metadata.signed_bytes)
                except Exception:  # noqa: S112  the library raises several kinds
                    continue
                return True
        return False

    def _project(self, entry: Entry, data: bytes) -> str | None:
        if self._organisation is None:
            return f"{entry.subject} was published before any role of {self.org} that you signed"
        verify_role(self._organisation, entry.subject, data)
        if self.releases is None:
            return None
        component = ComponentName.from_role(entry.subject)
        for version, listed in releases_of(data, component).items():
            name = f"{component}=={version}"
            if self.releases.get(name) != listed.manifest_sha256:
                return f"{name} with manifest {listed.manifest_sha256} is not on your list"
        return None

    def evidence(self, log: LogView) -> bytes:
        """What was found, with the signed checkpoint under which it stands in the log."""
        return (
            json.dumps(
                {
                    "schema": "forge-monitor-alarm-1",
                    "registry": self.context.pin.url,
                    "organisation": self.org,
                    "checkpoint": log.signed.raw.decode(),
                    "alarms": [
                        {"leaf": each.number, "subject": each.subject, "reason": each.reason}
                        for each in self.alarms
                    ],
                },
                indent=1,
                ensure_ascii=False,
            )
            + "\n"
        ).encode()


def read_releases(path: Path) -> dict[str, str]:
    """A list of what was released: a line ``org/name==version sha256`` each; ``#`` begins a
    comment."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2:
            raise MalformedError(f"{path.name}: line {number}", "org/name==version sha256", line)
        found[words[0]] = words[1]
    return found
