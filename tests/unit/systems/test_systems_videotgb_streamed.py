"""A released file larger than memory may pass: one tensor at a time."""

import subprocess
import sys

import pytest

CHILD = """
import sys, threading, time
sys.path[:0] = ["tests/unit/systems"]
from dataclasses import replace
from pathlib import Path
import torch
from test_systems_videotgb import tiny
from vidweave.language.causal import CausalConfig
from vidweave.model.assembly import VideoLanguageModel
from vidweave.model.config import VideoLanguageConfig
from vidweave.nn.raft import RAFT_KEYS
from vidweave.systems.videotgb.bridge_keys import BRIDGE
from vidweave.systems.videotgb.checkpoint import convert_file
from vidweave.systems.videotgb.released import _model_table

folder = Path(sys.argv[1])
spec = tiny("instructblip", pooled=False).parse()
sizes = {"vocab_size": 32001, "hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 8}
language = CausalConfig(config={"model_type": "llama", **sizes, "num_attention_heads": 16})
spec = replace(spec, language_model=language, connector=replace(spec.connector, output_width=2048))
config = VideoLanguageConfig(spec, name="large")
with torch.device("meta"):
    ours = VideoLanguageModel(config).state_dict()

def below(prefix):
    return {k.removeprefix(prefix): v for k, v in ours.items() if k.startswith(prefix)}

theirs = {f"temporal_encoder.{k}": v for k, v in BRIDGE.to_theirs(below("selector.bridge.")).items()}
theirs |= {f"of_extractor.{k}": v for k, v in RAFT_KEYS.to_theirs(below("encoders.motion.raft.")).items()}
rest = {k: v for k, v in ours.items() if not k.startswith(("selector.", "encoders.motion."))}
theirs |= {f"model.{k}": v for k, v in _model_table("instructblip").to_theirs(rest).items()}
state = {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in theirs.items()}  # untouched pages: no memory
torch.save(state, folder / "LSTP.ckpt")
largest = max(t.numel() * t.element_size() for t in state.values())
total = sum(t.numel() * t.element_size() for t in state.values())
del state

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

peak, running = [anonymous()], [True]
before = peak[0]

def watch():
    while running[0]:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.002)

thread = threading.Thread(target=watch)
thread.start()
convert_file(folder / "LSTP.ckpt", folder / "out", config=config, dtype="bfloat16", max_shard_bytes=256 << 20)
running[0] = False
thread.join()
print(total, largest, 256 << 20, peak[0] - before, len(list((folder / "out").glob("*.safetensors"))))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_grows_by_a_tensor_and_not_by_the_file(tmp_path, repository):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    total, largest, shard, growth, files = map(int, done.stdout.split()[-5:])
    assert total > 2_000_000_000
    assert files > 3
    assert growth <= 3 * largest + shard, f"{growth:,} bytes more, the largest tensor has {largest:,}"
