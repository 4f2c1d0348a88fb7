"""The modalities' encoders train from dense labels: what goes in fits what comes out, and a perfect reader is right."""

import torch
from parts_of_losses import assert_parts_make_the_whole
from torch import nn

from vidweave.systems.tiny.modalities import MODALITY_ENCODERS, MODALITY_WIDTH, modality_encoders
from vidweave.tiny.modalities import MODALITY_CLASSES, LabeledModalities
from vidweave.tiny.modality_labels import ModalityLabels, collate_modalities, modality_heads
from vidweave.toyworld.splits import SEEDS


class Root(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Module()
        self.model.encoders = nn.ModuleDict({name: config.build() for name, config in modality_encoders().items()})
        self.modality_heads = modality_heads(MODALITY_WIDTH)


def batch_of(count, first=0):
    configs = modality_encoders()
    specs = {modality: configs[encoder].specs[modality] for modality, encoder in MODALITY_ENCODERS.items()}
    return collate_modalities(specs, [LabeledModalities(frames=2)[i] for i in range(first, count)])


def test_examples_repeat_and_belong_to_training():
    one, two = LabeledModalities()[7], LabeledModalities()[7]
    assert set(one) == set(MODALITY_CLASSES) == set(MODALITY_ENCODERS)
    assert all(
        (one[modality].labels["shape"] == two[modality].labels["shape"]).all()
        for modality in one
        if modality != "audio"
    )
    assert SEEDS["train"].start <= 7 < SEEDS["train"].stop


def test_every_token_of_every_encoder_has_its_labels():
    root, batch = Root().eval(), batch_of(3)
    for modality, info in batch.items():
        tokens = root.model.encoders[MODALITY_ENCODERS[modality]].encode(info.values, modality)[0]
        segments = 3 if modality in ("audio", "point_cloud") else 6
        for name, classes in MODALITY_CLASSES[modality].items():
            assert info.labels[name].shape == tokens.shape[:2] == (segments, tokens.shape[1])
            assert int(info.labels[name].max()) < len(classes)


def test_the_loss_reaches_every_encoder_and_falls():
    root, batch = Root(), batch_of(2)
    optimizer = torch.optim.AdamW(root.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        result = ModalityLabels(MODALITY_ENCODERS)(root, batch)
        optimizer.zero_grad()
        result["loss"].backward()
        losses.append(float(result["loss"].detach()))
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in root.model.parameters())
    assert {f"{modality}/right" for modality in MODALITY_CLASSES} <= set(result)


@torch.no_grad()
def test_modality_labels_declare_what_they_average_over():
    root, parts = Root().eval(), [(batch_of(1), 1), (batch_of(3, first=1), 2)]
    assert_parts_make_the_whole(ModalityLabels(MODALITY_ENCODERS), root, batch_of(3), parts)
