"""The transparency log: Merkle trees, tiles, signed notes and proofs, in the C2SP formats.

* `merkle`      trees and proofs (RFC 6962 §2.1)
* `tiles`       the tree as static files (c2sp.org/tlog-tiles)
* `note`        signed notes and their keys (c2sp.org/signed-note)
* `checkpoint`  tree heads, and witnesses' cosignatures (tlog-checkpoint, tlog-cosignature)
* `proof`       a proof that verifies offline, years later (c2sp.org/tlog-proof)
* `entries`     what the leaves of this registry's log say
* `fork`        evidence that a log showed two histories
* `audit`       going through a log from its first leaf
* `witnessing`  what a log asks a witness, and the answers (c2sp.org/tlog-witness)
* `policy`      which log and which witnesses a client believes
"""
