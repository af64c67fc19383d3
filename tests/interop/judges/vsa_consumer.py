"""A consumer of SLSA verification summaries that knows nothing of this project.

It goes through the steps of SLSA v1.0, "Verification Summary Attestation (VSA)", *How to verify*:
the signature (1), the subject (2), the predicate type (3), the resource (4), the result (5) and the
levels (6). Arguments: envelope, public key as PEM, verifier id, sha256 of the artifact, resource
URI, level.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey


def main(path: str, pem: str, verifier: str, digest: str, resource: str, level: str) -> None:
    document = json.loads(Path(path).read_bytes())
    public = serialization.load_pem_public_key(Path(pem).read_bytes())
    key = SSlibKey.from_crypto(public, keyid=document["signatures"][0]["keyid"])
    envelope = Envelope.from_dict(document)
    envelope.verify([key], 1)  # 1
    statement = json.loads(base64.b64decode(document["payload"]))
    require(envelope.payload_type == "application/vnd.in-toto+json", "payload type")
    require(statement["_type"] == "https://in-toto.io/Statement/v1", "statement type")
    digests = [subject["digest"]["sha256"] for subject in statement["subject"]]
    require(digest in digests, "subject")  # 2
    require(
        statement["predicateType"] == "https://slsa.dev/verification_summary/v1", "predicate type"
    )  # 3
    predicate = statement["predicate"]
    require(predicate["verifier"]["id"] == verifier, "verifier")
    require(predicate["resourceUri"] == resource, "resource")  # 4
    require(predicate["verificationResult"] == "PASSED", "result")  # 5
    require(level in predicate["verifiedLevels"], "levels")  # 6
    require(set(predicate["policy"]) == {"uri", "digest"}, "policy")
    print("accepted")


def require(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"refused: {what}")


if __name__ == "__main__":
    main(*sys.argv[1:])
