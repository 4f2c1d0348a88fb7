"""The configuration of a model: four slots, the streams that feed them, and the words around the tokens."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from transformers import PreTrainedConfig

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.counts import stream_counts
from vidweave.connectors.fusion import JoinConfig
from vidweave.errors import CheckpointError, ConfigError, ModalityError, UnknownNameError
from vidweave.language.decoding import Decoding
from vidweave.language.layout import TemplateLayout
from vidweave.language.pretrained import PretrainedConfig
from vidweave.model.files import read_json, read_model_type
from vidweave.model.pool import pool_segments
from vidweave.registry import CONNECTORS, ENCODERS, LANGUAGE_MODELS, LAYOUTS, MODALITIES, SELECTORS, Registry
from vidweave.types import (
    ComponentConfig,
    EncoderConfig,
    FrameNeed,
    PoolSpec,
    TextSpec,
    check_layers,
    component_from_dict,
    config_to_dict,
    text_spec_of,
)

__all__ = ["ModelSpec", "StreamConfig", "VideoLanguageConfig"]


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """One (modality, encoder) pair: its input modalities, its role, and the frames it needs.

    Attributes:
        encoder: Name of an encoder of the model.
        modalities: Modalities that may feed the stream, the first that a clip has counts (e.g. video, then image).
        need: Which frames.
        role: `connector` streams become tokens; a `selector` stream is the selector's motion input.
        pool: Parameter-free pooling of the encoder's tokens, before the feature store.
        live_fps: Frames per second of a live stream (`Stream.push`): the rate of the training clips. None: not
            defined by the model.
    """

    encoder: str
    modalities: tuple[str, ...]
    need: FrameNeed = field(default_factory=FrameNeed)
    role: Literal["connector", "selector"] = "connector"
    pool: PoolSpec | None = None
    live_fps: float | None = None

    def __post_init__(self) -> None:
        if self.live_fps is not None and not 0 < self.live_fps < math.inf:
            raise ConfigError(f"live_fps must be positive, got {self.live_fps}")
        if not self.modalities:
            raise ConfigError("a stream needs at least one modality that may feed it")
        for name in self.modalities:
            if name not in MODALITIES:
                raise UnknownNameError("modality", name, MODALITIES)


@dataclass(frozen=True, kw_only=True)
class ModelSpec(ComponentConfig):
    """All four slots of a model, as component configurations, and how they are wired.

    Attributes:
        selector, encoders, connector, language_model: The slots.
        streams: Stream name → its wiring. Connector ports carry the names of the connector streams.
        layout: Positions of text and token blocks in the prompt.
        decoding: Default arguments of `generate`.
    """

    kind: ClassVar[str] = "model"
    selector: Annotated[ComponentConfig, SELECTORS]
    encoders: dict[str, Annotated[EncoderConfig, ENCODERS]]
    streams: dict[str, StreamConfig]
    connector: Annotated[ConnectorConfig, CONNECTORS]
    language_model: Annotated[PretrainedConfig, LANGUAGE_MODELS]
    layout: Annotated[TemplateLayout, LAYOUTS]
    decoding: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for slot, registry in _SLOTS.items():
            object.__setattr__(self, slot, component_from_dict(registry, getattr(self, slot)))
        encoders = {name: component_from_dict(ENCODERS, value) for name, value in self.encoders.items()}
        object.__setattr__(self, "encoders", encoders)
        for name, stream in self.streams.items():
            self._check_stream(name, stream)
        Decoding.of(self.decoding)
        ports, streams = set(self.connector.ports), set(self.connector_streams)
        if ports != streams:
            raise ConfigError(
                f"each connector stream needs a port of its name: streams {sorted(streams)}, ports {sorted(ports)}"
            )
        if isinstance(self.connector.fusion, JoinConfig):
            self.connector.fusion.check_counts(stream_counts(self.connector, self._known_segments()))

    def _check_stream(self, name: str, stream: StreamConfig) -> None:
        if stream.encoder not in self.encoders:
            raise UnknownNameError(f"encoder of stream {name!r}:", stream.encoder, self.encoders)
        specs = self.encoders[stream.encoder].specs
        for modality in stream.modalities:
            if modality not in specs:
                raise ModalityError(
                    f"stream {name!r} accepts {modality!r}, but encoder {stream.encoder!r} takes only "
                    f"{', '.join(sorted(specs))}; add a preprocessing spec to the encoder or drop the modality"
                )

    def _known_segments(self) -> dict[str, int]:
        """Segments of each connector stream, 0 where they depend on the clip."""
        numbers = {name: stream.need.num_frames or 0 for name, stream in self.connector_streams.items()}
        return {
            name: pool_segments(frames // self.streams[name].need.window, self.streams[name].pool)
            for name, frames in numbers.items()
        }

    @property
    def connector_streams(self) -> dict[str, StreamConfig]:
        """Streams that become tokens."""
        return {name: stream for name, stream in self.streams.items() if stream.role == "connector"}

    @property
    def selector_streams(self) -> dict[str, StreamConfig]:
        """Streams that the selector watches (at most one today)."""
        return {name: stream for name, stream in self.streams.items() if stream.role == "selector"}

    @property
    def text(self) -> dict[str, TextSpec]:
        """Slots that read the question (`selector`, `trunk`) → how; the language model reads the prompt."""
        trunks = {spec for trunk in self.connector.trunks.values() if (spec := text_spec_of(trunk))}
        if len(trunks) > 1:
            raise ConfigError(f"the trunks read text in {len(trunks)} ways; give them one text_spec")
        readers = {"trunk": next(iter(trunks), None), "selector": text_spec_of(self.selector)}
        return {slot: spec for slot, spec in readers.items() if spec is not None}


_SLOTS: dict[str, Registry] = {
    "selector": SELECTORS,
    "connector": CONNECTORS,
    "language_model": LANGUAGE_MODELS,
    "layout": LAYOUTS,
}


class VideoLanguageConfig(PreTrainedConfig):
    """The Hugging Face face of a `ModelSpec`: `config.json` holds it under `spec`, read back strictly.

    Args:
        spec: A ModelSpec or its JSON data.
        name: Name of the model, for predictions and traces.
        bases: State-dict root → {"source", "sha256"} of frozen weights that are kept elsewhere.
        frame_selector: Name of the frame selector in front of the model, e.g. `similarity:FOLDER`; empty for none.
    """

    model_type = "vidweave"

    def __init__(
        self,
        spec: ModelSpec | dict[str, Any] | None = None,
        name: str = "",
        bases: dict[str, Any] | None = None,
        frame_selector: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**_allowed(kwargs))
        for field_name, value in {"name": name, "frame_selector": frame_selector}.items():
            if not isinstance(value, str):
                raise ConfigError(f"{field_name} must be a string, got {value!r}")
        self.name = name
        self.frame_selector = frame_selector
        self.bases = _checked_bases({} if bases is None else bases)
        spec = config_to_dict({} if spec is None else spec)
        if not isinstance(spec, dict):
            raise ConfigError(f"spec must be a mapping, got {spec!r}")
        self.spec = spec

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read `folder`/config.json with our guards on size and depth.

        Raises:
            CheckpointError: it cannot be read, or is of another kind of model.
            ConfigError: a value of the wrong type, or a key that could run code.
        """
        result = read_model_type(folder)
        if result != cls.model_type:
            raise CheckpointError(f"{folder} holds a {result!r} model, not a {cls.model_type!r} one; use vidweave.load")
        return cls.from_dict(read_json(folder / "config.json"))

    def to_json_string(self, use_diff: bool = True) -> str:
        """As transformers writes it, but the spec in its own order: that of streams and ports means something."""
        data = {**json.loads(super().to_json_string(use_diff)), "spec": self.spec}
        return json.dumps(data, indent=2) + "\n"

    def parse(self) -> ModelSpec:
        """The ModelSpec; raises ConfigError where the data do not fit."""
        check_layers(self.spec, "the model")
        return ModelSpec.from_dict(self.spec)


def _checked_bases(bases: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(bases, dict):
        raise ConfigError(f"bases must be a mapping from state-dict roots, got {bases!r}")
    for root, base in bases.items():
        if not isinstance(base, dict) or not isinstance(base.get("source"), str):
            raise ConfigError(f"the base of {root!r} needs a 'source' and its 'sha256', got {base!r}")
        if not isinstance(base.get("sha256"), str | None):
            raise ConfigError(f"the sha256 of the base of {root!r} must be a string, got {base['sha256']!r}")
    return dict(bases)


# Keys that transformers itself writes into config.json. Any other key is dropped, since a hostile file could name
# code to run through them (CVE-2026-4372, CVE-2026-5241).
_KEYS_OF_TRANSFORMERS = {
    "dtype",
    "architectures",
    "transformers_version",
    "name_or_path",
    "_name_or_path",
    "return_dict",
}


def _allowed(kwargs: dict[str, Any]) -> dict[str, Any]:
    kwargs.pop("model_type", None)
    hostile = sorted(k for k in kwargs if k == "auto_map" or k.startswith("_attn"))
    if hostile:
        raise ConfigError(f"config.json holds {', '.join(hostile)}, which vidweave never writes; do not load this file")
    return {key: value for key, value in kwargs.items() if key in _KEYS_OF_TRANSFORMERS}
