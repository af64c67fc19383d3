"""Publishing: walk, hash, sign, offer, upload, offer again, and look whether it is really there.

The order is the one that never loses work: everything that can be refused without the network
is refused before it, and everything that can be refused without bytes before a byte is sent.
What needs only the large files' own digests to be refused, they may already have travelled for:
they are sent while others are hashed (`ahead`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.version import Version

from signing.keys import PublicKey, SigningKey
from signing.names import ComponentName
from signing.oms import sign_bundle, verify_bundle
from signing.role_edits import add_project, add_release, add_signatures, check_version_free
from signing.roles import Delegation
from signing.updates import check_offer, check_same_files
from signing.verify import verify_release

from ..border import sound
from ..context import Context
from ..errors import ForgeError, NetworkError, RemoteError
from ..files import write_private
from ..output import count_text, size_text
from ..remote.api import Api, member
from ..remote.near import near_organisation
from ..remote.trust import ComponentState, View
from ..remote.upload import Outgoing
from . import ahead, along, delta
from .data_only import require_data_only
from .pack import Packed, describe, survey
from .roles import rebasing
from .signers import Opened, held, ids, own_key, publisher_keys, short


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What came of it. ``receipt`` is the registry's word, empty for a dry run.

    ``signed_by`` is None when nothing had to be signed. ``newer`` is the highest version that
    was there before, where it is above this one.
    """

    packed: Packed
    signed_by: PublicKey | None
    receipt: dict[str, Any] = field(default_factory=dict)
    new_project: bool = False
    already: bool = False
    newer: Version | None = None
    uploaded: int = 0
    uploaded_bytes: int = 0
    reused_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class _Session:
    """One publish: what does not change when a role has to be signed again."""

    context: Context
    api: Api
    packed: Packed
    key: str | None
    keys: Opened
    sending: ahead.Sending
    first: ahead.Ahead | None = None
    bundle: bytes = b""
    signed_by: PublicKey | None = None
    uploaded: int = 0
    along_bytes: int = 0

    @property
    def component(self) -> ComponentName:
        return self.packed.manifest.component


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """Roles ready to be offered."""

    roles: dict[str, bytes]
    organisation: bytes
    new_project: bool


def publish(
    context: Context, folder: Path, *, key: str | None, dry_run: bool, waived: bool = False
) -> Published:
    """Publish ``folder``; with ``dry_run`` everything but sending. ``waived``: whether files that
    execute code when they are loaded are left to the registry.

    Raises:
        ForgeError, SigningError: as the table of error codes says; nothing is visible then.
    """
    surveyed = survey(folder)
    for notice in surveyed.notices:
        context.out.warn(notice)
    if not waived:
        require_data_only(surveyed.files)
    api = context.api() if dry_run else context.api_with_token()
    keys, sending = Opened(context), ahead.Sending(context, api, surveyed.spec.component)
    first = None if dry_run else ahead.begin(sending, surveyed, keys, key)
    try:
        told = None if first is None else first.told
        packed = describe(surveyed, context.out, context.cache, told)
        return _publish(
            _Session(
                context=context,
                api=api,
                packed=packed,
                key=key,
                keys=keys,
                sending=sending,
                first=first,
            ),
            dry_run=dry_run,
        )
    except BaseException as error:
        if first is not None:
            first.stop()
        if isinstance(error, NetworkError) and sending.moved.bytes:
            error.also_again("what was sent is kept: the same command again continues there")
        raise


def _publish(session: _Session, *, dry_run: bool) -> Published:
    context, manifest = session.context, session.packed.manifest
    if session.first is not None:
        session.first.close()
    context.out.say(
        f"{manifest.component} {manifest.version}: {count_text(len(manifest.files), 'file')}, "
        f"{size_text(manifest.total_size)}, manifest sha256:{manifest.digest[:16]}…"
    )
    return rebasing(
        context, str(manifest.component), lambda view: _attempt(session, view, dry_run=dry_run)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOffer:
    """The body of an offer, signed and checked as the registry will check it."""

    body: dict[str, Any]
    signed_by: PublicKey


def sign_offer(context: Context, packed: Packed, *, key: str | None) -> SignedOffer | None:
    """The offer of ``packed``, for somebody else to send; None where it is published already.

    Raises:
        ForgeError, SigningError: as `publish`.
    """
    api = context.api()
    session = _Session(
        context=context,
        api=api,
        packed=packed,
        key=key,
        keys=Opened(context),
        sending=ahead.Sending(context, api, packed.manifest.component),
    )
    view = context.view
    state = view.component(session.component)
    if state is None:
        raise _not_registered(session, view)
    if _is_there(session, state):
        return None
    signed, publisher = _signed(session, state)
    return SignedOffer(body=_body(session, signed), signed_by=publisher)


def _attempt(session: _Session, view: View, *, dry_run: bool) -> Published:
    state = view.component(session.component)
    if state is None:
        raise _not_registered(session, view)
    if _is_there(session, state):
        return Published(packed=session.packed, signed_by=None, already=True)
    signed, publisher = _signed(session, state)
    if dry_run:
        return Published(
            packed=session.packed,
            signed_by=publisher,
            new_project=signed.new_project,
            newer=_newer(session, state),
        )
    receipt = _offer(session, view, signed)
    _confirm(session)
    return Published(
        packed=session.packed,
        signed_by=publisher,
        receipt=receipt,
        new_project=signed.new_project,
        newer=_newer(session, state),
        uploaded=session.uploaded + (0 if session.first is None else len(session.first.sent)),
        uploaded_bytes=session.along_bytes + session.sending.uploader.sent_bytes,
        reused_bytes=session.sending.uploader.reused_bytes,
    )


def _newer(session: _Session, state: ComponentState) -> Version | None:
    """The highest version that ranges may pick, where it is above the one that is published."""
    there = (entry.version for entry in state.releases.values() if entry.yanked is None)
    newest = max(there, default=None)
    return newest if newest is not None and newest > session.packed.manifest.version else None


def _is_there(session: _Session, state: ComponentState) -> bool:
    """Whether this very release is published. Raises ConflictError where another one is."""
    manifest = session.packed.manifest
    there = state.releases.get(str(manifest.version))
    if there is not None and there.manifest_sha256 == manifest.digest:
        return True
    check_version_free(state.releases, manifest)
    return False


def _signed(session: _Session, state: ComponentState) -> tuple[_Signed, PublicKey]:
    """Roles and bundle, checked as the registry will: what it must refuse is not sent at all."""
    signed = _sign(session, state)
    offer = check_offer(
        session.packed.manifest.raw, session.bundle, signed.roles[session.component.role],
        state.project, signed.organisation, session.context.now,
    )  # fmt: skip
    return signed, offer.publisher


def _body(session: _Session, signed: _Signed) -> dict[str, Any]:
    return {
        "manifest": session.packed.manifest.raw.decode(),
        "bundle": session.bundle.decode(),
        "roles": {name: data.decode() for name, data in signed.roles.items()},
    }


def _not_registered(session: _Session, view: View) -> ForgeError:
    """Why nobody can publish there: not decided yet, mistyped, or never applied for."""
    org = session.component.org
    try:
        session.api.get("organisations", org)
    except RemoteError as error:
        if error.code == "organisation-pending":
            error.hint = "when the authority has approved it (forge authority approve), try again"
        if error.code in ("organisation-pending", "organisation-refused"):
            return error
    near = near_organisation(org, view.organisations())
    return ForgeError(
        "not-found",
        f"organisation {org} is not registered in {view.url}",
        hint=f"{near}\nit stands in forge.toml"
        if near
        else f"forge org create {org} --kind … --display-name …, then the authority approves it",
    )


def _sign(session: _Session, state: ComponentState) -> _Signed:
    context, component = session.context, session.component
    organisation = state.organisation
    roles: dict[str, bytes] = {}
    if state.delegation is not None:
        stored = publisher_keys(context, state.delegation, session.key)
    else:
        stored = [own_key(context, session.key)]
        organisation = _add_project(session, state, stored[0].public)
        roles[component.org] = organisation
    keys = session.keys.of(stored)
    _sign_bundle(session, keys[0])
    roles[component.role] = add_release(
        state.project, session.packed.manifest, session.bundle, keys, context.now
    )
    return _Signed(roles=roles, organisation=organisation, new_project=state.delegation is None)


def _sign_bundle(session: _Session, key: SigningKey) -> None:
    """Sign the files once; a rebased role keeps the same bundle."""
    if session.bundle and session.signed_by == key.public:
        return
    manifest = session.packed.manifest
    bundle = sign_bundle(manifest.files, str(manifest), key)
    check_same_files(verify_bundle(bundle, [key.public]), manifest)
    session.bundle = bundle
    session.signed_by = key.public


def _add_project(session: _Session, state: ComponentState, publisher: PublicKey) -> bytes:
    """The organisation's role with the new project, signed by all that it needs.

    Raises:
        ForgeError: ``signature-missing``; the role was written to a file to carry.
    """
    context, component = session.context, session.component
    needed = state.organisation_delegation
    stored = held(context, needed)[: needed.threshold]
    unsigned = add_project(state.organisation, component, [publisher], 1, [], context.now)
    keys = session.keys.of(stored)
    role = add_signatures(unsigned, keys)
    if len(stored) >= needed.threshold:
        return role
    path = Path(f"{component.org}-adds-{component.name}.json")
    write_private(path, role, mode=0o644)
    raise _missing_signature(path, component, publisher, needed, [key.public for key in stored])


def _missing_signature(
    path: Path,
    component: ComponentName,
    publisher: PublicKey,
    needed: Delegation,
    signed: list[PublicKey],
) -> ForgeError:
    others = [key for key in needed.keys if key not in signed]
    return ForgeError(
        "signature-missing",
        f"{component} is new: organisation {component.org} must list your key "
        f"{short(publisher)} first\n"
        f"expected {count_text(needed.threshold, 'signature')} by the organisation's keys, "
        f"found {len(signed)}\nmissing  {ids(others)}",
        hint=f"carry {path} to a holder of that key, who runs: forge org sign {path}\n"
        "then publish again",
        file=str(path),
        missing_keys=[key.keyid for key in others],
    )


def _offer(session: _Session, view: View, signed: _Signed) -> dict[str, Any]:
    """Offer, send what is missing, offer again; the receipt."""
    body = _body(session, signed)
    uploads = 0
    files = along.smallest(session.packed)
    while uploads < 3:
        answer = session.api.post("releases", body={**body, "files": along.encoded(files)})
        _count_taken(session, files, answer)
        if member(answer, "state") == "published":
            receipt: dict[str, Any] = member(answer, "receipt", dict)
            return receipt
        if member(answer, "state") == "checking":
            # It reads large files once more and has waited for that already: ask again.
            session.context.out.say("the registry compares large files with their chunk lists")
            continue
        uploads += 1
        files = _upload(session, view, member(answer, "missing", list))
    raise ForgeError(
        "registry-malformed",
        "the registry keeps asking for files that it has confirmed to hold",
        hint="tell its operator; nothing was published",
    )


def _count_taken(session: _Session, files: dict[str, bytes], answer: Any) -> None:
    """What came along and was new to the registry counts as sent."""
    taken = answer.get("taken") if isinstance(answer, dict) else None
    for digest in taken if isinstance(taken, list) else ():
        if digest in files:
            session.uploaded += 1
            session.along_bytes += len(files[digest])


def _upload(session: _Session, view: View, missing: list[Any]) -> dict[str, bytes]:
    """Sends what the registry asks for; returns the small files, which the next offer carries."""
    published = delta.Published(session.context, view, session.component)
    wanted = [_outgoing(session.packed, published, item) for item in missing]
    if session.first is not None:
        session.first.finish(session.context.out)
        sent = session.first.sent
        wanted = [file for file in wanted if file.digest not in sent]
    carried, outgoing = along.split(wanted)
    if not outgoing:
        return carried
    total = sum(file.size for file in outgoing)
    out, sending = session.context.out, session.sending
    sending.pace.wait_for_window(out.say)
    out.say(f"sending {count_text(len(outgoing), 'file')}, {size_text(total)}")
    with sending.shown(out, total):
        sending.uploader.send(outgoing)
    if sending.uploader.direct.closed is not None:
        out.say(
            "parts went through the registry, not straight to its store: "
            f"{sending.uploader.direct.closed}"
        )
    session.uploaded += len(outgoing)
    return carried


def _outgoing(packed: Packed, published: delta.Published, item: Any) -> Outgoing:
    digest = member(item, "sha256")
    if digest in packed.lists:
        return ahead.list_to_send(digest, packed.lists[digest])
    entry = packed.entry_of(digest)
    if entry is None:
        # Never send what the signed manifest does not list, whatever the registry asks for.
        raise ForgeError(
            "registry-malformed", f"the registry asks for {digest}, which is not in this release"
        )
    return ahead.file_to_send(
        entry, packed.files[entry.path], packed.lists.get(entry.chunks or ""), published
    )


def _confirm(session: _Session) -> None:
    """See the release as any client will: fetched, and verified from the pinned root."""
    context, manifest = session.context, session.packed.manifest
    view = context.fresh_view()
    entry = view.require(manifest.component).releases.get(str(manifest.version))
    if entry is None or entry.manifest_sha256 != manifest.digest:
        raise ForgeError(
            "registry-malformed",
            f"the registry confirmed {manifest} but does not show it",
            hint=f"try `forge verify {manifest}` in a moment; tell the operator if it stays so",
        )
    evidence = view.evidence(manifest.component, entry)
    report = verify_release(
        evidence,
        manifest.component,
        manifest.version,
        fingerprint=view.fingerprint,
        now=context.now,
        observed={file.path: file for file in manifest.files},
        forge_toml=session.packed.files["forge.toml"].read_bytes(),
        witnesses=view.witnesses,
    )
    with sound(str(manifest)):
        report.require()
    # The receipt: whatever becomes of the registry, it proves what was published, and when.
    component = manifest.component
    receipt = context.places.receipts / component.org / component.name
    write_private(receipt / f"{manifest.version}.json", evidence.to_json())
