"""Claims in miniature: what the library says about itself, measured in the toy world on seeds it has never seen.

A claim is a function ``(seed, examples, *, progress) -> Claim``, in a file of its own, registered here.
"""

from vidweave.registry import Registry

CLAIMS = Registry("claim")
CLAIMS.register(
    "crema", "benchmarks.claims.crema:crema", summary="a further sense answers its own questions and costs no token"
)
CLAIMS.register("base", "benchmarks.claims.base:base", summary="tiny-base knows what it sees, and only that")
CLAIMS.register(
    "contra4",
    "benchmarks.claims.contra4:contra4",
    summary="tiny-crema compares scenes better than rules that look at nothing",
)
CLAIMS.register(
    "malmm", "benchmarks.claims.malmm:malmm", summary="merging neighbours keeps what came when in a long clip"
)
CLAIMS.register(
    "videotgb", "benchmarks.claims.videotgb:videotgb", summary="the bridge finds the few pictures that matter"
)
CLAIMS.register("merv", "benchmarks.claims.merv:merv", summary="a mixture of special eyes knows what each of them sees")
