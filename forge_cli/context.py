"""What a command works with: settings, places, keys, cache and the chosen registry.

Everything is made on first use, so that a command pays for what it touches and for nothing else.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from .config import Config, Credentials, Places, normalise_url
from .errors import ForgeError, NetworkError
from .output import Output
from .passphrase import Passphrases
from .transfer import Transfer
from .truststore import Pin, TrustStore

if TYPE_CHECKING:
    from pathlib import Path

    from .cache import Cache
    from .keystore import KeyStore
    from .output import Progress
    from .remote.api import Api
    from .remote.blobs import Downloader
    from .remote.http import Http
    from .remote.pace import Pace
    from .remote.trust import View


@dataclass(kw_only=True)
class Context:
    """One run of one command. ``now`` is read once, so that all checks agree on the time."""

    out: Output
    places: Places
    registry_option: str | None = None
    passphrases: Passphrases = field(default_factory=Passphrases)
    transfer: Transfer = field(default_factory=Transfer)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    # False for the commands that mend an authority whose status host stands still.
    requires_status: bool = True
    # True: no request is made, to anybody; what would need one is refused.
    offline: bool = False
    # Of `flows.permission`, which alone makes them and knows what they are.
    gates: dict[Path | None, object] = field(default_factory=dict)

    @classmethod
    def create(
        cls, *, as_json: bool, quiet: bool, registry: str | None, passphrase_fd: int | None
    ) -> Context:
        """The context of this process."""
        return cls(
            out=Output.standard(as_json=as_json, quiet=quiet),
            places=Places.from_environment(os.environ),
            registry_option=registry,
            passphrases=Passphrases(fd=passphrase_fd),
        )

    def anew(self) -> Context:
        """The context of a later moment: nothing that was seen before is taken for granted."""
        return Context(
            out=self.out,
            places=self.places,
            registry_option=self.registry_option,
            passphrases=self.passphrases,
            transfer=self.transfer,
            requires_status=self.requires_status,
            offline=self.offline,
        )

    @cached_property
    def config(self) -> Config:
        return Config.load(self.places.config)

    @cached_property
    def credentials(self) -> Credentials:
        return Credentials(path=self.places.credentials)

    @cached_property
    def trust(self) -> TrustStore:
        return TrustStore(self.places.trust)

    @cached_property
    def keys(self) -> KeyStore:
        from .keystore import KeyStore

        return KeyStore(self.places.keys, self.passphrases)

    @cached_property
    def cache(self) -> Cache:
        from .cache import Cache

        return Cache(self.places.cache)

    @cached_property
    def http(self) -> Http:
        """Raises NetworkError: nobody is to be asked."""
        if self.offline:
            raise NetworkError(
                "this needs a request, and nobody is asked (offline)",
                hint="what was verified on this machine needs none; ask once with a network",
            )
        from .remote.http import Http

        return Http()

    @cached_property
    def url(self) -> str:
        """The registry: ``--registry``, ``FORGE_URL``, the setting, or the only trusted one."""
        chosen = (
            self.registry_option
            or os.environ.get("FORGE_URL")
            or self.config.values.get("registry")
        )
        if chosen:
            return normalise_url(chosen)
        pins = list(self.trust.pins())
        if len(pins) == 1:
            return pins[0]
        raise ForgeError(
            "no-registry",
            "no registry is chosen",
            hint="forge trust add URL --fingerprint sha256:…, or with an account: forge login URL",
        )

    def use(self, url: str) -> None:
        """Talk to another registry from here on."""
        self.registry_option = url
        for name in ("url", "pin", "token", "view"):
            self.__dict__.pop(name, None)

    @cached_property
    def pin(self) -> Pin:
        """The pinned root of the registry; without one nothing is sent to it or believed."""
        return self.trust.require(self.url)

    @cached_property
    def token(self) -> str | None:
        return os.environ.get("FORGE_TOKEN") or self.credentials.get(self.url)

    def api(self) -> Api:
        """The registry's API. The token goes only to a registry that is pinned."""
        from .remote.api import Api

        return Api(http=self.http, url=self.pin.url, token=self.token)

    def api_with_token(self) -> Api:
        """The API, for commands that need an account."""
        api = self.api()
        api.require_token()
        return api

    def fresh_view(self, pin: Pin | None = None) -> View:
        """A view of the signed metadata that has not been refreshed yet."""
        from .remote.trust import View

        pin = pin or self.pin
        self.http.mirrors[pin.url] = (*self.transfer.mirrors, *self.config.mirrors)
        return View(
            http=self.http,
            url=pin.url,
            fingerprint=pin.fingerprint,
            root=pin.root,
            state_dir=pin.state_dir,
            cache=self.cache,
            now=self.now,
            witnesses=self.trust.witnesses(pin.fingerprint),
            requires_status=self.requires_status,
        )

    @cached_property
    def view(self) -> View:
        return self.fresh_view()

    @property
    def asked_registry(self) -> bool:
        """Whether this run looked at the registry's metadata already."""
        return "view" in self.__dict__ and self.view.refreshed

    def sources(self, url: str) -> list[str]:
        """Mirrors of the command line, then of the settings, then the registry itself."""
        return list(dict.fromkeys([*self.transfer.mirrors, *self.config.mirrors, url]))

    def downloader(self, url: str, bar: Progress, pace: Pace) -> Downloader:
        """What fetches blobs of the registry ``url`` into the cache."""
        from .remote.blobs import Downloader

        return Downloader(
            http=self.http,
            urls=self.sources(url),
            cache=self.cache,
            parallel=self.config.lanes,
            progress=bar,
            pace=pace,
        )

    def ask(self, question: str) -> bool:
        """A yes or no from the person; False when there is no terminal to ask on."""
        if not self.interactive:
            return False
        self.out.stderr.write(f"{question} [y/N] ")
        self.out.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @property
    def interactive(self) -> bool:
        return sys.stdin.isatty() and sys.stderr.isatty() and not self.out.as_json
