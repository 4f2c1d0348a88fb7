"""Every layout goes through the same checks: a table of faults times layouts."""

import gzip
import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_systems_blip2 import NUM_QUERIES, QFORMER, VISION, _shake, _text_config, _tokenizer
from test_systems_crema import SIZES, theirs
from test_systems_merv_checkpoint import LLAMA, SIGLIP, describe, siglip
from test_systems_videotgb import replica, tiny
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration, LlamaConfig, LlamaForCausalLM

import vidweave
from vidweave.connectors.qformer_keys import lavis_connector_keys
from vidweave.encoders.eva_vit import eva_to_lavis
from vidweave.encoders.vision_tower import VisionTowerConfig
from vidweave.errors import CheckpointError, ConfigError, UnknownNameError, VidweaveError
from vidweave.model import conversion
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.conversion import Report, Request, convert
from vidweave.model.sharded import read_lazily
from vidweave.registry import CONVERTERS
from vidweave.systems.blip2.checkpoint import config_from_folder
from vidweave.systems.crema import checkpoint as crema_checkpoint
from vidweave.systems.crema.preset import build
from vidweave.systems.merv import preset as merv_preset
from vidweave.systems.videotgb import checkpoint as videotgb_checkpoint

LAYOUTS = ("crema", "malmm", "merv", "videotgb")
# Whole conversions take half a second each: one layout in the default suite, since all share the pipeline.
WHOLE = ["malmm", *(pytest.param(name, marks=pytest.mark.slow) for name in LAYOUTS if name != "malmm")]


@dataclass
class Case:
    """A file of one layout that converts, and what its request needs besides.

    `sick` is a floating tensor of the file, and `ours` its name in the model.
    """

    content: dict[str, Any]
    sick: torch.Tensor
    ours: str
    more: dict[str, Any] = field(default_factory=dict)
    run: Callable[[Request], Report] | None = None
    folder: Path = Path()
    wraps: Callable[[dict, str], dict] = lambda content, prefix: {
        key: {prefix + inner: value for inner, value in state.items()} for key, state in content.items()
    }


def make_malmm(folder: Path) -> Case:
    config = InstructBlipConfig(
        vision_config=VISION,
        qformer_config=QFORMER,
        text_config=_text_config("llama").to_dict(),
        num_query_tokens=NUM_QUERIES,
        image_token_index=59,
    )
    base = InstructBlipForConditionalGeneration(config)
    _shake(base)
    base.save_pretrained(folder / "hf")
    with torch.device("meta"):
        expected = VideoLanguageModel(config_from_folder(folder / "hf")).connector.state_dict()
    connector = {key: torch.randn(value.shape) for key, value in expected.items()}
    connector["ports.video.time_embedding"] = torch.randn(7, VISION["hidden_size"])
    state = lavis_connector_keys().to_theirs(connector)
    options = {"length": "3", "num_frames": "5"}
    more = {"base": str(folder / "hf"), "options": options}
    return Case({"model": state}, state["query_tokens"], "connector.ports.video.query_tokens", more)


def make_crema(folder: Path) -> Case:
    model = VideoLanguageModel(build(("video", "depth"), fusion="none", sizes=SIZES))
    _shake(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("qkv.bias"):  # LAVIS' tower has no key bias
                parameter[14:28] = 0
    torch.save({"model": eva_to_lavis(model.encoders["vision"].state_dict())}, folder / "eva.pth")
    model.language_model.model.save_pretrained(folder / "t5")
    _tokenizer(False).save_pretrained(folder / "t5")
    state = {key: value.clone() for key, value in theirs(model, order=("video", "depth")).items()}
    more = {
        "parts": {"vision": str(folder / "eva.pth"), "language": str(folder / "t5")},
        "options": {"modalities": "video,depth", "fusion": "none"},
    }
    run = partial(crema_checkpoint.convert, sizes=SIZES)
    return Case({"model": state}, state["query_tokens_depth"], "connector.ports.depth.query_tokens", more, run)


def make_merv(folder: Path) -> Case:
    language = LlamaForCausalLM(LlamaConfig(**LLAMA, pad_token_id=None))
    language.config.save_pretrained(folder / "llama")
    tower = VisionTowerConfig(config=SIGLIP, final_norm=True, specs=siglip().specs).build().tower
    (folder / "siglip").mkdir()
    save_file({k: v.contiguous() for k, v in tower.state_dict().items()}, folder / "siglip" / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps(describe(video_backbone_ids=["siglip-vit-b16-224px-all-no-cls"], num_frames=4))
    )
    projector = {"projector.projector.weight": torch.randn(8, 8), "projector.projector.bias": torch.randn(8)}
    backbone = {f"llm.{key}": torch.randn(value.shape) for key, value in language.state_dict().items()}
    parts = {"language": str(folder / "llama"), "tokenizer": str(folder / "words"), "siglip": str(folder / "siglip")}
    _tokenizer(False).save_pretrained(folder / "words")
    return Case(
        {"model": {"projector": projector, "llm_backbone": backbone}},
        projector["projector.projector.weight"],
        "connector.trunks.siglip.layers.0.weight",
        {"parts": parts},
        wraps=lambda content, prefix: {
            "model": {m: {prefix + k: v for k, v in state.items()} for m, state in content["model"].items()}
        },
    )


def make_videotgb(folder: Path) -> Case:
    state, *_ = replica("blip2")
    return Case(
        state,
        state["model.query_tokens"],
        "connector.ports.video.query_tokens",
        wraps=lambda content, prefix: {prefix + key: value for key, value in content.items()},
    )


MAKERS = {"crema": make_crema, "malmm": make_malmm, "merv": make_merv, "videotgb": make_videotgb}


@pytest.fixture(scope="module")
def case_of(tmp_path_factory):
    """The case of a layout, made once."""

    @cache
    def make(layout: str) -> Case:
        torch.manual_seed(5)
        folder = tmp_path_factory.mktemp(layout)
        case = MAKERS[layout](folder)
        case.folder = folder
        torch.save(case.content, folder / "file.pth")
        return case

    return make


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Encoders and presets of the size of the files."""
    encoder = merv_preset.ENCODERS["siglip"]
    monkeypatch.setitem(merv_preset.ENCODERS, "siglip", replace(encoder, build=siglip, width=8, num_frames=4))
    monkeypatch.setattr(videotgb_checkpoint, "videotgb_flan_t5_xl", lambda **settings: tiny("blip2"))


def request_of(case: Case, out: Path, file: Path | None = None, **changes) -> Request:
    return Request(file=file or case.folder / "file.pth", out=out, **{**case.more, **changes})


def run(layout: str, case: Case, request: Request) -> Report:
    return convert(layout, request) if case.run is None else case.run(replace(request, layout=layout))


def written(out: Path) -> dict[str, torch.Tensor]:
    return {key: lazy.make() for key, lazy in read_lazily(out).items()}


class Hostile:
    def __reduce__(self):
        return print, ("run",)


def cut(path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(999)}}, path)
    path.write_bytes(path.read_bytes()[:-300])


def cut_legacy(path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(999)}}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-300])


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:1a2b\nsize 425578768\n"
FAULTS = {
    "empty": (lambda p: p.write_bytes(b""), "it is empty (0 bytes): the download failed; fetch it again"),
    "page": (lambda p: p.write_bytes(b"\n<!DOCTYPE html><html>Sign in"), "it is a web page: the link needs a login"),
    "lfs": (lambda p: p.write_bytes(LFS), "it is a git-LFS pointer, not the file itself; run `git lfs pull`"),
    "safetensors": (lambda p: save_file({"a": torch.zeros(9)}, p), "it is a safetensors file, and layouts of released"),
    "gzip": (lambda p: p.write_bytes(gzip.compress(b"a")), "it is an archive (gzip); unpack it"),
    "text": (lambda p: p.write_bytes(b"404: Not Found"), "it is text that begins with '404: Not Found'"),
    "folder": (lambda p: p.mkdir(), "it is a folder; give the file in it"),
    "cut": (cut, "it is cut short: its end is missing"),
    "cut legacy": (cut_legacy, "it is damaged or cut short"),
    "zip": (other_zip, "it is a zip archive with readme.txt in it; unpack it"),
    "numbers": (lambda p: torch.save({"model": {"epoch": 3}}, p), "holds no dict of tensors under 'model': epoch"),
    "nothing": (lambda p: torch.save({"model": {}}, p), "holds no dict of tensors under 'model': it is empty"),
    "hostile": (lambda p: torch.save({"model": Hostile()}, p), "reading it would run code"),
    "vidweave": (
        lambda p: torch.save({"connector.ports.video.query_tokens": torch.zeros(1)}, p),
        "looks like a file of a vidweave model",
    ),
    "transformers": (
        lambda p: torch.save({"qformer.layernorm.weight": torch.zeros(1)}, p),
        "looks like a file of transformers' BLIP-2 or InstructBLIP",
    ),
}


@pytest.fixture
def light(tmp_path):
    """A request of a layout whose parts and base are nowhere: whoever reads them first fails with another message."""
    LlamaConfig(**LLAMA, pad_token_id=None).save_pretrained(tmp_path / "llama")
    (tmp_path / "config.json").write_text(json.dumps(describe(video_backbone_ids=["siglip"], num_frames=4)))
    more = {
        "malmm": {"base": "/nowhere/base", "options": {"length": "3", "num_frames": "5"}},
        "crema": {"base": "/nowhere/base", "parts": {"vision": "/nowhere/eva.pth"}},
        "merv": {"parts": {"language": str(tmp_path / "llama"), "siglip": "/nowhere/siglip"}},
        "videotgb": {"parts": {"language": "/nowhere/words"}},
    }

    def request(layout: str, file: Path, **changes) -> Request:
        return Request(file=file, out=tmp_path / "out", **{**more[layout], **changes})

    return request


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_none_says_what_it_is(layout, fault, light, tmp_path, capsys):
    make, message = FAULTS[fault]
    make(tmp_path / "bad.pth")
    with pytest.raises(CheckpointError) as info:
        convert(layout, light(layout, tmp_path / "bad.pth"))
    assert message in str(info.value)
    assert "bad.pth" in str(info.value)
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.glob("out*"))


MARKS = {
    "crema": {"model": {"t5_proj_norm.weight": torch.zeros(2)}},
    "malmm": {"model": {"query_tokens": torch.zeros(2), "image_pe.weight": torch.zeros(2)}},
    "merv": {"model": {"projectors": {"0.projector.projector.weight": torch.zeros(2)}}},
    "videotgb": {"state_dict": {"temporal_encoder.temporal_embeddings.bos": torch.zeros(2)}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("other", LAYOUTS)
def test_a_file_of_another_layout_is_recognized(layout, other, light, tmp_path):
    torch.save(MARKS[other], tmp_path / "other.pth")
    with pytest.raises(VidweaveError) as info:
        convert(layout, light(layout, tmp_path / "other.pth"))
    message = f"is not a file of layout '{layout}'; it looks like one of layout '{other}'"
    assert (message in str(info.value)) == (layout != other)


@pytest.mark.parametrize("layout", WHOLE)
def test_old_files_and_wrapped_names_give_the_same_model(layout, case_of, tmp_path):
    case = case_of(layout)
    plain = run(layout, case, request_of(case, tmp_path / "plain"))
    expected = written(tmp_path / "plain")
    torch.save(case.content, case.folder / "old.pth", _use_new_zipfile_serialization=False)
    run(layout, case, request_of(case, tmp_path / "old", case.folder / "old.pth"))
    torch.save(case.wraps(case.content, "module."), case.folder / "ddp.pth")
    wrapped = run(layout, case, request_of(case, tmp_path / "ddp", case.folder / "ddp.pth"))
    for out in ("old", "ddp"):
        result = written(tmp_path / out)
        assert result.keys() == expected.keys()
        assert all(torch.equal(result[key], expected[key]) for key in expected)
    assert any("stripped 'module.', which DistributedDataParallel puts" in note for note in wrapped.lines())
    assert not any("stripped" in note for note in plain.lines())
    assert not list(tmp_path.glob("*.converting"))


@pytest.mark.parametrize("value", [float("nan"), pytest.param(float("inf"), marks=pytest.mark.slow)])
@pytest.mark.parametrize("layout", WHOLE)
def test_weights_that_are_not_finite_are_refused_by_name(layout, value, case_of, tmp_path):
    case = case_of(layout)
    kept = case.sick.flatten()[3].item()
    case.sick.view(-1)[3] = value
    torch.save(case.content, case.folder / "sick.pth")
    case.sick.view(-1)[3] = kept
    with pytest.raises(CheckpointError, match=rf"1 weights hold NaN or infinity: {case.ours}; .*--allow-nonfinite"):
        run(layout, case, request_of(case, tmp_path / "out", case.folder / "sick.pth"))
    assert not list(tmp_path.glob("out*"))
    if not math.isnan(value):
        return
    request = request_of(case, tmp_path / "out", case.folder / "sick.pth", allow_nonfinite=True)
    report = run(layout, case, request)
    assert report.lines()[-1] == f"weights with NaN or infinity, written as they are: {case.ours}"
    assert written(tmp_path / "out")[case.ours].isnan().sum() == 1
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["allow_nonfinite"]


@pytest.mark.parametrize("layout", WHOLE)
def test_the_account_says_what_a_model_was_made_of(layout, case_of, tmp_path):
    case = case_of(layout)
    run(layout, case, request_of(case, tmp_path / "out", dtype="bfloat16"))
    text = (tmp_path / "out" / "conversion.json").read_text()
    account = json.loads(text)
    assert str(case.folder) not in text  # names, no folders of a machine
    assert (account["layout"], account["file"], account["dtype"]) == (layout, "file.pth", "bfloat16")
    assert set(CONVERTERS.entry(layout).facts.options) == set(account["settings"])
    assert set(account["parts"]) == set(case.more.get("parts", ()))
    roles = {origin["role"]: origin for origin in account["sources"]}
    assert roles["file"]["bytes"] == (case.folder / "file.pth").stat().st_size
    assert all(len(origin["sha256"]) == 64 for origin in roles.values())
    assert account["weights_dtype"] == "bfloat16"


@pytest.mark.slow
def test_parts_that_are_computed_in_float32_are_not_rounded(case_of, tmp_path):
    """What a model that is loaded in half precision leaves in float32 is written in float32, too."""
    case = case_of("malmm")
    for dtype in (torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        report = run("malmm", case, request_of(case, tmp_path / name, dtype=name))
        loaded, stored = vidweave.load(tmp_path / name, dtype=dtype).model.state_dict(), written(tmp_path / name)
        assert {key: value.dtype for key, value in loaded.items()} == {key: stored[key].dtype for key in loaded}
        noted = f"parts that are not computed in {name} keep float32" in report.lines()
        assert noted == (torch.float32 in {value.dtype for value in stored.values()})


@pytest.mark.parametrize("layout", WHOLE)
def test_an_interrupted_conversion_leaves_nothing_or_says_so(layout, case_of, tmp_path, monkeypatch):
    case = case_of(layout)

    def interrupted(folder, *arguments, **more):
        (folder / "model.safetensors.partial").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "write_sharded", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(layout, case, request_of(case, tmp_path / "out"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "out.converting").mkdir()  # what a kill leaves
    with pytest.raises(CheckpointError, match=r"out.converting' was left by an interrupted conversion .*; delete it"):
        run(layout, case, request_of(case, tmp_path / "out"))
    (tmp_path / "out.converting").rmdir()
    (tmp_path / "out").mkdir()  # an empty folder may be there
    run(layout, case, request_of(case, tmp_path / "out"))
    assert (tmp_path / "out" / "config.json").is_file()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dtype": "int8"}, UnknownNameError, "unknown dtype of weights 'int8'; known: bfloat16, float16, float32"),
        ({"options": {"lenght": "3"}}, UnknownNameError, "unknown option of this layout 'lenght'"),
        ({"parts": {"visoin": "x"}}, UnknownNameError, "unknown part of this layout 'visoin'"),
    ],
)
def test_requests_are_checked_before_any_file_is_read(layout, changes, error, message, light, tmp_path):
    (tmp_path / "unread.pth").write_bytes(b"")
    with pytest.raises(error, match=message):
        convert(layout, light(layout, tmp_path / "unread.pth", **changes))


def other_base(case: Case, folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> str:
    """A copy of the case's base with changed weights."""
    base = Path(case.more["base"])
    folder.mkdir()
    state = {key: change(key, value) for key, value in load_file(base / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text((base / "config.json").read_text())
    return str(folder)


def test_what_float16_cannot_hold(case_of, tmp_path):
    case = case_of("malmm")
    large = other_base(case, tmp_path / "large", lambda key, value: value * 1e9 if "lm_head" in key else value)
    with pytest.raises(
        CheckpointError, match=r"1 weights .* in float16: .*lm_head\.weight; numbers above 65,504 .* bfloat16"
    ):
        run("malmm", case, request_of(case, tmp_path / "out", base=large, dtype="float16"))
    run("malmm", case, request_of(case, tmp_path / "out", base=large, dtype="bfloat16"))


def test_more_frames_than_times_are_refused_before_the_base_is_read(case_of, tmp_path):
    """Such a model converted, and then could not answer."""
    case = case_of("malmm")
    request = request_of(case, tmp_path / "out", base="/nowhere/base", options={"length": "3", "num_frames": "8"})
    with pytest.raises(
        ConfigError, match=r"has time steps for 7 frames, and num_frames=8 .* at most 7, or beyond_times=clamp"
    ):
        run("malmm", case, request)
    options = {"length": "3", "num_frames": "8", "beyond_times": "clamp"}
    run("malmm", case, request_of(case, tmp_path / "out", options=options))
    with pytest.raises(ConfigError, match="length and num_frames must be 1 or more, got 0 and 5"):
        run("malmm", case, request_of(case, tmp_path / "b", options={"length": "0", "num_frames": "5"}))


def test_dtypes_stay_and_several_are_noted(case_of, tmp_path):
    case = case_of("malmm")
    half = other_base(case, tmp_path / "half", lambda key, v: v.half() if v.is_floating_point() else v)
    report = run("malmm", case, request_of(case, tmp_path / "out", base=half))
    state = written(tmp_path / "out")
    assert state["connector.ports.video.query_tokens"].dtype == torch.float32
    assert state["language_model.model.lm_head.weight"].dtype == torch.float16
    assert any(line.startswith("weights keep their dtypes: ") for line in report.lines())


def test_progress_is_reported_for_hashes_and_weights(case_of, tmp_path):
    case, seen = case_of("malmm"), []
    run("malmm", case, request_of(case, tmp_path / "out", progress=lambda *done: seen.append(done)))
    assert list(dict.fromkeys(what for what, *_ in seen)) == ["hashing files", "writing weights"]
    for what in ("hashing files", "writing weights"):
        steps = [done for name, done, total in seen if name == what and done <= total]
        assert steps == sorted(steps)
        assert (what, *[next(total for name, _, total in seen if name == what)] * 2) == [
            s for s in seen if s[0] == what
        ][-1]


MEMORY = """
import sys, threading, time
sys.path[:0] = ["tests/unit/systems"]
from pathlib import Path
import torch
from test_systems_blip2 import NUM_QUERIES, QFORMER, VISION
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration, LlamaConfig
from vidweave.connectors.qformer_keys import lavis_connector_keys
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.conversion import Request, convert
from vidweave.systems.blip2.checkpoint import config_from_folder

folder = Path(sys.argv[1])
sizes = dict(vocab_size=8000, hidden_size=1024, intermediate_size=2752, num_hidden_layers=12, num_attention_heads=8)
config = InstructBlipConfig(vision_config=VISION, qformer_config=QFORMER, num_query_tokens=NUM_QUERIES, image_token_index=59,
                            text_config=LlamaConfig(**sizes, pad_token_id=0).to_dict())
base = InstructBlipForConditionalGeneration(config).to(torch.bfloat16)
base.save_pretrained(folder / "base")
del base
with torch.device("meta"):
    connector = VideoLanguageModel(config_from_folder(folder / "base")).connector.state_dict()
connector = {key: torch.zeros(value.shape) for key, value in connector.items()}
connector["ports.video.time_embedding"] = torch.zeros(7, VISION["hidden_size"])
torch.save({"model": lavis_connector_keys().to_theirs(connector)}, folder / "best.pth")
del connector

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

peak, running = [resident()], [True]
before = peak[0]

def watch():
    while running[0]:
        peak[0] = max(peak[0], resident())
        time.sleep(0.002)

thread = threading.Thread(target=watch)
thread.start()
options = {"length": "3", "num_frames": "5"}
convert("malmm", Request(file=folder / "best.pth", out=folder / "out", base=str(folder / "base"), options=options))
running[0] = False
thread.join()
print(sum(f.stat().st_size for f in (folder / "base").glob("*.safetensors")), peak[0] - before)
"""


@pytest.mark.slow
def test_a_base_passes_tensor_by_tensor(tmp_path, repository):
    """Peak resident memory, mapped files included: the base used to be loaded in float32, three times its size."""
    words = [sys.executable, "-c", MEMORY, str(tmp_path)]
    done = subprocess.run(words, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    size, growth = map(int, done.stdout.split()[-2:])
    assert size > 300_000_000
    assert growth < 0.4 * size, f"{growth:,} bytes more for a base of {size:,}"
