"""Sending signed roles, and doing it again when somebody else was faster.

A role update is optimistic: read the verified role, change it, sign version + 1, send. When
another update came first the registry answers 409 and the change is made again on top of it.
What is signed anew is always built on metadata that was verified, never on what an answer said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from packaging.version import Version

from signing.deprecation import Deprecation
from signing.errors import ConflictError
from signing.keys import SigningKey
from signing.names import ComponentName
from signing.role_edits import set_deprecated, set_yanked
from signing.roles import IndexEntry, releases_of
from signing.updates import check_role_update

from ..context import Context
from ..errors import ForgeError, RemoteError
from ..remote.trust import View
from .signers import publisher_keys, unlock

T = TypeVar("T")
_ATTEMPTS: Final = 5


def send_roles(context: Context, roles: Mapping[str, bytes]) -> dict[str, object]:
    """Hand signed roles to the registry; they authenticate themselves."""
    texts = {name: data.decode() for name, data in roles.items()}
    answer = context.api().post("roles", body={"roles": texts})
    return answer if isinstance(answer, dict) else {}


def rebasing(context: Context, what: str, attempt: Callable[[View], T]) -> T:
    """The result of ``attempt`` on a fresh view, repeated while others are faster."""
    for number in range(1, _ATTEMPTS + 1):
        try:
            return attempt(context.fresh_view() if number > 1 else context.view)
        except (RemoteError, ConflictError) as error:
            if error.code != "role-version" or number == _ATTEMPTS:
                raise
            context.out.say(f"{what} was changed by somebody else meanwhile; doing it again")
            from ..remote.http import pause_seconds

            context.http.sleep(pause_seconds(number) / 2)
    raise AssertionError("unreachable")


def set_yank(
    context: Context,
    component: ComponentName,
    version: Version,
    reason: str | None,
    key: str | None,
    successor: str | None = None,
) -> bool:
    """Yank (with a reason) or unyank one release; False when it was so already."""

    def change(project: bytes, versions: Sequence[Version], keys: Sequence[SigningKey]) -> bytes:
        return set_yanked(
            project, component, versions[0], reason, keys, context.now, successor=successor
        )

    said = (reason, successor if reason is not None else None)
    return bool(
        _say(
            context, component, version, key, change,
            lambda entry: (entry.yanked, entry.yanked_successor) == said,
        )
    )  # fmt: skip


def set_deprecation(
    context: Context,
    component: ComponentName,
    version: Version | None,
    deprecation: Deprecation | None,
    key: str | None,
) -> list[str]:
    """Deprecate one release or, without a version, all; with None take it back. Returns the
    versions that this changed."""

    def change(project: bytes, versions: Sequence[Version], keys: Sequence[SigningKey]) -> bytes:
        return set_deprecated(project, component, versions, deprecation, keys, context.now)

    return _say(
        context, component, version, key, change, lambda entry: entry.deprecated == deprecation
    )


def _say(
    context: Context,
    component: ComponentName,
    version: Version | None,
    key: str | None,
    change: Callable[[bytes, Sequence[Version], Sequence[SigningKey]], bytes],
    is_said: Callable[[IndexEntry], bool],
) -> list[str]:
    """Makes the index say what ``is_said`` looks for of ``version``, or of all; returns the
    versions of which it did not say so before."""

    def attempt(view: View) -> list[str]:
        state = view.require(component)
        if version is not None and str(version) not in state.releases:
            versions = ", ".join(reversed(state.releases))
            raise ForgeError(
                "not-found", f"{component} has no version {version}", f"there are: {versions}"
            )
        wanted = [
            entry
            for text, entry in state.releases.items()
            if version is None or text == str(version)
        ]
        changing = [entry.version for entry in wanted if not is_said(entry)]
        if not changing:
            return []
        if state.project is None or state.delegation is None:
            raise AssertionError("a release without its role")
        keys = unlock(context, publisher_keys(context, state.delegation, key))
        new = change(state.project, changing, keys)
        check_role_update(component.role, new, state.project, state.organisation, context.now)
        send_roles(context, {component.role: new})
        return [str(each) for each in changing]

    changed = rebasing(context, str(component), attempt)
    if changed:
        _confirm(context, component, changed, is_said)
    return changed


def _confirm(
    context: Context,
    component: ComponentName,
    versions: Sequence[str],
    is_said: Callable[[IndexEntry], bool],
) -> None:
    project = context.fresh_view().require(component).project or b""
    index = releases_of(project, component)
    if not all(is_said(index[version]) for version in versions):
        raise ForgeError(
            "registry-malformed",
            f"the registry accepted the change of {component} but does not show it",
            hint="try `forge info` in a moment; tell the operator if it stays so",
        )
