"""What somebody may have meant who asked for a component that is not there, and whose that is.

A name that looks like another may have been made to be taken for it. So each is shown with its
publisher and with what reviewers say of its newest release, both as signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from signing.errors import SigningError
from signing.names import ComponentName
from signing.roles import Delegation, IndexEntry

from ..errors import ForgeError
from ..nearby import NOT_REVIEWED, REVIEWS, close_to
from ..output import clean

if TYPE_CHECKING:
    from .trust import View

_MOST: Final = 3


def near_component(view: View, name: ComponentName, roles: Iterable[str]) -> str | None:
    """What is near ``name`` among the components of its organisation and of those that are spelt
    like it, or else such an organisation; ``roles`` are all roles of the registry."""
    registered = view.organisations()
    organisations = {name.org, *close_to(name.org, registered, _MOST)} & set(registered)
    # Not among all names: there may be half a million, and each is compared letter by letter.
    known = (role.split(".") for role in roles if role.partition(".")[0] in organisations)
    names = [f"{parts[0]}/{parts[1]}" for parts in known if len(parts) == 2]
    close = [ComponentName.parse(each) for each in close_to(str(name), names, _MOST)]
    if not close:
        return None if name.org in registered else near_organisation(name.org, registered)
    return _asked((str(each), _described(view, each)) for each in close)


def near_organisation(org: str, registered: Mapping[str, Delegation]) -> str | None:
    """``did you mean ORG? NAME (KIND)`` for those that are spelt like ``org``."""
    close = close_to(org, registered, _MOST)
    return _asked((each, _publisher(each, registered)) for each in close) if close else None


def _asked(near: Iterable[tuple[str, str]]) -> str:
    lines = [f"did you mean {name}? {what}" for name, what in near]
    more = ("these may be different people's: look at whose it is",) if len(lines) > 1 else ()
    return "\n".join([*lines, *more])


def _described(view: View, name: ComponentName) -> str:
    said = [f"by {_publisher(name.org, view.organisations())}"]
    try:
        said += _state(view, name)
    except (ForgeError, SigningError):  # of something else than what was asked for
        said.append("which does not verify, or could not be fetched")
    return ", ".join(said)


def _state(view: View, name: ComponentName) -> Iterator[str]:
    """What is to be known of its newest release before it is taken for another."""
    entry = _newest(view.require(name).releases.values())
    yield REVIEWS.get(view.reviews(name, entry).level, NOT_REVIEWED)
    if (withheld := view.withheld(entry)) is not None:
        yield withheld.state
    if entry.yanked is not None:
        yield "yanked"
    if entry.deprecated is not None:
        yield "deprecated"


def _newest(releases: Iterable[IndexEntry]) -> IndexEntry:
    return max(releases, key=lambda entry: (entry.yanked is None, entry.version))


def _publisher(org: str, registered: Mapping[str, Delegation]) -> str:
    profile = registered[org].profile
    return org if profile is None else f"{clean(profile.display_name)} ({clean(profile.kind)})"
