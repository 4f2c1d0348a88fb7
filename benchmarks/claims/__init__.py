"""Claims in miniature: what the library says about itself, measured in the toy world on seeds it has never seen.

A claim is a function ``(seed, examples, *, progress) -> Claim``, in a file of its own, registered here.
"""

from vidweave.registry import Registry

CLAIMS = Registry("claim")
CLAIMS.register("base", "benchmarks.claims.base:base", what="tiny-base knows what it sees, and only that")
