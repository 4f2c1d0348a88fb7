"""What the VideoTGB goldens share: the bridge from its weights, and flow maps from their factors."""

import torch

from vidweave.nn.flow_patches import flow_patches
from vidweave.selectors.bridge import Bridge
from vidweave.systems.videotgb.bridge_keys import bridge_from_released

SYSTEM = "videotgb"


def below(tensors, prefix):
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def bridge(weights, head_width=None, mode="fusion"):
    """A bridge of the sizes of the released weights; the rotary table tells the width of a head."""
    state = bridge_from_released(weights)
    layers = {int(key.split(".")[1]) for key in state if key.startswith("layers.")}
    fused = {int(key.split(".")[1]) for key in state if ".cross." in key}
    vocabulary, hidden = state["words.word_embeddings.weight"].shape
    positions, width = state["step_table"].shape
    made = Bridge(
        hidden=hidden,
        layers=len(layers),
        fusion_layer=min(fused),
        heads=hidden // width,
        intermediate=len(state["layers.0.intermediate.bias"]),
        vocab_size=vocabulary,
        num_positions=positions,
        eps=1e-12,
        dropout=0.1,
        motion_width=state["motion.projection.weight"].shape[1],
        num_patches=len(state["motion.spatial"]),
        mode=mode,
        stored_tables=True,
        absolute=True,
        cross_position="both",
        encode_words=False,
        window=None,
    )
    made.load_state_dict(state)
    return made.eval()


def motion_of(case, prefix="in."):
    """Patches (B, L, N, C) of the maps that the file holds in factors."""
    low, row, column = (case[f"{prefix}flow_{name}"] for name in ("lowres", "row", "col"))
    scale = len(row) // low.shape[-2]
    maps = low.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
    return flow_patches(maps * row[:, None] * column, scale)


def steps_mask(mask):
    """Mask with begin and end tokens (B, L + 2) → of the steps (B, L)."""
    length = mask.shape[1] - 2
    return torch.arange(length) < mask.sum(1, keepdim=True) - 2
