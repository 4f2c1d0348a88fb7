"""`vidweave compose`: compose a model from pretrained components and save it to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidweave.cli.amounts import format_count
from vidweave.cli.output import Json, show, table
from vidweave.errors import ConfigError
from vidweave.loading import check_dtype

__all__ = ["compose"]


def compose(
    encoder: Annotated[
        list[str], typer.Option(help="Folder or hub id of a transformers vision or audio encoder; repeatable.")
    ],
    language_model: Annotated[str, typer.Option(help="Folder or hub id of a causal or sequence-to-sequence model.")],
    out: Annotated[Path, typer.Option(help="Output folder; `vidweave ask --model FOLDER` loads it.")],
    connector: Annotated[str, typer.Option(help="mlp, qformer, resampler or mixer.")] = "mlp",
    num_frames: Annotated[int, typer.Option(help="Frames sampled from a video.", min=1)] = 8,
    tokens_per_frame: Annotated[
        int, typer.Option(help="Visual tokens per frame; 0 keeps all (mlp and mixer).", min=0)
    ] = 16,
    selector: Annotated[str, typer.Option(help="A name from `vidweave list selectors`.")] = "uniform",
    memory: Annotated[int, typer.Option(help="Entries of MA-LMM's memory banks; 0 disables the memory.", min=0)] = 0,
    qformer: Annotated[
        str | None,
        typer.Option(help="Folder or hub id of a BLIP-2 or InstructBLIP model to initialize the Q-Former from."),
    ] = None,
    adapter_rank: Annotated[
        int, typer.Option(help="Rank of the per-encoder adapters in the Q-Former; 0 disables them.", min=0)
    ] = 0,
    choices: Annotated[str, typer.Option(help="Present and score options as `letters` or `texts`.")] = "letters",
    layer: Annotated[int, typer.Option(help="Hidden layer of the encoders to use; LLaVA uses -2.")] = -1,
    dtype: Annotated[
        str, typer.Option(help="Dtype of the weights.", callback=lambda name: check_dtype(name))
    ] = "float32",
    bases: Annotated[
        bool,
        typer.Option("--bases", help="Save only the connector, and reference the other components by name and hash."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compose a model from pretrained encoders and a language model, with a new connector between them."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} already exists; choose another folder for --out, or remove it")

    import vidweave

    kinds: Any = {"connector": connector, "choices": choices}
    pipe = vidweave.compose(
        encoder,
        language_model,
        num_frames=num_frames,
        tokens_per_frame=tokens_per_frame or None,
        selector=selector,
        memory=memory or None,
        qformer=qformer,
        adapter_rank=adapter_rank,
        layer=layer,
        dtype=dtype,
        **kinds,
    )
    pipe.save_pretrained(out, **({"bases": pipe.bases} if bases else {}))
    slots = [
        _counts(name, pipe.model.get_submodule(name))
        for name in ("selector", "encoders", "connector", "language_model")
    ]
    rows = [(s["slot"], format_count(s["parameters"]), format_count(s["trainable"])) for s in slots]
    text = (
        table(rows, ("slot", "parameters", "trainable"))
        + f"\nwritten to {out}; train it, or try: vidweave ask CLIP QUESTION --model {out}"
    )
    show({"out": str(out), "bases": pipe.bases if bases else {}, "slots": slots}, text, as_json=as_json)


def _counts(slot: str, module: Any) -> dict[str, Any]:
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return {
        "slot": slot,
        "parameters": sum(n for n, _ in sizes),
        "trainable": sum(n for n, is_trainable in sizes if is_trainable),
    }
