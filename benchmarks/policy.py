"""Promise: to hold a policy with every rule against a lock of 200 components takes at most 50 ms.

Each has files of eight formats, four decisions of reviewers, twenty open findings and three scans.
Beside it stands what a warm installation does for it: reading those facts from the disk. The
yardstick is decoding the same facts as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from forge_cli.flows.knowledge import FactsMemory, Kept
from signing.assessment import Decision, Subject
from signing.facts import Facts, OpenFinding, Reviews, Scan
from signing.names import ComponentName
from signing.permission import evaluate
from signing.policy import RULES, parse_policy

from .report import promise

LIMIT_MS = 50.0
NOW = datetime(2026, 5, 1, tzinfo=UTC)
FILES = ("a.safetensors", "README.md", "b.gguf", "c.onnx", "d.parquet", "e.png", "f.wav", "g.whl")


def facts(number: int) -> Facts:
    """One release of which much is known."""
    name = ComponentName.parse(f"lab-{number % 20}/model-{number}")
    digest = sha256(b"%d" % number).hexdigest()
    decisions = tuple(
        Decision(
            body=f"body-{at}",
            organisations=frozenset(),
            keyid=f"{at:064x}",
            component=name,
            version="1.0.0",
            manifest_sha256=digest,
            passed=True,
            number=3,
            at=NOW - timedelta(days=10),
            expires=NOW + timedelta(days=90),
            sha256=digest,
            policy_sha256=digest,
        )
        for at in range(4)
    )
    subject = Subject(component=name, version="1.0.0", manifest_sha256=digest, risk_class="limited")
    return Facts(
        component=name,
        version="1.0.0",
        manifest_sha256=digest,
        license="(MIT OR Apache-2.0) AND (EUPL-1.2 OR GPL-2.0-only WITH Classpath-exception-2.0)",
        files=FILES,
        risk_class="limited",
        card_languages=("ar", "fr", "zgh"),
        organisation_kind="academic",
        witnesses=("one.example", "two.example"),
        reviews=Reviews(subject=subject, decisions=decisions),
        published_at=NOW - timedelta(days=30),
        findings=tuple(OpenFinding(id=f"a:b:{at}", severity="low") for at in range(20)),
        scans=tuple(Scan(scanner=f"s{at}", state="clean", at=NOW) for at in range(3)),
        known_at=NOW,
    )


def best_ms(run: Callable[[], object], rounds: int = 15) -> float:
    """The shortest of some runs, in milliseconds: what others do at the time makes it longer."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--components", type=int, default=200)
    count = parser.parse_args().components
    rules = "\n".join(rule.example for rule in RULES.values())
    policy = parse_policy(f'schema = 1\ntitle = "all rules"\n[rules]\n{rules}\n'.encode())
    known = [facts(number) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        memory = FactsMemory(Path(folder))
        for each in known:
            memory.keep(Kept(facts=each))
        texts = [path.read_bytes() for path in sorted(Path(folder).glob("facts/*.json"))]
        plain = best_ms(lambda: [json.loads(text) for text in texts])
        promise(
            f"a policy of {len(policy.rules)} rules, {count} components",
            best_ms(lambda: [evaluate(policy, each, NOW) for each in known]),
            LIMIT_MS,
            "ms",
            plain,
            "decoding the facts' JSON",
        )
        reading = best_ms(lambda: [memory.read(each.manifest_sha256) for each in known])
        promise("reading what is known of them", reading, None, "ms", plain, "decoding their JSON")


if __name__ == "__main__":
    main()
