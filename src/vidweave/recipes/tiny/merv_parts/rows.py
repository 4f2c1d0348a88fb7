"""The rows of tiny-merv: one connector each, trained to output the inputs of the language model, then to answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import vidweave
from vidweave.connectors.mixer import ChannelConcat, Mixer
from vidweave.data.toyworld import ToyQuestions
from vidweave.evaluation.runner import accuracy_by_type
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.assets import asset_folder
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.recipes.tiny.merv_parts.clips import (
    Batch,
    ClipFeatures,
    ClipTokens,
    collate,
    fact_vectors,
    with_facts,
)
from vidweave.recipes.tiny.merv_parts.language import read_language, state_of
from vidweave.recipes.tiny.merv_parts.settings import (
    COSINE,
    Settings,
    asked_question_types,
    optimizer,
    write_part_facts,
)
from vidweave.systems.merv.rows import MODEL, own_weights
from vidweave.systems.merv.tiny import (
    tiny_merv,
)
from vidweave.tiny.asset_files import write_weights
from vidweave.tiny.fact_vectors import FactVectors, relative_error
from vidweave.tiny.linear_starts import widen
from vidweave.tiny.prompts import answer_loss, select_rows
from vidweave.tiny.scenes import ClipQuestions, train_scene
from vidweave.tiny.whitening import whitening
from vidweave.training.stages import Pass, Run, Stage
from vidweave.types import Blocks

__all__ = ["RowRoot", "accuracy", "row_run"]


class RowRoot(nn.Module):
    """The row's model, and the vectors of its target tokens."""

    def __init__(self, model: VideoLanguageModel, codebook: FactVectors) -> None:
        super().__init__()
        self.model = model
        self.codebook = codebook


def row_run(s: Settings) -> Run:
    """Train the connector of one row, beside frozen encoders and the frozen language model."""
    parts, base = Path(s.parts), vidweave.load("tiny-base").model.float()
    config = tiny_merv(s.part)
    model = VideoLanguageModel(config)
    for name, encoder in model.encoders.items():
        encoder.load_state_dict(state_of(_encoder_folder(parts, name)))
    model.processor = Processor(config, base.processor.tokenizers)
    codebook = fact_vectors(model)
    read_language(parts / "language", model.language_model, codebook)
    model.eval().requires_grad_(False)
    features = ClipFeatures(dict(model.encoders.items()), base.eval(), parts / "features", s.clips)
    source = ClipQuestions(s.clips, asked_question_types(), features, per_clip=s.questions_per_clip)
    sample = [features(train_scene(index)) for index in range(min(40, s.clips))]
    for name in model.encoders:
        _init_port(model, base, name, sample)
    _init_fusion(model.connector.fusion, len(model.encoders))
    common = {
        "examples": source,
        "collate": partial(collate, model.processor),
        "batch_size": s.clips_per_step,
        "passes": (Pass("connector", _trainable(model)),),
        "schedule": COSINE,
    }
    aim = Stage(name="aim", objective=_Aim(), steps=s.aim_steps, optimizer=optimizer(lr=2e-3), **common)
    ask = Stage(
        name="answers",
        objective=_Answers(),
        steps=s.question_steps,
        optimizer=optimizer(lr=1e-3),
        **common,
    )
    return Run(
        name=config.name,
        model=RowRoot(model, codebook),
        stages=[aim, ask],
        seed=s.seed,
        finish=partial(_write_row, settings=asdict(s)),
        config={key: value for key, value in asdict(s).items() if key != "parts"},
    )


def _encoder_folder(parts: Path, name: str) -> Path:
    return asset_folder("tiny-rgb") if name == "general" else parts / f"encoder-{name}" / f"tiny-{name}"  # type: ignore[return-value]


def _trainable(model: VideoLanguageModel) -> tuple[str, ...]:
    """Name the trainable parameters: ports, fusion and the special encoders' trunks; the Q-Former of tiny-base is frozen."""
    trunks = [f"model.connector.trunks.{name}.*" for name in model.encoders if name in ("detail", "tempo")]
    fusion = ["model.connector.fusion.*"] if any(True for _ in model.connector.fusion.parameters()) else []
    return ("model.connector.ports.*", *trunks, *fusion)


@torch.no_grad()
def _init_port(model: VideoLanguageModel, base: VideoLanguageModel, name: str, sample: Sequence[ClipTokens]) -> None:
    """Initialize the ports of general encoders from tiny-base, the others with whitened features.

    The features of an encoder other than tiny-base's are mapped to those of tiny-base's encoder by least squares.
    """
    port: Any = model.connector.ports[name]
    values = torch.from_numpy(np.concatenate([clip.features[name].values for clip in sample])).float().flatten(0, 1)
    if name in ("detail", "tempo"):
        weight, bias = whitening(values)
        spread = torch.randn(len(port.input_proj.weight), len(weight)) / len(weight) ** 0.5
        port.input_proj.weight.copy_(spread @ weight)
        port.input_proj.bias.copy_(spread @ bias)
        nn.init.normal_(port.time_embedding, std=0.5)
        nn.init.normal_(port.query_tokens, std=0.5)
        widen(model.connector.trunks[name])
        return
    model.connector.trunks[name].load_state_dict(base.connector.trunks["qformer"].state_dict())
    state = base.connector.ports["video"].state_dict()
    if name != "general":
        targets = torch.cat([clip.general for clip in sample if clip.general is not None]).float().flatten(0, 1)
        ones = torch.ones(len(values), 1)
        map_ = torch.linalg.lstsq(torch.cat([values, ones], 1), torch.cat([targets, ones], 1)).solution[:, :-1]
        weight, bias = state["input_proj.weight"], state["input_proj.bias"]
        state["input_proj.weight"], state["input_proj.bias"] = weight @ map_[:-1].T, weight @ map_[-1] + bias
    port.load_state_dict(state)
    if len(model.encoders) > 1 and isinstance(model.connector.fusion, Mixer):  # the mixture is a mean at first
        port.output_proj.weight.mul_(len(model.encoders))
        port.output_proj.bias.mul_(len(model.encoders))


@torch.no_grad()
def _init_fusion(fusion: nn.Module, streams: int) -> None:
    """Initialize uniform weights; with joined channels, pass the first stream through."""
    for name, parameter in fusion.named_parameters():
        if name in ("weighting.query", "weighting.output.weight"):
            parameter.mul_(0.02)
    if isinstance(fusion, ChannelConcat):
        width = len(fusion.proj.weight)
        fusion.proj.weight.copy_(torch.cat([torch.eye(width), *[0.3 * torch.eye(width)] * (streams - 1)], 1))
        nn.init.zeros_(fusion.proj.bias)


def _tokens(root: RowRoot, batch: Batch) -> Blocks:
    first = next(iter(batch.features.values()))
    return root.model.connector(batch.features, first.item, first.scene)[0]["video"]


def _aim(root: RowRoot, batch: Batch, blocks: Blocks) -> Tensor:
    """Squared error to the tokens that the language model was trained on, in units of their variance; tokens that are
    concatenated per stream are summed."""
    targets = with_facts(root.codebook, batch.tokens, batch.labels)
    return relative_error(blocks.values.sum(1), targets)


class _Aim:
    """Loss of the target tokens."""

    def __call__(self, root: RowRoot, batch: Batch) -> dict[str, Tensor]:
        return {"loss": _aim(root, batch, _tokens(root, batch))}


class _Answers:
    """Loss of the answers, plus that of the target tokens."""

    def __call__(self, root: RowRoot, batch: Batch) -> dict[str, Tensor]:
        blocks = _tokens(root, batch)
        answers, aim = (
            answer_loss(root.model, batch.questions, select_rows(blocks, batch.clip_of)),
            _aim(root, batch, blocks),
        )
        return {"loss": answers + 0.2 * aim, "answers": answers, "aim": aim}


def accuracy(
    root: RowRoot, step: int, *, examples: int, seed: int = 0, cache_folder: Path | None = None
) -> dict[str, float]:
    """Accuracy per question type, on scenes of the test split, whose features are kept in `cache_folder`."""
    items = ToyQuestions(seed, examples, question_types=asked_question_types())
    with SlotPipeline(root.model, cache_folder=cache_folder) as pipe:
        return accuracy_by_type(pipe, items)


def _write_row(root: RowRoot, out: Path, *, settings: Mapping[str, Any]) -> dict[str, float]:
    """Write the whole model of row `attention`, with the general encoder by name; of other rows only their own weights."""
    model, row = root.model.half().float().eval(), settings["part"]  # the precision of the saved weights
    cache = Path(settings["parts"]) / "cache"  # other rows answer about the same clips
    figures = accuracy(root, -1, examples=settings["evaluation_examples"], seed=1, cache_folder=cache)
    if row == "attention":
        folder = out / "assets" / MODEL
        model.half().save_pretrained(folder, bases={"encoders.general": "tiny-rgb"})
        model.float()
        write_part_facts(
            folder / "asset.json", out, settings, figures=figures, parts=_facts_of(Path(settings["parts"]))
        )
        return figures
    folder = out / "assets" / f"{MODEL}-rows"
    write_weights(folder / f"{row}.safetensors", own_weights(model))
    write_part_facts(folder / f"{row}.json", out, settings, figures=figures)
    return figures


def _facts_of(parts: Path) -> dict[str, Any]:
    """Read the metadata of the frozen parts."""
    files = {name: parts / f"encoder-{name}" / f"tiny-{name}" for name in ("detail", "tempo")}
    files["language_model"] = parts / "language" / "tiny-merv-llama"
    return {name: json.loads((folder / "asset.json").read_text()) for name, folder in files.items()}
