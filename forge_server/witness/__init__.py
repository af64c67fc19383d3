"""The witness: a small service apart from the registry that cosigns a log's checkpoints.

It speaks c2sp.org/tlog-witness (``add-checkpoint`` and the monitoring endpoint) and makes
Ed25519 cosignatures. It shares the registry's package and none of its services or database.

* `judging`     whether a checkpoint may be cosigned; pure
* `memory`      the folder: keys, logs, and what was cosigned last, on disk before it is said
* `evidence`    what is kept when a log contradicts itself
* `service`     judge, cosign, remember, answer, one after the other
* `app`         the three addresses
* `main`        the command ``forge-witness``
"""
