"""Use a selector with any video model of transformers: vidweave selects the frames, the other model classifies them.

Run it: ``python examples/select_moments.py CLIP QUESTION [FOLDER_OR_HUB_ID]``. Without a model it builds a tiny VideoMAE
with random weights, which shows the steps but predicts nothing useful.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForVideoClassification, VideoMAEConfig, VideoMAEForVideoClassification

import vidweave
from vidweave.media import open_source
from vidweave.media.preprocess import apply
from vidweave.types import VisualSpec

CLIP = Path(__file__).parent / "clips" / "toy.mp4"


def pixels(clip: Path, indices: list[int], side: int) -> torch.Tensor:
    """Preprocess the selected frames as (1, k, 3, side, side), normalized as in VideoMAE's training."""
    spec = VisualSpec(height=side, width=side, resize="crop", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    with open_source(clip, "video") as source:
        values, _ = apply(spec, source.read_frames(indices))
    return values[None]


def tiny_model(k: int) -> Any:
    config = VideoMAEConfig(
        image_size=32,
        patch_size=16,
        num_frames=k,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        num_labels=3,
    )
    return VideoMAEForVideoClassification(config).eval()


def main(clip: Path = CLIP, question: str = "What moves left?", name: str | None = None, k: int = 8) -> str:
    """Select k frames, classify them with the other model, and print the label and the times."""
    selection = vidweave.load("tiny-videotgb").select(clip, question, num_frames=k)
    model: Any = AutoModelForVideoClassification.from_pretrained(name).eval() if name else tiny_model(k)
    with torch.no_grad():
        logits = model(pixels(clip, selection["indices"], model.config.image_size)).logits[0]
    label = model.config.id2label[int(logits.argmax())]
    times = ", ".join(f"{t:.2f}" for t in selection["seconds"])
    text = f"{label}, predicted from the frames at {times} s (selected by {selection['reason']})"
    print(text)
    return text


if __name__ == "__main__":
    main(*[Path(a) if i == 0 else a for i, a in enumerate(sys.argv[1:4])])
