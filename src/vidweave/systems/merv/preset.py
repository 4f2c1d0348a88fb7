"""stub for the moment"""

from vidweave.encoders.eva_vit import CLIP_MEAN, CLIP_STD
from vidweave.types import VisualSpec

LANGUAGEBIND_PIXELS = VisualSpec(
    height=224, width=224, resize="crop", interpolation="bilinear", antialias=False, mean=CLIP_MEAN, std=CLIP_STD
)
