"""RAFT against recorded outputs of its original code; weights come from a formula (the folder's README)."""

import torch
from goldens import close, golden_folder, load_only
from raft_weights import Wave, float_names, published_state, recorded_wave
from torch.nn import functional
from videotgb_cases import SYSTEM

from vidweave.nn.raft import Raft, raft_from_published


def borders_of(case):
    """Left, right, top and bottom padding that brings the frames to the recorded shape, the smaller half first."""
    (height, width), padded = case["in.frames"].shape[-2:], case["out.padded_shape"].tolist()
    down, right = padded[-2] - height, padded[-1] - width
    return right // 2, right - right // 2, down // 2, down - down // 2


def test_flow_network():
    case = load_only(SYSTEM, "raft*.safetensors")
    raft = Raft().eval()
    raft.load_state_dict(raft_from_published(published_state(raft, recorded_wave(golden_folder(SYSTEM)))))
    frames, borders = case["in.frames"], borders_of(case)
    changes = []
    raft.update_block.flow_head.register_forward_hook(lambda module, inputs, output: changes.append(output))
    scaled = functional.pad(frames.float() * (2 / 255) - 1, borders, mode="replicate")
    iterations = sorted(int(key.removeprefix("out.flow_it")) for key in case if key.startswith("out.flow_it"))
    assert iterations
    with torch.no_grad():
        close(raft.fnet(scaled)[:-1, :8], case["out.fnet_first8ch"], 1e-4, 1e-4)
        close(raft.cnet(scaled)[:-1, :8], case["out.cnet_first8ch"], 1e-4, 1e-4)
        for count in iterations:
            changes.clear()
            flow = raft(frames, iterations=count)
            # the recorded flow keeps its padding: compare where frame and recorded grid meet
            height, width = frames.shape[-2:]
            top, left = borders[2], borders[0]
            grid = torch.zeros(*flow.shape[:2], *case["out.padded_shape"].tolist()[-2:])
            inside = torch.zeros_like(grid, dtype=torch.bool)
            grid[..., top : top + height, left : left + width] = flow
            inside[..., top : top + height, left : left + width] = True
            inside = inside[..., ::2, ::2]
            expected = case[f"out.flow_it{count}"]
            close(grid[..., ::2, ::2][inside], expected[inside], 1e-3, 1e-4)
    close(changes[0], case["out.delta_flow_1"], 1e-4, 1e-4)
    close(changes[-1], case["out.delta_flow_last"], 1e-3, 1e-4)


def test_a_seed_is_found_wherever_it_enters(tmp_path):
    """Goldens of another seed state other values: the README's three tell which seed made them."""
    made = Wave(step=12.9898, stride=78.233, scale=43758.5453)
    number = float_names(Raft()).index("cnet.conv1.bias")
    for form, seed in ((0, 0.0), (0, 17.0), (1, 5.0), (2, 1003.0)):
        wave = Wave(step=made.step, stride=made.stride, scale=made.scale, seed=seed, form=form)
        first = ", ".join(f"{0.05 * value:.7f}" for value in wave.values(3, number))
        (tmp_path / "README.md").write_text(
            f"`z = sin((i+1)*12.9898 + (n+1)*78.233)*43758.5453`. Check: `cnet.conv1.bias` starts {first}."
        )
        result = recorded_wave(tmp_path)
        assert (result.form, result.seed) == (form if seed else 0, seed)
