"""The published data: the released code's settings on its caption files, with models behind OpenAI-compatible servers.

Start one server per model (`vllm serve meta-llama/Meta-Llama-3-8B --port 8000`, …), put the caption files into one folder
and run

    vidweave contra4 generate contra4/published pools=captions --out runs/contra4

The captions of MSR-VTT are a parquet file, read with pyarrow (extra `scale`).
"""

from dataclasses import dataclass
from pathlib import Path

from vidweave.contra4.answers import Answers
from vidweave.contra4.balance import Balance
from vidweave.contra4.categories import Categories
from vidweave.contra4.embedding import MINILM, HuggingFaceEmbedder, TfIdfEmbedder
from vidweave.contra4.filters import Filters, WordFilter
from vidweave.contra4.pipeline import Pipeline
from vidweave.contra4.pools import PoolFile, Pools
from vidweave.contra4.prompts import published
from vidweave.contra4.questions import Questions
from vidweave.contra4.sampling import Tuples
from vidweave.contra4.verification import Verification, Verifier
from vidweave.engines.openai import OpenAIEngine

__all__ = ["Settings", "files", "recipe"]

RELEASED = ("llama", "mistral", "phi")
"""The verifiers of the released data."""


@dataclass(frozen=True)
class Settings:
    """Settings of the recipe.

    Attributes:
        pools: Folder with `audiocaps.csv`, `clotho_development.csv` (or `_validation`, `_evaluation`), `coco.json`, `pointllm.json` and
            `msrvtt.parquet`.
        writer, category, llama, mistral, phi: Addresses of the servers.
        per_combination: Tuples for each of the 11 combinations of modalities, per selection.
        concurrency: Requests in flight per server.
        embedder: Encoder of captions, by hub id or folder; `tf-idf` compares words and needs no model.
        thrifty: Drop forbidden words before answers are requested, and stop asking a verifier once it has
            lost: the same questions for half of the requests.
    """

    pools: str = "captions"
    writer: str = "http://127.0.0.1:8000/v1"
    category: str = "http://127.0.0.1:8001/v1"
    llama: str = "http://127.0.0.1:8001/v1"
    mistral: str = "http://127.0.0.1:8002/v1"
    phi: str = "http://127.0.0.1:8003/v1"
    per_combination: int = 30_000
    concurrency: int = 128
    embedder: str = MINILM
    thrifty: bool = True


def recipe(
    pools: str, per_combination: int, concurrency: int, embedder: str, thrifty: bool, **addresses: str
) -> Pipeline:
    """Build all stages."""

    def engine(model: str, server: str) -> OpenAIEngine:
        return OpenAIEngine(model=model, base_url=addresses[server], dialect="vllm", concurrency=concurrency)

    models = published()
    writer = engine(models["question"]["model"], "writer")
    verifiers = tuple(
        Verifier(name=name, engine=engine(info["model"], name), style="chat" if info["chat"] else "text")
        for name, info in models["verification"]["verifiers"].items()
        if name in RELEASED
    )
    words = (WordFilter(),) if thrifty else ()
    return Pipeline(
        name="contra4",
        stages=(
            Pools(files=files(Path(pools))),
            Tuples(
                per_combination=per_combination,
                embedder=TfIdfEmbedder() if embedder == "tf-idf" else HuggingFaceEmbedder(model=embedder),
            ),
            Questions(engine=writer),
            *words,
            Answers(engine=writer),
            Verification(verifiers=verifiers, stop_when_lost=thrifty),
            Filters(verifiers=RELEASED),
            Balance(),
            Categories(engine=engine(models["category"]["model"], "category")),
        ),
    )


def files(folder: Path) -> tuple[PoolFile, ...]:
    """List the caption files in the order of the published pools."""
    clotho = [folder / f"clotho_{split}.csv" for split in ("development", "validation", "evaluation")]
    return (
        PoolFile(path=str(folder / "audiocaps.csv"), modality="audio", format="audiocaps"),
        *(PoolFile(path=str(path), modality="audio", format="clotho") for path in clotho if path.is_file()),
        PoolFile(path=str(folder / "pointllm.json"), modality="pc", format="pointllm"),
        PoolFile(path=str(folder / "coco.json"), modality="image", format="coco", source="coco_val"),
        PoolFile(path=str(folder / "msrvtt.parquet"), modality="video", format="msrvtt", source="msrvtt_test"),
    )
