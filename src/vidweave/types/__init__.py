"""What every room of the house speaks: carriers, specs, protocols, answers. Imports no torch."""

from vidweave.types.answer import Answer, FrameUse, OptionScore, PanelSource, Trace
from vidweave.types.configuration import (
    ComponentConfig,
    check_layers,
    component_from_dict,
    config_from_dict,
    config_to_dict,
)
from vidweave.types.conversation import Conversation
from vidweave.types.means import MeanOver
from vidweave.types.media import Frames, PointCloud, PrecomputedFeatures, Waveform
from vidweave.types.protocols import Answerer, Connector, Encoder, LanguageModel, Objective, Selector, Trunk
from vidweave.types.query import Clip, Query, Scene
from vidweave.types.specs import (
    AudioSpec,
    FrameNeed,
    MotionSpec,
    PointSpec,
    PoolSpec,
    PreprocessSpec,
    TextSpec,
    VisualSpec,
)
from vidweave.types.summary import Summarized
from vidweave.types.tensors import (
    Blocks,
    Embeds,
    Features,
    ModelInputs,
    Prefix,
    PromptPlan,
    Selection,
    SelectorInputs,
    StoreEntry,
    StreamInputs,
    TextTokens,
)

__all__ = [
    "Answer",
    "Answerer",
    "AudioSpec",
    "Blocks",
    "Clip",
    "ComponentConfig",
    "Connector",
    "Conversation",
    "Embeds",
    "Encoder",
    "Features",
    "FrameNeed",
    "FrameUse",
    "Frames",
    "LanguageModel",
    "MeanOver",
    "ModelInputs",
    "MotionSpec",
    "Objective",
    "OptionScore",
    "PanelSource",
    "PointCloud",
    "PointSpec",
    "PoolSpec",
    "PrecomputedFeatures",
    "Prefix",
    "PreprocessSpec",
    "PromptPlan",
    "Query",
    "Scene",
    "Selection",
    "Selector",
    "SelectorInputs",
    "StoreEntry",
    "StreamInputs",
    "Summarized",
    "TextSpec",
    "TextTokens",
    "Trace",
    "Trunk",
    "VisualSpec",
    "Waveform",
    "check_layers",
    "component_from_dict",
    "config_from_dict",
    "config_to_dict",
]
