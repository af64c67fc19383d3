"""What the authority does, where its keys are. Only signed output leaves this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signing.applications import Application, verify_application
from signing.authority import new_authority
from signing.digests import fingerprint
from signing.keys import PrivateKey, SigningKey
from signing.names import parse_org_name
from signing.refusals import Refusal, sign_refusal, verify_refusal
from signing.role_edits import add_organisation
from signing.roles import delegations_of
from signing.updates import check_role_update

from ..border import sound
from ..context import Context
from ..errors import ForgeError, RemoteError, UsageError
from ..files import create_private
from ..remote.api import member
from ..remote.trust import View
from .ceremony_files import read_online_keys
from .keys import open_key
from .roles import rebasing, send_roles
from .signers import ids, short

KEYS = ("root", "targets", "registrar", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An application whose signatures were verified, and the role its keys signed."""

    application: Application
    role: bytes
    applicant: str
    similar: tuple[str, ...] = ()
    refusal: Refusal | None = None


def read_application(context: Context, org: str) -> Pending:
    """Fetch and verify what ``org`` applied with.

    Raises:
        VerificationError: a key did not sign it, or it is about another name.
    """
    name = parse_org_name(org)
    context.requires_status = False  # organisations can be approved while its host stands still
    try:
        answer = context.api().get("applications", name)
    except RemoteError as error:
        if error.status == 404:
            error.hint = error.hint or "see who waits: forge authority list"
        raise
    application = verify_application(member(answer, "application").encode())
    if application.org != name:
        raise ForgeError(
            "name-mismatch",
            f"the registry shows an application of {application.org} for {name}",
            hint="do not sign it; tell the operator",
        )
    refusal = answer.get("refusal")
    if refusal is not None:
        registrar = delegations_of(context.view.targets, "targets")["registrar"]
        with sound(f"the refusal of {org}"):
            refusal = verify_refusal(str(refusal).encode(), registrar, application.raw)
    return Pending(
        refusal=refusal,
        application=application,
        role=member(answer, "role").encode(),
        applicant=str(answer.get("applicant") or "unknown"),
        similar=tuple(map(str, answer.get("similar") or ())),
    )


def registrar_keys(
    context: Context, folder: Path | None, references: Sequence[str]
) -> list[SigningKey]:
    """The registrar's keys: those that ``references`` name, or the file in the authority's
    ``folder``.

    Raises:
        ForgeError: ``key-missing``; the targets role does not list one of them.
    """
    if (folder is None) == (not references):
        raise UsageError("name the registrar's key: --authority FOLDER, or --key KEY")
    opened = {name: open_key(context, name) for name in references}
    if folder is not None:
        if not folder.is_dir():
            raise UsageError(f"--authority {folder}: no such folder")
        path = folder / "registrar.pem"
        if not path.is_file():
            raise UsageError(
                f"--authority {folder}: no registrar.pem in it",
                hint="it is the folder of the authority's keys; forge-server init --dev puts it "
                "beside the registry, as FOLDER-authority",
            )
        opened[str(path)] = context.keys.load_file(path, f"registrar key {path}")
    listed = delegations_of(context.view.targets, "targets")["registrar"].keys
    for name, key in opened.items():
        if key.public not in listed:
            raise ForgeError(
                "key-missing",
                f"{name} is not a key of this registry's registrar\n"
                f"expected {ids(listed)}\nfound    {short(key.public)}",
                hint="it belongs to the authority of another registry",
            )
    return list(opened.values())


def refuse(context: Context, pending: Pending, keys: Sequence[SigningKey], reason: str) -> None:
    """Sign the refusal of this very application, and send it."""
    application = pending.application
    refusal = sign_refusal(application.org, application.raw, reason, keys, context.now)
    registrar = delegations_of(context.view.targets, "targets")["registrar"]
    verify_refusal(refusal, registrar, application.raw)
    context.api().post(
        "applications", application.org, "refusal", body={"refusal": refusal.decode()}
    )


def approve(context: Context, pending: Pending, keys: Sequence[SigningKey]) -> dict[str, object]:
    """Sign the organisation into the registrar's role and send both roles."""
    application = pending.application

    def attempt(view: View) -> dict[str, object]:
        new = add_organisation(
            view.registrar,
            application.org,
            application.profile,
            application.keys,
            application.threshold,
            keys,
            context.now,
        )
        check_role_update("registrar", new, view.registrar, view.targets, context.now)
        check_role_update(application.org, pending.role, None, new, context.now)
        return send_roles(context, {"registrar": new, application.org: pending.role})

    answer = rebasing(context, "the registrar's role", attempt)
    if application.org not in context.fresh_view().organisations():
        raise ForgeError(
            "registry-malformed",
            f"the registry accepted {application.org} but does not show it",
            hint="try `forge org show` in a moment; tell the operator if it stays so",
        )
    return answer


def init(
    context: Context,
    folder: Path,
    online_keys: Path,
    passphrase: bytes | None,
    *,
    with_status: bool = False,
) -> str:
    """A new authority in ``folder``, for the server whose ``online-keys.json`` is given.

    Returns the root's fingerprint. The private keys stay here; ``metadata/`` goes to the server.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ForgeError("already-exists", f"{folder}: not empty", hint="choose another folder")
    online = read_online_keys(online_keys)
    made = new_authority(
        context.now, online.snapshot, online.timestamp, online.log, with_status=with_status
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name in KEYS:
        key: PrivateKey | None = getattr(made, f"{name}_key")
        if key is not None:
            create_private(folder / f"{name}.pem", key.to_pem(passphrase))
    for filename, data in made.metadata.items():
        create_private(folder / "metadata" / filename, data, mode=0o644)
    root = fingerprint(made.metadata["1.root.json"])
    create_private(folder / "root.fingerprint", f"{root}\n".encode(), mode=0o644)
    return root


def show(context: Context, folder: Path) -> list[dict[str, Any]]:
    """The authority's keys in ``folder``, without unlocking them where that can be helped."""
    from signing.keys import is_encrypted, load_private_key

    from ..files import read_private

    rows = []
    for name in KEYS:
        path = folder / f"{name}.pem"
        if not path.exists():
            continue
        pem = read_private(path)
        encrypted = is_encrypted(pem)
        keyid = None if encrypted else load_private_key(pem).public.keyid
        rows.append({"role": name, "encrypted": encrypted, "keyid": keyid, "path": str(path)})
    if not rows:
        raise ForgeError("not-found", f"{folder}: no authority keys ({', '.join(KEYS)}.pem)")
    return rows
