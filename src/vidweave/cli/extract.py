"""`vidweave extract`: depth, normals, flow, frames, trimmed clips and point features of clips or folders of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidweave.cli.loading import load_pipeline
from vidweave.cli.options import DEFAULT_MODEL, End, Start, checked_device, checked_model
from vidweave.cli.output import Json, show
from vidweave.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(
    name="extract",
    help="Extract further modalities and files from videos; existing outputs are skipped.",
    no_args_is_help=True,
)

Clips = Annotated[list[str], typer.Argument(metavar="CLIP…", help="Video files, or folders of video files.")]
Out = Annotated[str, typer.Option(help="Output folder, also for manifest.jsonl.")]
Workers = Annotated[int, typer.Option(min=1, help="Clips processed in parallel.")]
Fps = Annotated[float | None, typer.Option(help="Frames per second (default: all frames).")]
Device = Annotated[str, typer.Option(help="Device, e.g. cuda.", callback=checked_device)]


@app.command("depth")
def depth(
    clips: Clips,
    out: Out,
    model: Annotated[
        str, typer.Option(help="zoedepth, depth-anything[-indoor|-outdoor], a folder or hub id.")
    ] = "zoedepth",
    fps: Fps = None,
    device: Device = "cpu",
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Estimate the depth of every frame: NAME.npy (T, H, W, 1) and its timestamps."""
    from vidweave.derive.depth import DepthEstimator, DepthJob
    from vidweave.derive.work import find_clips

    result = find_clips(clips)
    _run(DepthJob(estimator=DepthEstimator(model, device=device), fps=fps), result, out, workers, as_json)


@app.command("normals")
def normals(
    clips: Annotated[list[str], typer.Argument(metavar="CLIP…", help="Depth arrays or videos, or folders of them.")],
    out: Out,
    method: Annotated[str, typer.Option(help="geometry, or the name of your own registered estimator.")] = "geometry",
    depth_model: Annotated[str | None, typer.Option(help="Metric depth model, for video clips.")] = None,
    field_of_view: Annotated[float, typer.Option(help="Horizontal field of view of the camera in degrees.")] = 60.0,
    fps: Fps = None,
    device: Device = "cpu",
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Estimate surface normals: NAME.npy (T, H, W, 3), unit vectors (right, down, towards the camera)."""
    from vidweave.derive.depth import DepthEstimator
    from vidweave.derive.normals import NormalsJob
    from vidweave.derive.work import ARRAYS, VIDEOS, find_clips

    result = find_clips(clips, ARRAYS if method == "geometry" and depth_model is None else VIDEOS)
    estimator = None if depth_model is None else DepthEstimator(depth_model, device=device)
    job = NormalsJob(method=method, depth=estimator, fps=fps, field_of_view=field_of_view)
    _run(job, result, out, workers, as_json)


@app.command("flow")
def flow(
    clips: Clips,
    out: Out,
    weights: Annotated[
        str | None,
        typer.Option(help="RAFT's published weights (raft-sintel.pth, or safetensors); or give --vectors."),
    ] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="Use the codec's motion vectors instead of RAFT.")] = False,
    fps: Annotated[float, typer.Option(min=0.001, help="Frames per second.")] = 2.0,
    size: Annotated[int, typer.Option(min=1, help="Height and width of the flow maps; at least 128 for RAFT.")] = 224,
    rgb: Annotated[
        bool, typer.Option("--rgb", help="Also write NAME_rgb.mp4: hue is the direction, color the magnitude.")
    ] = False,
    iterations: Annotated[int, typer.Option(min=1, help="RAFT iterations.")] = 20,
    device: Device = "cpu",
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Estimate flow from each frame to the next: NAME.npy (T, H, W, 2), right and down in pixels, and its timestamps."""
    from vidweave.derive.flow import FlowJob
    from vidweave.derive.work import find_clips

    if vectors == (weights is not None):
        raise ConfigError("give RAFT's weights with --weights, or use the codec's motion vectors with --vectors")
    result = find_clips(clips)
    estimator = None if weights is None else _raft(weights, size, iterations, device)
    name = "motion vectors" if weights is None else f"raft, {iterations} iterations, {_digest(weights)}"
    job = FlowJob(estimator=estimator, name=name, fps=fps, height=size, width=size, has_rgb=rgb)
    _run(job, result, out, workers, as_json)


@app.command("frames")
def frames(
    clips: Clips,
    out: Out,
    fps: Fps = None,
    height: Annotated[int | None, typer.Option(min=1, help="Scale down to this height.")] = None,
    pattern: Annotated[str, typer.Option(help="File name pattern; MA-LMM uses frame%06d.jpg.")] = "%05d.jpg",
    annotations: Annotated[
        list[str] | None, typer.Option(help="Annotation files to update with the frame counts.")
    ] = None,
    field: Annotated[str, typer.Option(help="Annotation field of the frame count.")] = "frame_length",
    video_field: Annotated[
        str | None, typer.Option(help="Annotation field of the clip's name (default: its key).")
    ] = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Extract the frames of each clip to its own folder, and update the frame counts of annotations."""
    from vidweave.derive.frames import FrameJob, rewrite_counts
    from vidweave.derive.work import find_clips

    job = FrameJob(fps=fps, height=height, pattern=pattern)
    report, made = _work(job, find_clips(clips), out, workers)
    counts = {name: line["num_frames"] for name, line in made.items() if "num_frames" in line}
    changed = {
        str(Path(out) / Path(file).name): rewrite_counts(
            file, counts, Path(out) / Path(file).name, field=field, video=video_field
        )
        for file in ([] if report.failed else annotations or [])
    }
    data, text = _summary(report, made, out)
    lines = [text, *(f"{count} counts changed: {file}" for file, count in changed.items())]
    show({**data, "annotations": changed}, "\n".join(lines), as_json=as_json)
    if report.failed:
        raise typer.Exit(1)


@app.command("trim")
def trim(
    out: Out,
    clips: Annotated[list[str] | None, typer.Argument(metavar="CLIP…", help="Videos to trim to the same span.")] = None,
    start: Start = None,
    end: End = None,
    annotations: Annotated[
        str | None, typer.Option(help="Touch-QA or Thermal-QA annotations, instead of CLIPs.")
    ] = None,
    videos: Annotated[str | None, typer.Option(help="Folder of the data set's videos.")] = None,
    task: Annotated[str, typer.Option(help="touch or thermal.")] = "touch",
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Cut spans at key frames without re-encoding."""
    from vidweave.derive.trim import Cut, TrimJob, cuts_of_annotations
    from vidweave.derive.work import find_clips

    if annotations is not None:
        if videos is None or clips or task not in ("touch", "thermal"):
            raise ConfigError("--annotations needs --videos and --task touch or thermal, and no CLIP")
        cuts = cuts_of_annotations(annotations, videos, task)  # type: ignore[arg-type]
    else:
        result = find_clips(clips or [])
        cuts = {name: Cut(source=path, start_seconds=start or 0.0, end_seconds=end) for name, path in result.items()}
    _run(TrimJob(cuts=cuts), {name: cut.source for name, cut in cuts.items()}, out, workers, as_json)


@app.command("pointfeatures")
def pointfeatures(
    scenes: Annotated[
        list[str], typer.Argument(metavar="SCENE…", help="Folders with color.mp4, depth.npy and cameras.json.")
    ],
    out: Out,
    model: Annotated[
        str, typer.Option(help="Model whose encoder encodes the views.", callback=checked_model)
    ] = DEFAULT_MODEL,
    stream: Annotated[str, typer.Option(help="Stream of that encoder.")] = "video",
    views: Annotated[int, typer.Option(min=1, help="Frames per scene, evenly spaced.")] = 32,
    stride: Annotated[int, typer.Option(min=1, help="Pixel stride between points.")] = 4,
    device: Device = "cpu",
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Compute features of 3D points from several views, in 3D-LLM's file layout."""
    from vidweave.derive.points import PointFeaturesJob

    result = {Path(scene).name: Path(scene) / "color.mp4" for scene in scenes}
    missing = [str(path) for path in result.values() if not path.exists()]
    if missing or len(result) < len(scenes):
        raise ConfigError(f"each scene needs a unique name and a color.mp4; missing: {', '.join(missing) or 'none'}")
    job = PointFeaturesJob(
        encode=_frame_encoder(model, stream, device), encoder_name=f"{model}/{stream}", views=views, stride=stride
    )
    _run(job, result, out, workers, as_json)


def _raft(weights: str, size: int, iterations: int, device: str) -> Any:
    """Build a motion encoder with RAFT's published weights."""
    from safetensors.torch import load_file

    from vidweave.encoders.motion import MotionEncoderConfig
    from vidweave.errors import CheckpointError
    from vidweave.loading import usable_device
    from vidweave.model.released import read_checkpoint
    from vidweave.nn.raft import raft_from_published
    from vidweave.types import MotionSpec

    spec = MotionSpec(source="pictures", fps=1.0, height=size, width=size)
    encoder = MotionEncoderConfig(
        height=size, width=size, patch=size, iterations=iterations, specs={"video": spec}
    ).build()
    try:
        state = load_file(weights) if weights.endswith(".safetensors") else read_checkpoint(weights).state
        assert encoder.raft is not None
        encoder.raft.load_state_dict(raft_from_published(state))
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{weights!r} does not contain RAFT weights ({str(error).splitlines()[0]})") from error
    return encoder.eval().to(usable_device(device))


def _digest(path: str) -> str:
    from hashlib import sha256

    return sha256(Path(path).read_bytes()).hexdigest()[:12]


def _frame_encoder(name: str, stream: str, device: str) -> Any:
    """Return a function that encodes frames to the tokens (T, N, C) of a model's stream."""
    import torch

    from vidweave.errors import UnknownNameError
    from vidweave.media.preprocess import apply
    from vidweave.pipelines.load import require_slots

    model = require_slots(load_pipeline(name, device=device), "vidweave extract").model
    if stream not in model.spec.streams:
        raise UnknownNameError("stream", stream, model.spec.streams)
    wiring = model.spec.streams[stream]
    encoder: Any = model.encoders[wiring.encoder]

    @torch.no_grad()
    def encode(frames: Any) -> torch.Tensor:
        values, _ = apply(encoder.specs[wiring.modalities[0]], frames)
        return (
            encoder.encode(values[None, :, None].to(model.device, model.dtype), wiring.modalities[0])[0].float().cpu()
        )

    return encode


def _run(job: Any, clips: dict[str, Path], out: str, workers: int, as_json: bool) -> None:
    """Run the job and show its report; exit code 1 if a clip failed."""
    report, made = _work(job, clips, out, workers)
    show(*_summary(report, made, out), as_json=as_json)
    if report.failed:
        raise typer.Exit(1)


def _work(job: Any, clips: dict[str, Path], out: str, workers: int) -> tuple[Any, dict[str, dict[str, Any]]]:
    """Run the job with a progress bar; return its report and the manifest lines of these clips."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vidweave.derive.manifest import Manifest
    from vidweave.derive.work import work

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(str(job.settings()["kind"]), total=len(clips))
        report = work(job, clips, out, workers=workers, progress=lambda name: progress.advance(bar))
    with Manifest(Path(out), job.settings()) as manifest:
        return report, {name: manifest.clips[name] for name in clips if name in manifest.clips}


def _summary(report: Any, made: dict[str, dict[str, Any]], out: str) -> tuple[dict[str, Any], str]:
    """JSON data and text: clips made, clips failed, and notes about the clips."""
    notes = {name: _notes(made[name]) for name in (*report.made, *report.kept) if _notes(made[name])}
    data = {"out": out, "made": len(report.made), "kept": len(report.kept), "failed": report.failed, "notes": notes}
    lines = [f"{len(report.made)} made, {len(report.kept)} already there, {len(report.failed)} failed; in {out}"]
    lines += [f"  {name}: {reason}" for name, reason in report.failed.items()]
    lines += [f"  {name}: note: {note}" for name, result in notes.items() for note in result]
    return data, "\n".join(lines)


def _notes(line: dict[str, Any]) -> list[str]:
    """Notes of a manifest line, including lost frames."""
    lost = line.get("num_lost", 0)
    return [
        *([f"{lost} frames could not be decoded; replaced by the nearest ones"] if lost else []),
        *line.get("notes", []),
    ]
