"""The rows of tiny-merv: a connector each, trained to output what the language model reads, then to answer."""

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
from vidweave.evaluation.runner import right_by_family
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.assets import asset_folder
from vidweave.model.processor import Processor
from vidweave.pipelines.slot import SlotPipeline
from vidweave.recipes.tiny.merv_parts.clips import (
    Batch,
    Looks,
    Seen,
    collate,
    fact_vectors,
    with_facts,
)
from vidweave.recipes.tiny.merv_parts.language import read_language, state_of
from vidweave.recipes.tiny.merv_parts.settings import (
    COSINE,
    Settings,
    asked_families,
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
    """The row's model, and what its tokens should be."""

    def __init__(self, model: VideoLanguageModel, codebook: FactVectors) -> None:
        super().__init__()
        self.model = model
        self.codebook = codebook


def row_run(s: Settings) -> Run:
    """Train the connector of one row, beside frozen encoders and the frozen language model."""
    parts, base = Path(s.parts), vidweave.load("tiny-base").model.float()
    config = tiny_merv(s.part)
    model = VideoLanguageModel(config)
    for eye, encoder in model.encoders.items():
        encoder.load_state_dict(state_of(_encoder_folder(parts, eye)))
    model.processor = Processor(config, base.processor.tokenizers)
    codebook = fact_vectors(model)
    read_language(parts / "language", model.language_model, codebook)
    model.eval().requires_grad_(False)
    looks = Looks(dict(model.encoders.items()), base.eval(), parts / "features", s.clips)
    source = ClipQuestions(s.clips, asked_families(), looks, per_clip=s.questions_per_clip)
    sample = [looks(train_scene(index)) for index in range(min(40, s.clips))]
    model.use_cache_folder(parts / "cache")  # for the clips that rows are held against
    for eye in model.encoders:
        _start_from_base(model, base, eye, sample)
    _start_fusion(model.connector.fusion, len(model.encoders))
    common = {
        "examples": source,
        "collate": partial(collate, model),
        "batch_size": s.clips_per_step,
        "passes": (Pass("connector", _learning(model)),),
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


def _encoder_folder(parts: Path, eye: str) -> Path:
    return asset_folder("tiny-rgb") if eye == "general" else parts / f"eye-{eye}" / f"tiny-{eye}"  # type: ignore[return-value]


def _learning(model: VideoLanguageModel) -> tuple[str, ...]:
    """Ports, fusion and the trunks that see specialities; the Q-Former of tiny-base stays as it is."""
    trunks = [f"model.connector.trunks.{eye}.*" for eye in model.encoders if eye in ("detail", "tempo")]
    fusion = ["model.connector.fusion.*"] if any(True for _ in model.connector.fusion.parameters()) else []
    return ("model.connector.ports.*", *trunks, *fusion)


@torch.no_grad()
def _start_from_base(model: VideoLanguageModel, base: VideoLanguageModel, eye: str, sample: Sequence[Seen]) -> None:
    """General eyes start from tiny-base, the others from white features.

    An eye that tiny-base does not know is led to it by the linear map under which its features look most like those of
    the eye that it knows.
    """
    port: Any = model.connector.ports[eye]
    values = torch.from_numpy(np.concatenate([seen.features[eye].values for seen in sample])).float().flatten(0, 1)
    if eye in ("detail", "tempo"):
        weight, bias = whitening(values)
        spread = torch.randn(len(port.input_proj.weight), len(weight)) / len(weight) ** 0.5
        port.input_proj.weight.copy_(spread @ weight)
        port.input_proj.bias.copy_(spread @ bias)
        nn.init.normal_(port.time_embedding, std=0.5)
        nn.init.normal_(port.query_tokens, std=0.5)
        widen(model.connector.trunks[eye])
        return
    model.connector.trunks[eye].load_state_dict(base.connector.trunks["qformer"].state_dict())
    known = base.connector.ports["video"].state_dict()
    if eye != "general":
        theirs = torch.cat([seen.known for seen in sample if seen.known is not None]).float().flatten(0, 1)
        ones = torch.ones(len(values), 1)
        found = torch.linalg.lstsq(torch.cat([values, ones], 1), torch.cat([theirs, ones], 1)).solution[:, :-1]
        weight, bias = known["input_proj.weight"], known["input_proj.bias"]
        known["input_proj.weight"], known["input_proj.bias"] = weight @ found[:-1].T, weight @ found[-1] + bias
    port.load_state_dict(known)
    if len(model.encoders) > 1 and isinstance(model.connector.fusion, Mixer):  # the mixture is a mean at first
        port.output_proj.weight.mul_(len(model.encoders))
        port.output_proj.bias.mul_(len(model.encoders))


@torch.no_grad()
def _start_fusion(fusion: nn.Module, streams: int) -> None:
    """Even weights at first; channels joined so that the first stream passes."""
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
    """Squared distance to what the language model was taught on, in units of its variance; tokens that stand one stream
    after the other are summed."""
    wanted = with_facts(root.codebook, batch.tokens, batch.labels)
    return relative_error(blocks.values.sum(1), wanted)


class _Aim:
    def __call__(self, root: RowRoot, batch: Batch) -> dict[str, Tensor]:
        return {"loss": _aim(root, batch, _tokens(root, batch))}


class _Answers:
    """Answer, and keep to the aim."""

    def __call__(self, root: RowRoot, batch: Batch) -> dict[str, Tensor]:
        blocks = _tokens(root, batch)
        answers, aim = (
            answer_loss(root.model, batch.questions, select_rows(blocks, batch.clip_of)),
            _aim(root, batch, blocks),
        )
        return {"loss": answers + 0.2 * aim, "answers": answers, "aim": aim}


def accuracy(root: RowRoot, step: int, *, examples: int, seed: int = 0) -> dict[str, float]:
    """Share of right answers per family, on scenes of the test split."""
    asked = ToyQuestions(seed, examples, families=asked_families())
    return right_by_family(SlotPipeline(root.model), asked)


def _write_row(root: RowRoot, out: Path, *, settings: Mapping[str, Any]) -> dict[str, float]:
    """The whole model of row `attention`, beside the general eye's name; of the others what they learnt themselves."""
    model, row = root.model.half().float().eval(), settings["part"]  # as it will be read back
    figures = accuracy(root, -1, examples=settings["evaluation_examples"], seed=1)
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
    """What the frozen parts say of themselves."""
    files = {eye: parts / f"eye-{eye}" / f"tiny-{eye}" for eye in ("detail", "tempo")}
    files["language_model"] = parts / "language" / "tiny-merv-llama"
    return {name: json.loads((folder / "asset.json").read_text()) for name, folder in files.items()}
