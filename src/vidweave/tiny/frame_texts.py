"""Single frames of the toy world and texts about them, for training a dual encoder that finds frames by text."""

# Axes: B examples, K kinds of content (one per color and shape, and one for an empty frame)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vidweave.media.preprocess import apply
from vidweave.tiny.patch_labels import DenseLabels
from vidweave.tiny.scenes import ENDLESS, train_scene
from vidweave.toyworld import attributes as a
from vidweave.toyworld.render import render_rgb
from vidweave.toyworld.scene import ToyScene
from vidweave.types import Frames, MeanOver, VisualSpec

__all__ = ["CONTENTS", "FrameText", "FrameTexts", "LabelPatches", "MatchTexts", "collate_frame_texts"]

CONTENTS = (*((c, s) for c in a.COLOURS for s in a.SHAPES), None)
"""What a frame can show: a color with a shape; None stands for an empty frame."""

_ONE = (
    "{it}",
    "a {it}",
    "the {it}",
    "a {it} can be seen",
    "Is there a {it}?",
    "What shape is the {it}?",
    "Which shape is {it}?",
    "What colour is the {it}?",
    "Which colour does the {it} have?",
    "What size is the {it}?",
    "How many times does a {it} come?",
    "Which way does the {it} move?",
    "Where does the {it} go?",
    "What happens to the {it}?",
    "Does the {it} stay, appear or vanish?",
)
_TWO = (
    "Which comes first, the {one} or the {other} object?",
    "Is the {one} object left or right of the {other} object?",
    "Is the {one} object above or below the {other} object?",
)
_DOES = ("moves left", "moves right", "moves up", "moves down", "shakes", "bounces", "loops")
_ANY = (
    "an object",
    "How many objects are there?",
    *(f"What colour is the {name} object?" for name in ("first", "second", "third", "last")),
    *(f"What colour is the object that {does}?" for does in _DOES),
    *(f"What shape is the object that {does}?" for does in _DOES),
)
_NOTHING = ("nothing", "an empty scene", "no object")


@dataclass(frozen=True)
class FrameText:
    """A frame (H, W, 3) uint8 and a text, which may be about another frame.

    Attributes:
        shown: (K,) what the frame shows.
        meant: (K,) contents that the text is about: it matches every frame that shows one of them.
    """

    frame: np.ndarray
    text: str
    shown: np.ndarray
    meant: np.ndarray


@dataclass(frozen=True)
class FrameTexts:
    """Frames of short and long scenes, each with a text that is about it in most cases.

    Attributes:
        long_share: Share of the frames from long scenes; of these, `empty_share` show nothing.
        other_share: Share of the texts that are about any color and shape.
    """

    long_share: float = 0.7
    empty_share: float = 0.2
    other_share: float = 0.3

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> FrameText:
        rng = np.random.default_rng([index, 41])
        scene, number = self._frame(index, rng)
        there = [(o.colour, o.shape) for o in scene.objects if o.start_frame <= number < o.end_frame]
        text, meant = self._text(there, rng)
        frame = render_rgb(scene, frames=np.array([number]))[0]
        return FrameText(frame, text, _hot(there or [None]), _hot(meant))

    def _frame(self, index: int, rng: np.random.Generator) -> tuple[ToyScene, int]:
        if rng.random() >= self.long_share:
            scene = train_scene(index)
            return scene, int(rng.integers(scene.num_frames))
        scene = train_scene(index, length="long")
        if rng.random() < self.empty_share:
            return scene, int(rng.integers(scene.num_frames))
        visit = scene.objects[rng.integers(len(scene.objects))]
        return scene, int(rng.integers(visit.start_frame, visit.end_frame))

    def _text(self, there: list[Any], rng: np.random.Generator) -> tuple[str, list[Any]]:
        """A text, and the contents that it is about."""
        if not there and rng.random() < 0.5:
            return _pick(_NOTHING, rng), [None]
        if rng.random() < 0.15:
            return _pick(_ANY, rng), list(CONTENTS[:-1])
        if not there or rng.random() < self.other_share:
            there = [(_pick(tuple(a.COLOURS), rng), _pick(a.SHAPES, rng))]
        colour, shape = there[rng.integers(len(there))]
        if rng.random() < 0.15:
            other = _pick([c for c in a.COLOURS if c != colour], rng)
            pair = [colour, other] if rng.random() < 0.5 else [other, colour]
            text = _pick(_TWO, rng).format(one=pair[0], other=pair[1])
            return text, [content for content in CONTENTS[:-1] if content[0] in pair]
        it, meant = (
            (shape, [(c, shape) for c in a.COLOURS]),
            (f"{colour} object", [(colour, s) for s in a.SHAPES]),
            (f"{colour} {shape}", [(colour, shape)]),
        )[rng.integers(3)]
        return _pick(_ONE, rng).format(it=it), meant


def collate_frame_texts(
    spec: VisualSpec, tokenizer: Any, num_tokens: int, examples: list[FrameText]
) -> dict[str, Tensor]:
    """Stack pixels (B, 3, H, W), ids (B, L) padded to `num_tokens`, and which text matches which frame (B, B)."""
    frames = Frames.from_array(np.stack([example.frame for example in examples]), fps=1)
    pixels, _ = apply(spec, frames)
    texts = [example.text for example in examples]
    ids = tokenizer(texts, padding="max_length", max_length=num_tokens, truncation=True, return_tensors="pt")
    shown, meant = (torch.from_numpy(np.stack([getattr(e, n) for e in examples])) for n in ("shown", "meant"))
    return {"pixel_values": pixels, "input_ids": ids["input_ids"], "matches": meant @ shown.T > 0}


@dataclass(frozen=True)
class LabelPatches:
    """Dense labels (`patch_labels.DenseLabels`) predicted from the patch tokens of a dual encoder's vision tower."""

    labels: DenseLabels = field(default_factory=lambda: DenseLabels("vision"))

    def __call__(self, root: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        tower = SimpleNamespace(encode=partial(_patch_tokens, root.model.vision_model))
        view = SimpleNamespace(encoders={"vision": tower})
        return self.labels(SimpleNamespace(training=root.training, heads=root.heads, model=view), batch)

    def means(self, batch: dict[str, Tensor]) -> dict[str, MeanOver]:
        """Terms of the loss, see `Objective`."""
        return self.labels.means(batch)


def _patch_tokens(vision: Any, pixels: Tensor, modality: str) -> Tensor:
    """(B, 1, 1, 3, H, W) → (B, 1, N, C)."""
    return vision(pixel_values=pixels[:, 0, 0]).last_hidden_state[:, None]


@dataclass(frozen=True)
class MatchTexts:
    """SigLIP's loss with every matching pair of the batch as a positive one, positive and negative pairs weighted equally.

    Parts are `loss` and `right`, the share of pairs on the right side. `noise` perturbs brightness and grain, so that
    video compression does no harm.
    """

    noise: float = 0.05

    def __call__(self, root: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        pixels, matches = batch["pixel_values"], batch["matches"]
        if root.training:
            pixels = pixels + self.noise * torch.randn_like(pixels) + self.noise * torch.randn(len(pixels), 3, 1, 1)
        logits = root.model(input_ids=batch["input_ids"], pixel_values=pixels).logits_per_text
        losses = functional.binary_cross_entropy_with_logits(logits, matches.float(), reduction="none")
        loss = losses[matches].mean() + losses[~matches].mean()
        return {"loss": loss, "right": ((logits > 0) == matches).float().mean()}


def _hot(contents: list[Any]) -> np.ndarray:
    hot = np.zeros(len(CONTENTS), dtype=np.float32)
    hot[[CONTENTS.index(content) for content in contents]] = 1
    return hot


def _pick(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]
