"""Claims of the library, measured in the toy world on unseen seeds.

A claim is a function ``(seed, examples, *, progress) -> Claim``, in its own file, registered here.
"""

from vidweave.registry import Registry

CLAIMS = Registry("claim")
CLAIMS.register(
    "crema",
    "benchmarks.claims.crema:crema",
    summary="a further modality answers its own questions without extra tokens",
)
CLAIMS.register("base", "benchmarks.claims.base:base", summary="tiny-base answers from its video, and only from that")
CLAIMS.register(
    "contra4",
    "benchmarks.claims.contra4:contra4",
    summary="tiny-crema compares scenes better than blind baselines",
)
CLAIMS.register(
    "malmm", "benchmarks.claims.malmm:malmm", summary="merging neighbors preserves the order of events in a long clip"
)
CLAIMS.register("videotgb", "benchmarks.claims.videotgb:videotgb", summary="the bridge finds the few relevant frames")
CLAIMS.register(
    "merv", "benchmarks.claims.merv:merv", summary="a mixture of special encoders has the strengths of each"
)
