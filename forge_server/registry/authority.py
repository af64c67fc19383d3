"""Who may do what, what is signed and published of it, and what is noted of it all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import RegistryError
from .given import Given, made_once

if TYPE_CHECKING:
    from ..services.accounts import Accounts
    from ..services.audit import Audit
    from ..services.device_logins import DeviceLogins
    from ..services.expiry import Expiry
    from ..services.health import Health
    from ..services.locks import Lock
    from ..services.organisations import Organisations
    from ..services.publication import Publication
    from ..services.roles import Roles
    from ..services.switch import Switch
    from ..services.throttle import Throttle
    from ..services.witnesses import Witnesses


class AuthorityServices(Given):
    @made_once
    def audit(self) -> Audit:
        from ..services.audit import Audit

        return Audit(self.database, self.clock)

    @made_once
    def accounts(self) -> Accounts:
        from ..services.accounts import Accounts

        return Accounts(self.database, self.audit, self.clock, os.urandom)

    @made_once
    def device_logins(self) -> DeviceLogins:
        from ..services.device_logins import DeviceLogins

        return DeviceLogins(self.database, self.audit, self.clock, self.accounts, os.urandom)

    @made_once
    def throttle(self) -> Throttle:
        from ..services.throttle import Throttle

        return Throttle(self.settings.max_failures_per_minute)

    @made_once
    def publication(self) -> Publication:
        from ..db.postgresql import PUBLISH_LOCK
        from ..services.log_files import LogFiles
        from ..services.publication import Publication

        return Publication(
            database=self.database,
            tree=self.tree,
            blobs=self.blobs,
            keys=self.keys,
            clock=self.clock,
            lock=exclusive_lock(self, "publish.lock", PUBLISH_LOCK),
            log=LogFiles(self.database, self.tree, self.clock, _witnesses(self).cosign),
            log_keys=self.log_keys,
            history=self.history,
        )

    @made_once
    def organisations(self) -> Organisations:
        from ..services.organisations import Organisations

        return Organisations(
            self.database,
            self.audit,
            self.publication,
            self.clock,
            self.settings.max_pending_applications,
        )

    @made_once
    def roles(self) -> Roles:
        from ..services.review_roles import ReviewRoles
        from ..services.roles import Roles

        return Roles(
            self.database,
            self.audit,
            self.publication,
            self.clock,
            ReviewRoles(self.audit, self.blobs),
        )

    @made_once
    def switch(self) -> Switch:
        from ..services.switch import Switch

        return Switch(self.database, self.audit, self.clock)

    @made_once
    def health(self) -> Health:
        from ..services.health import Health

        return Health(self.database, self.publication, self.clock)

    @made_once
    def expiry(self) -> Expiry:
        from ..services.expiry import Expiry

        return Expiry(self.database, self.audit, self.clock)


def exclusive_lock(given: Given, file: str, number: int) -> Lock:
    from ..services.locks import DatabaseLock, FolderLock

    if given.database.locking is None:
        return FolderLock(given.folder.locks / file)
    return DatabaseLock(given.database, number)


def _witnesses(given: Given) -> Witnesses:
    from signing.errors import MalformedError

    from ..services.witnesses import Witnesses, parse_witness

    settings = given.settings
    try:
        return Witnesses(
            given.database,
            [
                parse_witness(text, f"witnesses[{number}]")
                for number, text in enumerate(settings.witnesses)
            ],
            settings.witness_timeout_seconds,
        )
    except MalformedError as error:
        raise RegistryError(
            "settings-malformed", f"{given.folder.settings}: {error.message}", "correct the file"
        ) from None
