"""RAFT against recorded outputs of its original code; weights come from a formula (the folder's README)."""

import numpy as np
import torch
from goldens import close, load_only
from videotgb_cases import SYSTEM

from vidweave.nn.raft import RAFT_KEYS, Raft, raft_from_published


def published_state(raft):
    """The state dict that the goldens were made with, under its original names, aliases included."""
    theirs = RAFT_KEYS.to_theirs(raft.state_dict())
    state = {}
    for number, name in enumerate(sorted(n for n, t in theirs.items() if t.is_floating_point())):
        shape = tuple(theirs[name].shape)
        index = np.arange(np.prod(shape), dtype=np.float64)
        wave = np.sin((index + 1) * 12.9898 + (number + 1) * 78.233) * 43758.5453
        noise = 2 * (wave - np.floor(wave)) - 1
        if len(shape) == 4:
            value = noise * 0.8 * np.sqrt(3 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            value = 1 + 0.2 * noise
        elif "norm" in name and name.endswith(".weight"):
            value = 1 + 0.1 * noise
        else:
            value = 0.05 * noise
        state[name] = torch.from_numpy(value.reshape(shape).astype(np.float32))
    counters = {n: t for n, t in theirs.items() if not t.is_floating_point()}
    aliases = {n.replace(".norm3.", ".downsample.1."): t for n, t in (state | counters).items() if ".norm3." in n}
    return {f"module.{name}": tensor for name, tensor in (state | counters | aliases).items()}


def test_flow_network():
    case = load_only(SYSTEM, "raft*.safetensors")
    raft = Raft().eval()
    state = published_state(raft)
    close(state["module.cnet.conv1.bias"][:3], torch.tensor([0.0240085, 0.0064395, -0.0045251]), 1e-6)
    raft.load_state_dict(raft_from_published(state))
    pictures = case["in.frames"]
    changes = []
    raft.update_block.flow_head.register_forward_hook(lambda module, inputs, output: changes.append(output))
    scaled = raft._scaled(pictures, (0, 0, 0, 0))
    iterations = sorted(int(key.removeprefix("out.flow_it")) for key in case if key.startswith("out.flow_it"))
    assert iterations
    with torch.no_grad():
        close(raft.fnet(scaled)[:-1, :8], case["out.fnet_first8ch"], 1e-4, 1e-4)
        close(raft.cnet(scaled)[:-1, :8], case["out.cnet_first8ch"], 1e-4, 1e-4)
        for count in iterations:
            changes.clear()
            flow = raft(pictures, iterations=count)
            close(flow[..., ::2, ::2], case[f"out.flow_it{count}"], 1e-3, 1e-4)
    close(changes[0], case["out.delta_flow_1"], 1e-4, 1e-4)
    close(changes[-1], case["out.delta_flow_last"], 1e-3, 1e-4)
