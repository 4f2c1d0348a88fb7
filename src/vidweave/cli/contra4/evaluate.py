"""`vidweave contra4 evaluate`: evaluate a model on a question file, next to blind baselines."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vidweave.cli.contra4.doctor import MediaOption, media_folders
from vidweave.cli.loading import load_pipeline
from vidweave.cli.options import Device, Dtype
from vidweave.cli.output import Json, show, table
from vidweave.cli.predictions_file import predictions_path
from vidweave.cli.quiet import narrate
from vidweave.cli.reports import ReportFile, check_report_file, write_report
from vidweave.errors import ConfigError, MediaNotFoundError, ModalityError, UnknownNameError
from vidweave.model.names import find_model

__all__ = ["evaluate"]

MOST_ROWS = 20
BLIND = ("always-a", "modality-prior", "longest-caption")
Mode = Literal["scenes", "apart", "captions", "endpoint"]
Style = Literal["chat", "text"]


def evaluate(
    split: Annotated[Path, typer.Option(help="Questions as JSON or JSON lines, plain or gzip.")],
    model: Annotated[
        str,
        typer.Option(
            help="A vidweave model (name, folder or hub id), a model served at --base-url, a language model for "
            "--mode captions; or a blind rule: always-a, modality-prior, longest-caption."
        ),
    ] = "modality-prior",
    mode: Annotated[
        Mode,
        typer.Option(
            help="scenes: all scenes in one prompt; apart: one by one; captions: a language model reads their captions; "
            "endpoint: a multimodal model served at --base-url."
        ),
    ] = "scenes",
    base_url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1; key in OPENAI_API_KEY.")
    ] = None,
    media: MediaOption = None,
    captions: Annotated[
        Path | None, typer.Option(help="Captions that replace those of the file (source, id, caption).")
    ] = None,
    style: Annotated[
        Style,
        typer.Option(
            help="Prompt of --mode captions: a chat message, or the text of the published baseline for base models."
        ),
    ] = "chat",
    modality: Annotated[
        list[str] | None, typer.Option(help="Only questions about these modalities; repeatable.")
    ] = None,
    fit_on: Annotated[Path | None, typer.Option(help="Another question file to fit a blind prior on.")] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Also ask without media and with the media of other questions (MSNR).")
    ] = False,
    orders: Annotated[bool, typer.Option("--orders", help="Also ask with the scenes in every order.")] = False,
    predictions: Annotated[
        str | None, typer.Option(help="File that keeps one JSON line per item; rerun to resume from it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate only the first N questions.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions per model call.")] = 16,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames per video (default: the model's own number).")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    report_file: ReportFile = None,
    as_json: Json = False,
) -> None:
    """Evaluate accuracy by selection, number of scenes, modalities, answer and category, next to blind baselines."""
    check_report_file(report_file)
    _check_mode(mode, base_url)
    if mode in ("scenes", "apart") and model not in BLIND:
        find_model(model)  # a wrong name fails before torch is imported
    if style != "chat" and mode != "captions":
        raise ConfigError(f"--style applies to --mode captions, not to {mode}")
    if model in BLIND and controls:
        raise ConfigError(f"{model} uses no media, so --controls would ask the same question three times; omit it")
    from vidweave.contra4.evaluate import Evaluation
    from vidweave.contra4.evaluate import evaluate as measure
    from vidweave.contra4.schema import read_questions

    narrate()
    evaluation = Evaluation(
        questions=_only(read_questions(split), modality),
        file_hash=hashlib.sha256(split.read_bytes()).hexdigest(),
        locate=None if mode == "captions" or model in BLIND else _located(media),
        captions=_captions(captions),
        fit_on=read_questions(fit_on) if fit_on is not None else None,
        controls=controls,
        orders=orders,
        decoding={} if frames is None else {"num_frames": frames},
        batch_size=batch_size,
        limit=limit,
    )
    answerer = _answerer(model, mode, style, base_url, {"device": device, "dtype": dtype})
    try:
        with predictions_path(predictions) as path:
            results = {**measure(answerer, evaluation, path), "predictions": predictions}
    except ModalityError as error:
        raise ModalityError(f"{error}; use --modality NAME (repeatable) to skip questions about others") from error
    write_report(report_file, results)
    show(results, _text(results), as_json=as_json)


def _check_mode(mode: Mode, base_url: str | None) -> None:
    if mode == "endpoint" and base_url is None:
        raise ConfigError("--mode endpoint needs --base-url, the address of an OpenAI-compatible server")
    if mode in ("scenes", "apart") and base_url is not None:
        raise ConfigError(f"--base-url applies to --mode captions or endpoint, not to {mode}")


def _only(questions: list[Any], modalities: list[str] | None) -> list[Any]:
    if not modalities:
        return questions
    kept = [question for question in questions if set(question.modalities) <= set(modalities)]
    if not kept:
        raise ConfigError(f"no question is about {', '.join(modalities)} alone; the files call a point cloud pc")
    return kept


def _located(folders: list[str] | None) -> Any:
    """Return a function that maps a scene to its clip, or to None if the clip is missing."""
    from vidweave.contra4.media import Media

    media = Media.from_settings(media_folders(folders))

    def locate(scene: Any) -> Any:
        try:
            return media.clip(scene)
        except (MediaNotFoundError, UnknownNameError):
            return None

    return locate


def _captions(path: Path | None) -> Any:
    if path is None:
        return None
    from vidweave.contra4.baselines.captions import read_captions

    return read_captions(path)


def _answerer(model: str, mode: Mode, style: Style, base_url: str | None, load_options: dict[str, str | None]) -> Any:
    """Build the answerer; imports happen here."""
    if model in BLIND:
        from vidweave.contra4.blind import BlindAnswerer, always, by_modality, longest_caption

        return BlindAnswerer(model, dict(zip(BLIND, (always(0), by_modality(), longest_caption), strict=True))[model])
    if mode == "captions":
        from vidweave.contra4.baselines.captions import CaptionAnswerer

        return CaptionAnswerer(engine=_engine(model, base_url, load_options), style=style)
    if mode == "endpoint":
        from vidweave.contra4.baselines.endpoint import EndpointAnswerer

        return EndpointAnswerer(engine=_engine(model, base_url, load_options))

    loaded = load_pipeline(model, **load_options)
    if mode == "scenes":
        return loaded
    from vidweave.contra4.baselines.apart import SceneByScene

    return SceneByScene(model=loaded)


def _engine(model: str, base_url: str | None, load_options: dict[str, str | None]) -> Any:
    if base_url is not None:
        from vidweave.engines.openai import OpenAIEngine

        return OpenAIEngine(model=model, base_url=base_url)
    from vidweave.engines.local import TransformersEngine

    given: dict[str, Any] = {name: value for name, value in load_options.items() if value is not None}
    return TransformersEngine(model, **given)


def _text(results: dict[str, Any]) -> str:
    """Format the results: the model, controls, blind baselines, published numbers, then every breakdown."""
    whole, coverage = results["overall"], results["coverage"]
    rows = [(results["model"].get("model", "model"), *_accuracy(whole), "")]
    rows += [(name, *_accuracy(control), "control") for name, control in results["controls"].items()]
    for rule in results["baselines"]:
        gain = f"blind; {rule['gain']:+.3f} ({rule['low']:+.3f} to {rule['high']:+.3f}) above it"
        rows.append((rule["name"], f"{rule['overall']:.3f}", "", "", gain))
    rows += [(r["name"], f"{r['overall']:.3f}", "", "", f"published, {r['source']}") for r in results["published"]]
    parts = [table(rows, ("", "accuracy", "95% interval", "questions", ""))]
    parts += [f"{name}: {'-' if value is None else f'{value:.3f}'}" for name, value in results["measures"].items()]
    if coverage["left_out"]:
        parts.append(f"{coverage['left_out']} questions with missing media were skipped")
    for title, groups in results["facets"].items():
        if 1 < len(groups) <= MOST_ROWS:
            parts.append(
                table(
                    [(g["question_type"], *_accuracy(g)) for g in groups],
                    (title, "accuracy", "95% interval", "questions"),
                )
            )
    return "\n\n".join(parts)


def _accuracy(group: dict[str, Any]) -> tuple[Any, ...]:
    return f"{group['accuracy']:.3f}", f"{group['low']:.3f} to {group['high']:.3f}", group["num_items"]
