"""The gate that everything passes which is to be used here: every pinned policy must permit it.

`forge install`, `lock`, `sync`, `verify`, `audit` and `status` all ask here, and
`signing.permission` decides. Without a pinned policy there is no gate, and nothing is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from signing.ages import ago
from signing.names import ComponentName

from ..context import Context
from ..errors import ForgeError, UsageError
from ..lockfile import LockedComponent, Override
from ..output import clean
from ..policies import MACHINE, PROJECT, PROJECT_FILE

if TYPE_CHECKING:
    from signing.evidence import Evidence
    from signing.permission import RuleResult, Verdict

    from ..truststore import Pin
    from .knowledge import Proves
    from .policies import Pinned
    from .proof import Prover

_WHERE = {PROJECT: "of this project", MACHINE: "of this machine", "system": "of its administrator"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What every pinned policy says of one release. ``known_at`` is when what may change of it was
    last asked for; None where no policy needs such."""

    release: LockedComponent
    verdicts: tuple[tuple[Pinned, Verdict], ...]
    known_at: datetime | None

    @property
    def permits(self) -> bool:
        return all(verdict.permits for _, verdict in self.verdicts)

    @property
    def refusals(self) -> list[tuple[Pinned, RuleResult]]:
        return [(one, rule) for one, verdict in self.verdicts for rule in verdict.refusals]

    @property
    def overridden(self) -> list[tuple[Pinned, RuleResult]]:
        return [(one, rule) for one, verdict in self.verdicts for rule in verdict.overridden]

    def error(self) -> ForgeError:
        """The refusal to use the release: each rule that is broken, what was found, and what would
        satisfy it."""
        lines = []
        for pinned, verdict in self.verdicts:
            if verdict.permits:
                continue
            lines.append(
                f"{self.release} is not permitted by {pinned}, a policy {_WHERE[pinned.scope]}"
            )
            for rule in verdict.refusals:
                lines += [f"  {clean(rule)}", f"    would satisfy it: {clean(rule.satisfy)}"]
        names = " ".join(dict.fromkeys(rule.name for _, rule in self.refusals))
        return ForgeError(
            "policy-refused",
            "\n".join(lines),
            "take another version or component; or, on your own responsibility and for all to "
            f"see, put aside: --override {names} --reason TEXT",
            component=str(self.release.component),
            version=str(self.release.version),
            manifest_sha256=self.release.manifest_sha256,
            policies=self.to_json(),
        )

    def to_json(self) -> list[dict[str, object]]:
        return [
            {
                "policy": str(pinned.pin.component),
                "version": pinned.pin.version,
                "scope": pinned.scope,
                "permits": verdict.permits,
                "rules": [rule.to_json() for rule in verdict.rules],
            }
            for pinned, verdict in self.verdicts
        ]

    def lines(self) -> list[str]:
        """Every rule, whether it holds or not, for ``--explain``."""
        lines = []
        for pinned, verdict in self.verdicts:
            lines.append(f"{self.release} under {pinned} ({pinned.scope}):")
            for rule in verdict.rules:
                mark = "✓" if rule.holds else "✗" if rule.overridden is None else "!"
                lines.append(f"  {mark} {clean(rule)}")
                if rule.overridden is not None:
                    lines.append(f"      overridden: {clean(rule.overridden)}")
                elif not rule.holds:
                    lines.append(f"      would satisfy it: {clean(rule.satisfy)}")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """A version that the resolver would have chosen, had a policy permitted it."""

    judgement: Judgement

    @property
    def why(self) -> str:
        return "; ".join(f"{pinned}: {rule}" for pinned, rule in self.judgement.refusals)

    def __str__(self) -> str:
        return f"passed over {self.judgement.release}: {self.why}"


@dataclass(slots=True, kw_only=True)
class Gate:
    """The policies that are pinned for ``folder`` and this machine.

    They are read when they are first needed, and again once the registry was asked in this run: it
    may say that one of them was taken back. ``again`` asks for what may have changed of the
    releases even where it was asked for today.
    """

    context: Context
    folder: Path | None
    again: bool = False
    unreachable: bool = False  # then nothing more is asked in this run
    trial: tuple[Pinned, ...] | None = None  # these and no others
    passed_over: list[PassedOver] = field(default_factory=list)
    _policies: tuple[Pinned, ...] | None = None
    _asked: bool = False
    _judged: dict[tuple[str, tuple[Override, ...]], Judgement] = field(default_factory=dict)

    @property
    def policies(self) -> tuple[Pinned, ...]:
        """Raises ForgeError (``policy-unusable``)."""
        from .policies import load

        if self.trial is not None:
            return self.trial
        if self._policies is None or (self.context.asked_registry and not self._asked):
            self._policies = load(self.context, self.folder)
            self._asked = self.context.asked_registry
            self._judged.clear()
        return self._policies

    def require_policies(self) -> None:
        """Raises ForgeError (``policy-unusable``) before anything else is asked or done."""
        _ = self.policies

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(pinned.policy.needs for pinned in self.policies))

    def judge(self, prover: Prover, release: LockedComponent) -> Judgement:
        """What the policies say of a release that the prover can prove."""
        return self._judge(prover.pin, release, lambda: prover.evidence(release))

    def judge_evidence(self, pin: Pin, release: LockedComponent, evidence: Evidence) -> Judgement:
        """What the policies say of a release whose evidence was verified."""
        return self._judge(pin, release, lambda: evidence)

    def _judge(self, pin: Pin, release: LockedComponent, proves: Proves) -> Judgement:
        self.require_policies()
        key = (release.manifest_sha256, release.overrides)
        if key in self._judged:
            return self._judged[key]
        made = self._made(pin, release, proves, again=self.again)
        if not made.permits and made.known_at not in (None, self.context.now):
            # What stands in the way may be gone since: nobody waits a day for that.
            made = self._made(pin, release, proves, again=True)
        self._judged[key] = made
        return made

    def _made(
        self, pin: Pin, release: LockedComponent, proves: Proves, *, again: bool
    ) -> Judgement:
        from signing.permission import evaluate

        from .knowledge import CHANGING, Knowledge

        knowledge = Knowledge(
            context=self.context,
            pin=pin,
            needs=self.needs,
            again=again,
            unreachable=self.unreachable,
        )
        facts = knowledge.facts(release, proves)
        self.unreachable = knowledge.unreachable
        reasons = {one.rule: one.reason for one in release.overrides}
        return Judgement(
            release=release,
            verdicts=tuple(
                (pinned, evaluate(pinned.policy, facts, self.context.now).override(reasons))
                for pinned in self.policies
            ),
            known_at=facts.known_at if self.needs & CHANGING else None,
        )

    def require(self, prover: Prover, components: Iterable[LockedComponent]) -> list[Judgement]:
        """Establishes that every policy permits every one of ``components``.

        Raises:
            ForgeError: ``policy-refused`` for the first that is not permitted, ``policy-unusable``.
        """
        judgements = [self.judge(prover, release) for release in components]
        for judgement in judgements:
            if not judgement.permits:
                raise judgement.error()
        return judgements

    def judgements(self, components: Iterable[LockedComponent]) -> list[Judgement]:
        """What was judged of ``components`` in this run."""
        keys = [(one.manifest_sha256, one.overrides) for one in components]
        return [self._judged[key] for key in keys if key in self._judged]

    def say_age(self, judgements: Iterable[Judgement]) -> None:
        """How old the view is that the judgements rest on, where it is not of this moment."""
        ages = [one.known_at for one in judgements if one.known_at is not None]
        oldest = min(ages, default=None)
        if oldest is None or oldest == self.context.now:
            return
        how = "the registry could not be reached" if self.unreachable else "no request was made"
        self.context.out.say(
            f"reviews, findings and scans as of {oldest:%Y-%m-%d %H:%M} UTC, "
            f"{ago(self.context.now - oldest)} ago; {how} for them"
        )


def open_gate(context: Context, folder: Path | None) -> Gate | None:
    """The gate for what is used in ``folder``; None where no policy is pinned. The same one all
    through a run."""
    gate = context.gates.get(folder)
    if not isinstance(gate, Gate):
        places = context.places
        files = [places.policies, places.system_policies]
        if folder is not None:
            files.append(folder / PROJECT_FILE)
        # Whatever is there counts, also what cannot be read.
        if not any(os.path.lexists(path) for path in files):
            return None
        gate = context.gates[folder] = Gate(context=context, folder=folder)
    return gate


# --- overrides -----------------------------------------------------------------------------------

# The rules that somebody wants to put aside, by component, and why.
Overrides = Mapping[ComponentName, Mapping[str, str]]


def parse_overrides(
    texts: Sequence[str], reason: str | None, named: Iterable[ComponentName]
) -> dict[ComponentName, dict[str, str]]:
    """``RULE`` for every component that the command names, ``ORG/NAME:RULE`` for one.

    Raises:
        UsageError: no such rule, no reason, nothing that is named.
    """
    if not texts and reason is None:
        return {}
    from signing.encoding import is_plain, nearest
    from signing.errors import MalformedError
    from signing.policy import QUALIFIERS, RULES

    if not texts or reason is None or not reason.strip():
        raise UsageError("--override and --reason TEXT go together: whoever looks later asks why")
    if len(reason) > 500 or not is_plain(reason):
        raise UsageError("--reason: expected one line of plain text, at most 500 characters")
    found: dict[ComponentName, dict[str, str]] = {}
    everybody = list(named)
    rules = [name for name in RULES if name not in QUALIFIERS]
    for text in texts:
        name, colon, rule = text.rpartition(":")
        if rule not in rules:
            hint = nearest(rule, rules) or f"rules are: {', '.join(rules)}"
            raise UsageError(f"--override: expected a rule, found {rule!r}", hint=hint)
        try:
            about = [ComponentName.parse(name, "--override")] if colon else everybody
        except MalformedError as error:
            raise UsageError(error.message, hint=error.hint) from None
        if not about:
            raise UsageError(
                f"--override {rule}: for which component?", hint=f"--override ORG/NAME:{rule}"
            )
        for one in about:
            found.setdefault(one, {})[rule] = reason
    return found


def with_overrides(
    release: LockedComponent, wished: Overrides, kept: Iterable[Override], at: str
) -> LockedComponent:
    """``release`` with what was put aside for it before, and what shall be from now on."""
    overrides = {one.rule: one for one in kept}
    for rule, reason in wished.get(release.component, {}).items():
        overrides[rule] = Override(rule=rule, reason=reason, at=at)
    return replace(release, overrides=tuple(overrides[rule] for rule in sorted(overrides)))


def only_needed(context: Context, judgement: Judgement, wished: Overrides) -> LockedComponent:
    """The judged release without those of the ``wished`` overrides that it does not need: one that
    is kept for a day that may come would excuse what nobody has looked at."""
    release = judgement.release
    used = {rule.name for _, rule in judgement.overridden}
    idle = set(wished.get(release.component, ())) - used
    for rule in sorted(idle):
        context.out.warn(f"{release}: {rule} is not broken, so nothing is put aside")
    kept = tuple(one for one in release.overrides if one.rule not in idle)
    return replace(release, overrides=kept)


def warn_overrides(context: Context, components: Iterable[LockedComponent]) -> None:
    """Shows every override: who comes later must not take them for permissions."""
    for component in components:
        for one in component.overrides:
            context.out.warn(f"{component}: {clean(one)}")
