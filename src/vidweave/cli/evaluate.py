"""`vidweave evaluate`: evaluate a model on a task, a data set or a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidweave.cli.loading import load_pipeline
from vidweave.cli.options import (
    DEFAULT_MODEL,
    MAX_SEED,
    Adapter,
    Device,
    Dtype,
    FeatureCache,
    ModelName,
    SelectorModel,
    SelectorName,
    chosen_selectors,
)
from vidweave.cli.output import Json
from vidweave.cli.quiet import narrate
from vidweave.cli.reports import ReportFile, check_report_file
from vidweave.errors import ConfigError

if TYPE_CHECKING:
    from vidweave.evaluation.benchmarks.wording import Wording
    from vidweave.evaluation.report import Report
    from vidweave.evaluation.sweep import Setting
    from vidweave.evaluation.targets import Target
    from vidweave.types import Answerer

__all__ = ["evaluate"]

DEFAULT_TARGET = "toyworld"


def evaluate(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]", help="A task or a data set (`vidweave list`), or a data file (default: toyworld)."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the task or data set.")
    ] = None,
    model: ModelName = DEFAULT_MODEL,
    task: Annotated[str | None, typer.Option(help="The same as TARGET.")] = None,
    data: Annotated[str | None, typer.Option(help="The same as data=….")] = None,
    predictions: Annotated[
        str | None, typer.Option(help="File that keeps one JSON line per item; rerun to resume from it.")
    ] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="Questions per question type (examples=…).")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate only the first N items.")] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Questions per forward pass; halved if they do not fit into memory.")
    ] = 16,
    workers: Annotated[
        int, typer.Option(min=1, help="Batches in flight: with 2, media are decoded while the model computes.")
    ] = 1,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_SEED, help="Seed of the unseen questions (seed=…).")
    ] = None,
    question_type: Annotated[
        list[str] | None, typer.Option(help="Only this question type; repeatable (question_types=…).")
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(help="Modality of the clips; repeatable (modalities=…).")
    ] = None,
    folder: Annotated[
        str | None, typer.Option(help="Clips and questions of `vidweave toyworld make` (data=…).")
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]",
            help="Frames per question (default: the model's own number). Several numbers, e.g. 1,4,8, are evaluated one by one.",
        ),
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="RATE[,RATE...]", help="Frames per second of each clip instead; several are a sweep, too."
        ),
    ] = None,
    selector: SelectorName = None,
    selector_model: SelectorModel = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="neutral, short, merv, sevila, or a template with {question} and {options}."),
    ] = None,
    parser: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Generate the choice as text and parse it with vidweave, merv, lmms-eval-mmmu, lmms-eval-perception or "
            "vlmevalkit. By default, options are scored by likelihood.",
        ),
    ] = None,
    beams: Annotated[
        int | None,
        typer.Option(min=2, help="Beam search for open answers; all beams are kept, e.g. 5 for MA-LMM's top-5."),
    ] = None,
    grounding: Annotated[
        str | None,
        typer.Option(
            metavar="reply|select",
            help="Find the span (start, end) of each row instead of answering: read from the model's reply, or found by its "
            "selector.",
        ),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Language model that judges open answers: a folder, or a name at --judge-url.")
    ] = None,
    judge_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint of the judge, with /v1.")] = None,
    judge_batch: Annotated[
        bool,
        typer.Option("--judge-batch", help="Judge through the endpoint's batch interface, cheaper, within a day."),
    ] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="Additional caption metric that needs Java: meteor, spice.")
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Run the model also on the options alone, on the question without the clip, and on one middle frame.",
        ),
    ] = False,
    submission: Annotated[
        str | None,
        typer.Option(
            help="File for all replies, with a submission file beside it; written by default if there are no labels."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Evaluate only part I of N; join the predictions with `vidweave merge`."),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    cache: FeatureCache = None,
    adapter: Adapter = None,
    report_file: ReportFile = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model: accuracy per question type with 95% Wilson intervals.

    E.g. `vidweave evaluate nextqa data=val.csv media=videos`.
    """
    check_report_file(report_file)
    from vidweave.cli.benchmarks import RunOptions, measure_and_show, report_of, run_and_show
    from vidweave.cli.processes import device_of, evaluate_part, this_part
    from vidweave.cli.sweeps import parse_settings, sweep_and_show

    resolved, texts = _target(target, task, settings or [], data if data is not None else folder)
    if data is not None and folder is not None:
        raise ConfigError("--folder and --data are the same; give one")
    if judge_url is not None and judge is None:
        raise ConfigError("--judge-url needs --judge NAME, the model that the endpoint serves")
    if judge_batch and (judge_url is None or predictions is None):
        raise ConfigError("--judge-batch needs --judge-url, and --predictions FILE, beside which the batch is kept")
    if grounding not in (None, "reply", "select"):
        raise ConfigError(f"--grounding must be reply or select, got {grounding!r}")
    prompt = "grounding" if grounding == "reply" and prompt is None else prompt
    selectors = chosen_selectors(selector, selector_model)
    wording, part, swept = _wording(prompt, parser), _shard(shard), parse_settings(frames, fps, selectors)
    process = this_part(shard, predictions, len(swept))
    from vidweave.evaluation.frame_rate import AtFrameRate
    from vidweave.evaluation.grounding import SelectedSpans, grounding_task
    from vidweave.evaluation.targets import make_task
    from vidweave.evaluation.tasks.dataset import DatasetTask

    narrate()
    options = {"seed": seed, "examples": examples, "question_types": question_type, "modalities": modality}
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in options.items() if v is not None}
    chosen = make_task(resolved, texts, given)
    if not isinstance(chosen, DatasetTask):
        _refuse_for_tasks(judge=judge, metric=metric, submission=submission, baselines=baselines, grounding=grounding)
    elif grounding is not None:
        chosen = grounding_task(chosen)
    searched = {} if beams is None else {"num_beams": beams, "num_return_sequences": beams}
    run_options = RunOptions(
        wording=wording,
        judge=judge,
        judge_url=judge_url,
        judge_batch=judge_batch,
        metrics=metric or [],
        submission=submission,
        baselines=baselines,
        predictions=predictions,
        batch_size=batch_size,
        limit=limit,
        shard=part,
        workers=workers,
        decoding={**swept[0].decoding, **searched},
    )

    def load(in_front: str | None) -> Answerer:
        pipe = load_pipeline(
            model,
            device=device_of(process, device),
            dtype=dtype,
            cache_folder=cache,
            adapter=adapter,
            selector=in_front,
        )
        return SelectedSpans(pipe) if grounding == "select" else AtFrameRate(pipe)

    loaded = {swept[0].selector: load(swept[0].selector)}
    output = {"report_file": report_file, "as_json": as_json}
    if len(swept) > 1:

        def measure(setting: Setting, path: Path) -> Report | None:
            if setting.selector not in loaded:
                loaded.clear()  # one model at a time
                loaded[setting.selector] = load(setting.selector)
            options = replace(run_options, decoding={**setting.decoding, **searched})
            return report_of(loaded[setting.selector], chosen, options, path)

        sweep_and_show(swept, measure, predictions=predictions, **output)
        return

    def report_all(options: RunOptions) -> None:
        answerer = loaded[swept[0].selector]
        if isinstance(chosen, DatasetTask):
            measure_and_show(answerer, chosen, options, **output)
        else:
            run_and_show(answerer, chosen, options, **output)

    if process is not None:
        evaluate_part(loaded[swept[0].selector], chosen, run_options, process, report_all, as_json=as_json)
    else:
        report_all(run_options)


def _wording(prompt: str | None, parser: str | None) -> Wording:
    from vidweave.evaluation.benchmarks.wording import Wording

    return Wording(prompt=prompt or "", parser=parser or "")


def _shard(text: str | None) -> tuple[int, int] | None:
    """Parse "I/N" to (i, n) with i from 0."""
    if text is None:
        return None
    index, slash, number = text.partition("/")
    if not slash or not index.isdigit() or not number.isdigit() or not 1 <= int(index) <= int(number):
        raise ConfigError(f"--shard must be I/N with I from 1 to N, e.g. 1/4, got {text!r}")
    return int(index) - 1, int(number)


def _refuse_for_tasks(**given: Any) -> None:
    if unused := [name for name, value in given.items() if value]:
        names = ", ".join(f"--{name}" for name in unused)
        raise ConfigError(f"{names} applies to data sets; this task scores its own answers")


def _target(target: str | None, task: str | None, texts: list[str], data: str | None) -> tuple[Target, list[str]]:
    """Resolve the target and its ``key=value`` settings; the first argument may be a setting instead of a target."""
    from vidweave.evaluation.targets import find_target

    if target is not None and "=" in target:
        target, texts = None, [target, *texts]
    if target is not None and task is not None:
        raise ConfigError(f"TARGET and --task are the same; give one of {target!r} and {task!r}")
    name = target or task
    if data is None:
        return find_target(name or DEFAULT_TARGET), texts
    if any(text.startswith("data=") for text in texts):
        raise ConfigError("--data (or --folder) and data= are the same; give one")
    if name is None and not data.endswith(("/", ".")) and "." in data.rpartition("/")[2]:
        return find_target(data), texts  # the file alone identifies the target
    return find_target(name or DEFAULT_TARGET), [*texts, f"data={data}"]
