"""`vidweave models`: list models by name, and their size and cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidweave.cli.amounts import format_bytes, format_count, parse_bytes
from vidweave.cli.card import fits_on, fitting_lines
from vidweave.cli.output import Json, show, table
from vidweave.errors import UnknownNameError
from vidweave.loading import check_dtype
from vidweave.registration import import_object
from vidweave.registry import CHECKPOINT_FORMATS, MODELS

if TYPE_CHECKING:
    from vidweave.model.describe import SlotCost

__all__ = ["app", "list_models", "show_model"]

app = typer.Typer(name="models", help="Models by name, and their size and cost.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the model names that `ask`, `evaluate` and vidweave.load accept."""
    from vidweave.model.assets import asset_folder

    rows = []
    for name in MODELS:
        facts = MODELS.entry(name).facts
        weights = str(facts.weights)
        is_shipped = asset_folder(weights) is not None
        state = "shipped" if is_shipped else _state(weights)
        rows.append(
            {
                "name": name,
                "summary": facts.summary,
                "weights": weights,
                "shipped": is_shipped,
                "state": state,
                "loads_now": state in ("shipped", "downloaded"),
            }
        )
    lines = [
        (r["name"], r["state"], r["weights"] if r["state"] in ("downloaded", "hub") else "", r["summary"]) for r in rows
    ]
    text = "\n".join([table(lines, ("name", "state", "hub id", "summary")), "", *HINTS])
    show({"models": rows}, text, as_json=as_json)


HINTS = (
    "shipped, downloaded: loads now, offline: vidweave ask CLIP QUESTION --model NAME",
    "hub: the same command downloads the weights first",
    "convert: give the released file once: vidweave convert LAYOUT FILE --out FOLDER; then --model FOLDER",
    "any other folder or hub id of BLIP-2, InstructBLIP or a whole vision-language model of transformers loads too",
)


def _state(weights: str) -> str:
    """`downloaded` if the hub's cache holds configuration and weights, else `hub`; `convert` for a model without a hub id."""
    if not weights:
        return "convert"
    from huggingface_hub import try_to_load_from_cache

    def is_there(name: str) -> bool:
        return isinstance(try_to_load_from_cache(weights, name), str)

    has_weights = any(map(is_there, ("model.safetensors", "model.safetensors.index.json")))
    return "downloaded" if has_weights and is_there("config.json") else "hub"


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="A name from `vidweave models list`, or a folder.")],
    dtype: Annotated[
        str, typer.Option(help="Dtype of the weights, to compute their size.", callback=lambda name: check_dtype(name))
    ] = "bfloat16",
    card: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Also estimate which precisions fit on a graphics card, e.g. 24GB."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show parameters, memory and FLOPs per slot; no weights are loaded (meta device)."""
    card_bytes = None if card is None else parse_bytes(card)
    if name not in MODELS and not (Path(name) / "config.json").is_file():
        raise UnknownNameError("model", name, MODELS, "(a folder with a config.json works too)")

    import torch

    costs = _costs(name, getattr(torch, dtype))
    slots = [
        {"slot": c.slot, "parameters": c.parameters, "weight_bytes": c.weight_bytes, "flops": c.flops, "note": c.note}
        for c in costs
    ]
    total = {
        "parameters": sum(c.parameters for c in costs),
        "weight_bytes": sum(c.weight_bytes for c in costs),
        "flops": sum(c.flops or 0 for c in costs),
    }
    rows = [(s["slot"], *_cells(s), s["note"]) for s in slots] + [("total", *_cells(total), f"weights in {dtype}")]
    data = {"name": name, "dtype": dtype, "slots": slots, "total": total}
    text = table(rows, ("slot", "parameters", "weights", "FLOPs per question", "note"))
    if card_bytes is not None:
        data["card"] = {"bytes": card_bytes, "estimates": fits_on(slots, card_bytes)}
        text = "\n".join([text, "", *fitting_lines(data["card"]["estimates"], card_bytes)])
    show(data, text, as_json=as_json)


def _costs(name: str, dtype: Any) -> list[SlotCost]:
    from vidweave.model.describe import describe_model
    from vidweave.model.files import read_model_type
    from vidweave.model.look_first import is_vision_language
    from vidweave.pipelines.vlm.describe import describe_folder

    if name not in MODELS:
        held = read_model_type(Path(name))
        if held not in CHECKPOINT_FORMATS and is_vision_language(held):
            return describe_folder(Path(name), dtype=dtype)
    return describe_model(_config(name), dtype=dtype)


def _cells(cost: dict[str, Any]) -> tuple[str, str, str]:
    return format_count(cost["parameters"]), format_bytes(cost["weight_bytes"]), format_count(cost["flops"])


def _config(name: str) -> Any:
    """The configuration of a registered model or of a folder."""
    if name not in MODELS:
        return _folder_config(Path(name))
    entry = MODELS.entry(name)
    if entry.target is not None:
        return entry.load()()
    from vidweave.model.load import find_folder

    return _folder_config(find_folder(name))


def _folder_config(folder: Path) -> Any:
    from vidweave.model.config import VideoLanguageConfig
    from vidweave.model.files import read_model_type
    from vidweave.model.look_first import refuse_kind

    model_type = read_model_type(folder)
    refuse_kind(str(folder), model_type, [VideoLanguageConfig.model_type, *CHECKPOINT_FORMATS])
    if model_type in CHECKPOINT_FORMATS:
        return import_object(CHECKPOINT_FORMATS.entry(model_type).facts.config)(folder)
    return VideoLanguageConfig.from_folder(folder)
