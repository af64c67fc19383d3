"""`Registry`: what a program does with the releases of one registry, as the commands do it.

Nothing is printed, no signal or logger is touched, and nothing heavy is imported before it is
needed. What the commands would warn of is in ``remarks``, or a `ReleaseWarning` where the answer is
a file or a path.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .errors import Invalid, NotPermitted, VerificationFailed, error_of, refuses
from .results import Check, File, Installation, InstalledComponent, Release, Verification

if TYPE_CHECKING:
    from signing.names import Requirement

    from ..context import Context
    from ..flows.reading import Chosen
    from ..flows.verify import Verified

FRESH_SECONDS = 60.0


class ReleaseWarning(UserWarning):
    """A release that is used is yanked or deprecated by its publisher."""


class Registry:
    """The registry at ``url``, or the one that `forge` would choose (``FORGE_URL``, the setting,
    the only trusted one). Its root must be pinned on this machine: ``forge trust add``.

    What is signed is asked for again when it is older than ``fresh_seconds``; until then a release
    that is quarantined meanwhile is still read. ``mirrors`` are asked for files first and need no
    trust. With ``offline`` nobody is asked for anything: there is what was verified on this machine
    before, verified once more, and what was withheld then is still refused; anything else is
    `Unreachable`. One object may be used by many threads.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        mirrors: Iterable[str] = (),
        fresh_seconds: float = FRESH_SECONDS,
        offline: bool = False,
    ) -> None:
        self._url = url
        self._mirrors = tuple(mirrors)
        self._fresh_seconds = fresh_seconds
        self._offline = offline
        self._lock = threading.RLock()
        self._session: _Session | None = None

    def __repr__(self) -> str:
        return f"Registry({self._url!r})"

    @refuses
    def release(self, reference: str) -> Release:
        """The release that ``reference`` names (``org/name``, ``org/name@1.2.0``,
        ``org/name>=1,<2``), with all signatures verified; of its files only forge.toml is fetched.

        Raises:
            Withheld, NotPermitted, NotFound, Conflict, VerificationFailed, NotTrusted, Unreachable:
                as `forge install` would refuse it.
        """
        return self._choose(reference)[2]

    @refuses
    def open(self, reference: str, path: str) -> BinaryIO:
        """The file ``path`` of a release, opened for reading (binary, seekable): fetched and
        verified to its last byte before this returns, unless it was before and nobody touched it
        since.

        Raises:
            NotFound: no such file in the release; otherwise as `release`.
        """
        from ..flows.reading import open_file

        context, chosen, release = self._choose(reference)
        _warn(release)
        return open_file(context, chosen, chosen.entry(path))

    @refuses
    def path(self, reference: str, path: str = "") -> Path:
        """Where a file or folder of a release lies on this disk, or the whole release: every file
        in it fetched and verified. It is read-only, in the cache, and there until the cache is
        pruned; `install` is for what is to stay.

        Raises:
            NotFound: no such file or folder in the release; otherwise as `release`.
        """
        from ..flows.reading import place

        context, chosen, release = self._choose(reference)
        _warn(release)
        return place(context, chosen, path)

    @refuses
    def verify(
        self, target: str | PathLike[str], *, online: bool = False, download: bool = True
    ) -> Verification:
        """Every check of `forge verify`, none of which failed.

        A string names a release in the registry, with its files unless ``download`` is false; a
        path (`pathlib.Path`) an installed or exported folder, which needs no network unless
        ``online``.

        Raises:
            VerificationFailed: a check failed; ``checks`` says which, and what the others found.
            Withheld, NotPermitted: all that is wrong with it.
        """
        from ..flows import verify as flow

        context = self._new_context()
        if isinstance(target, str):
            if os.path.isdir(target) and target.count("/") != 1:
                raise Invalid(
                    f"{target}: expected organisation/name, found a folder",
                    code="usage",
                    hint="a folder is given as pathlib.Path(…)",
                )
            done = flow.verify_registry(context, _parsed(target), download=download)
        else:
            folder = Path(target)
            exported = (folder / "evidence.json").is_file() and (folder / "files").is_dir()
            check = flow.verify_exported if exported else flow.verify_installed
            done = check(context, folder, online=online, fingerprint=None)
        return _verification(done, _said(context))

    @refuses
    def install(
        self,
        *requirements: str,
        into: str | PathLike[str],
        locked: bool = False,
        upgrade: bool = False,
        force: bool = False,
        hf_cache: bool = False,
    ) -> Installation:
        """`forge install --no-pip`: the components and what they require, in ``into``, with its
        forge.lock. Without requirements what the lock names. When all is there no request is made.

        With ``hf_cache`` models and datasets are put into the Hugging Face cache as well.

        Raises:
            Conflict: no versions satisfy everything; otherwise as `release`.
        """
        from ..flows.install import install
        from ..flows.inventory import tell

        context = self._new_context()
        wanted = [_parsed(text) for text in requirements]
        done = install(
            context, wanted, Path(into), locked_only=locked, upgrade=upgrade, force=force
        )
        snapshots: dict[str, Path] = {}
        if hf_cache:
            from ..flows.hf_cache import fill_hf_cache

            snapshots = {one.component: one.path for one in fill_hf_cache(context, done)}
        tell(context, done.site.into, done.lock.components)
        built = {build.locked.component for build in done.plan.build}
        return Installation(
            into=done.site.into.absolute(),
            components=tuple(
                InstalledComponent(
                    component=str(one.component),
                    version=str(one.version),
                    kind=one.kind,
                    manifest_sha256=one.manifest_sha256,
                    path=done.site.tree(one.component).absolute(),
                    changed=one.component in built,
                    hf_snapshot=snapshots.get(str(one.component)),
                )
                for one in done.lock.components
            ),
            removed=tuple(str(name) for name in done.plan.remove),
            fetched_bytes=done.fetched.received,
            remarks=tuple(_said(context)),
        )

    def _new_context(self) -> Context:
        from ..config import Places
        from ..context import Context
        from ..output import Collected
        from ..transfer import Transfer

        return Context(
            out=Collected.new(),
            places=Places.from_environment(os.environ),
            registry_option=self._url,
            transfer=Transfer(mirrors=self._mirrors),
            offline=self._offline,
        )

    def _choose(self, reference: str) -> tuple[Context, Chosen, Release]:
        """The release, asked for once in `fresh_seconds`."""
        requirement = _parsed(reference)
        with self._lock:
            session = self._session
            if session is not None and session.lasts(self._fresh_seconds):
                # What was refused may have been published, or released, a moment ago.
                with suppress(Exception):
                    return session.choose(requirement)
            session = self._session = _Session(self._new_context())
            return session.choose(requirement)


class _Session:
    """One look at the registry. Used by one thread at a time, but for the files."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._began = time.monotonic()
        self._process = os.getpid()
        self._chosen: dict[str, tuple[Chosen, Release]] = {}

    def lasts(self, seconds: float) -> bool:
        # Not after a fork: two processes on one connection would read each other's answers.
        return self._process == os.getpid() and time.monotonic() - self._began < seconds

    def choose(self, requirement: Requirement) -> tuple[Context, Chosen, Release]:
        from ..flows.reading import choose_release

        key = str(requirement)
        if key not in self._chosen:
            said = _said(self.context)
            said.clear()
            chosen = choose_release(self.context, requirement)
            self._chosen[key] = (chosen, _release(chosen, said))
        return (self.context, *self._chosen[key])


def _parsed(text: str) -> Requirement:
    from signing.errors import MalformedError

    from ..reference import parse_reference

    try:
        return parse_reference(text)
    except MalformedError as error:
        raise Invalid(error.message, code=error.code, hint=error.hint) from None


def _said(context: Context) -> list[str]:
    """What a command would have warned of so far."""
    from ..output import Collected

    assert isinstance(context.out, Collected)
    return context.out.warnings


def _release(chosen: Chosen, said: Iterable[str]) -> Release:
    manifest = chosen.manifest
    return Release(
        component=str(manifest.component),
        version=str(manifest.version),
        kind=chosen.kind,
        manifest_sha256=manifest.digest,
        files=tuple(File(path=e.path, size=e.size, sha256=e.sha256) for e in manifest.files),
        remarks=tuple(said),
    )


def _warn(release: Release) -> None:
    for remark in release.remarks:
        warnings.warn(remark, ReleaseWarning, stacklevel=4)


def _verification(done: Verified, warned: list[str]) -> Verification:
    report = done.report
    checks = tuple(
        Check(
            number=check.number,
            title=check.title,
            status=check.status,
            establishes=check.establishes,
            does_not_establish=check.does_not_establish,
            detail=check.detail,
        )
        for check in report.checks
    )
    failure = report.first_failure
    if failure is not None:
        if failure.error is None:
            raise VerificationFailed(failure.detail, code="chain-broken")
        error = error_of(failure.error)
        if isinstance(error, VerificationFailed):
            error.checks = checks
            error.hint = error.hint or done.repair
        raise error from failure.error
    if done.permission is not None and not done.permission.permits:
        refusal = error_of(done.permission.error())
        assert isinstance(refusal, NotPermitted)
        raise refusal
    manifest = report.require()
    return Verification(
        subject=done.subject,
        component=str(manifest.component),
        version=str(manifest.version),
        manifest_sha256=manifest.digest,
        checks=checks,
        remarks=(*done.remarks, *warned),
    )
