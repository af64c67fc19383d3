"""Sending signed roles, and doing it again when somebody else was faster.

A role update is optimistic: read the verified role, change it, sign version + 1, send. When
another update came first the registry answers 409 and the change is made again on top of it.
What is signed anew is always built on metadata that was verified, never on what an answer said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from packaging.version import Version

from signing.errors import ConflictError
from signing.names import ComponentName
from signing.role_edits import set_yanked
from signing.roles import releases_of
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
) -> bool:
    """Yank (with a reason) or unyank one release; False when it was so already."""

    def attempt(view: View) -> bool:
        state = view.require(component)
        entry = state.releases.get(str(version))
        if entry is None:
            versions = ", ".join(reversed(state.releases))
            raise ForgeError(
                "not-found", f"{component} has no version {version}", f"there are: {versions}"
            )
        if entry.yanked == reason:
            return False
        if state.project is None or state.delegation is None:
            raise AssertionError("a release without its role")
        keys = unlock(context, publisher_keys(context, state.delegation, key))
        new = set_yanked(state.project, component, version, reason, keys, context.now)
        check_role_update(component.role, new, state.project, state.organisation, context.now)
        send_roles(context, {component.role: new})
        return True

    changed = rebasing(context, str(component), attempt)
    if changed:
        _confirm(context, component, version, reason)
    return changed


def _confirm(
    context: Context, component: ComponentName, version: Version, reason: str | None
) -> None:
    project = context.fresh_view().require(component).project or b""
    if releases_of(project, component)[str(version)].yanked != reason:
        raise ForgeError(
            "registry-malformed",
            f"the registry accepted the change of {component} {version} but does not show it",
            hint="try `forge info` in a moment; tell the operator if it stays so",
        )
