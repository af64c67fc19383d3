"""Messages of webhooks, judged by the library that receivers take: `standardwebhooks`."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stock_clients import client_programs

from forge_server.domain.hooks import body_of, headers_for, new_secret

SECRETS = [new_secret(bytes([number]) * 32) for number in (1, 2, 3)]
BODY = body_of(
    "release.yank", "lab/model==1.0.0", {"reason": "Übel — \u0645"}, datetime.now(UTC)
).encode()
PROGRAM = """
import json, sys
from standardwebhooks import Webhook, WebhookVerificationError
case = json.load(sys.stdin)
try:
    print(json.dumps(Webhook(case["secret"]).verify(case["body"], case["headers"])))
except WebhookVerificationError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return client_programs() / "python"


def judged(python: Path, secret: str, headers: dict[str, str], body: bytes = BODY) -> str:
    """What the library makes of a message: its type, or that it is refused."""
    case = json.dumps({"secret": secret, "headers": headers, "body": body.decode()})
    done = subprocess.run(
        [str(python), "-c", PROGRAM], input=case, capture_output=True, text=True, check=False,
        env=dict(os.environ, PYTHONUTF8="1"),
    )  # fmt: skip
    if done.returncode == 0:
        return str(json.loads(done.stdout)["type"])
    assert done.stderr.startswith("refused"), done.stderr
    return "refused"


def test_it_holds_under_each_secret_and_no_other(python: Path) -> None:
    headers = headers_for("msg_1", SECRETS[:2], datetime.now(UTC), BODY)
    said = [judged(python, secret, headers) for secret in SECRETS]
    assert said == ["release.yanked", "release.yanked", "refused"]


def test_it_holds_for_this_message_at_this_time_alone(python: Path) -> None:
    now = datetime.now(UTC)
    headers = headers_for("msg_1", SECRETS[:1], now, BODY)
    old = headers_for("msg_1", SECRETS[:1], now - timedelta(minutes=10), BODY)
    other = BODY.replace(b"1.0.0", b"2.0.0")
    cases = (
        (headers, other), ({**headers, "webhook-id": "msg_2"}, BODY),
        ({**headers, "webhook-timestamp": str(int(now.timestamp()) + 1)}, BODY), (old, BODY),
    )  # fmt: skip
    for tried, body in cases:
        assert judged(python, SECRETS[0], tried, body) == "refused"
