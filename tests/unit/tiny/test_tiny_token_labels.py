"""Labels of tokens as an objective: a token that knows costs nothing, and what is not there is not asked for."""

import pytest
import torch
from parts_of_losses import assert_parts_make_the_whole
from torch import nn

from vidweave.encoders.tiny import PIXELS
from vidweave.tiny.token_classes import LabeledTokens
from vidweave.tiny.token_labels import TokenLabels, collate_tokens, right_labels, token_heads

NAMES = ("quarter", "texture")
SOURCE = LabeledTokens(NAMES, patch=8, tube=1, frames=2)


class Eye(nn.Module):
    """Its token is the average colour of a patch."""

    def encode(self, values, modality):
        assert modality == "video"
        patches = values[:, :, 0].unfold(3, 8, 8).unfold(4, 8, 8).mean((-1, -2))
        return patches.flatten(3).transpose(2, 3)


def root(**labels):
    """Heads whose answer is always the same."""
    made = nn.Module()
    made.model = nn.Module()
    made.model.encoders = nn.ModuleDict({"eye": Eye()})
    made.heads = token_heads(3, NAMES)
    for name, head in made.heads.items():
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        if name in labels:
            head.bias.data[labels[name]] = 50.0
    return made.eval()


@pytest.fixture(scope="module")
def batch():
    return collate_tokens(PIXELS, 1, [SOURCE[index] for index in range(6)])


def test_windows_and_labels_line_up(batch):
    assert batch["pixels"].shape == (6, 2, 1, 3, 48, 48)
    assert batch["texture"].shape == batch["presence"].shape == (6, 72)
    whole = collate_tokens(PIXELS, 2, [SOURCE[0]])
    assert whole["pixels"].shape == (1, 1, 2, 3, 48, 48)
    torch.testing.assert_close(whole["pixels"][0, 0], batch["pixels"][0, :, 0])


def test_weights_count_and_only_what_is_reported(batch):
    even = TokenLabels("eye", {"quarter": 1.0, "texture": 3.0})(root(), batch)
    assert even["quarter"].item() == pytest.approx(torch.tensor(4.0).log().item(), rel=1e-5)
    assert even["texture"].item() == pytest.approx(3 * even["quarter"].item(), rel=1e-5)
    assert even["loss"].item() == pytest.approx(sum(even[name].item() for name in ("presence", "quarter", "texture")))
    sure = root(texture=2)
    info = batch["texture"][batch["texture"] >= 0]
    share = (info == 2).float().mean().item()
    assert right_labels(sure, "eye", batch, ("texture",)) == {"texture": pytest.approx(share)}
    assert TokenLabels("eye", {"texture": 1.0})(sure, batch)["texture"].item() == pytest.approx(
        50 * (1 - share), rel=1e-4
    )


def test_pixels_are_shaken_in_training_alone(batch):
    moved = root()
    nn.init.ones_(moved.heads["presence"].weight)
    asked = TokenLabels("eye", {"quarter": 1.0})
    calm = [asked(moved.eval(), batch)["presence"].item() for _ in range(2)]
    torch.manual_seed(0)
    shaken = [asked(moved.train(), batch)["presence"].item() for _ in range(2)]
    assert calm[0] == calm[1]
    assert len({*calm, *shaken}) == 3


@torch.no_grad()
def test_token_labels_declare_what_they_average_over(batch):
    made = root()
    nn.init.normal_(made.heads["texture"].weight)
    nn.init.normal_(made.heads["presence"].weight)
    parts = [({n: v[:1] for n, v in batch.items()}, 1), ({n: v[1:] for n, v in batch.items()}, 5)]
    assert_parts_make_the_whole(TokenLabels("eye", {"quarter": 0.7, "texture": 3.0}), made, batch, parts)
