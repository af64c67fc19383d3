"""A status host that looks at a registry in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from server_fixtures import ORG, Client, World

from forge_server.services.log import hash_reader, log_size
from signing.digests import sha256_hex
from signing.names import ComponentName, parse_version
from signing.roles import role_version
from signing.status import LogSeen, SnapshotSeen, Status, Withheld
from signing.status_edits import sign_status
from signing.tlog.merkle import root_of
from signing.tlog.policy import policy_of


@dataclass
class Host:
    """An honest status host, looking at a registry in this process."""

    world: World
    client: Client

    def status(self, *withheld: Withheld, ahead: timedelta = timedelta()) -> Status:
        registry = self.world.registry
        policy = policy_of(registry.roles.current("targets"))
        assert policy is not None
        with registry.database.read() as session:
            size = log_size(session)
            root = root_of(size, hash_reader(session, size))
        snapshot = registry.roles.current("snapshot")
        return Status(
            at=(self.world.clock() + ahead).replace(microsecond=0),
            log=LogSeen(key=policy.keys[0], size=size, root=root),
            snapshot=SnapshotSeen(
                version=json.loads(snapshot)["signed"]["version"], sha256=sha256_hex(snapshot)
            ),
            withheld=withheld,
        )

    def sign(self, status: Status, version: int | None = None) -> bytes:
        current = self.world.current("status")
        number = version or (1 if current is None else role_version(current) + 1)
        return sign_status(status, number, [self.world.authority_key("status")])

    def send(self, data: bytes, **options: Any) -> Any:
        return self.client.post("/api/v1/roles", {"roles": {"status": data.decode()}}, **options)

    def say(self, *withheld: Withheld) -> Any:
        return self.send(self.sign(self.status(*withheld)), expect=200)

    def withheld(
        self,
        state: str = "quarantined",
        reason: str = "odd <b>",
        name: str = "my-model",
        version: str = "1.0.0",
    ) -> Withheld:
        shown = self.client.get(f"/api/v1/components/{ORG}/{name}")
        digests = {row["version"]: row["manifest_sha256"] for row in shown["versions"]}
        return Withheld(
            component=ComponentName.parse(f"{ORG}/{name}"),
            version=parse_version(version),
            manifest_sha256=digests[version],
            state=state,
            reason=reason,
            since=self.world.clock().replace(microsecond=0),
        )
