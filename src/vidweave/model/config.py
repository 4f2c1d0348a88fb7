"""The configuration of a model: four slots, the streams that feed them, and the words around the tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from transformers import PreTrainedConfig

from vidweave.errors import ConfigError, ModalityError, UnknownNameError
from vidweave.registry import CONNECTORS, ENCODERS, LANGUAGE_MODELS, LAYOUTS, MODALITIES, SELECTORS, Registry
from vidweave.types import ComponentConfig, FrameNeed, PoolSpec, TextSpec, component_from_dict, config_to_dict

__all__ = ["ModelSpec", "StreamConfig", "VideoLanguageConfig"]


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """One (modality, encoder) pair: what may feed it, who sees it, which frames it wants.

    Attributes:
        encoder: Name of an encoder of the model.
        modalities: Modalities that may feed the stream, the first that a clip has counts (e.g. video, then image).
        need: Which frames.
        role: `connector` streams become tokens; a `selector` stream is what the selector watches.
        pool: Parameter-free pooling of the encoder's tokens, before the feature store.
    """

    encoder: str
    modalities: tuple[str, ...]
    need: FrameNeed = field(default_factory=FrameNeed)
    role: Literal["connector", "selector"] = "connector"
    pool: PoolSpec | None = None

    def __post_init__(self) -> None:
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
        layout: Where text and blocks of tokens stand in the prompt.
        decoding: Default arguments of `generate`.
    """

    kind: ClassVar[str] = "model"
    selector: Any
    encoders: dict[str, Any]
    streams: dict[str, StreamConfig]
    connector: Any
    language_model: Any
    layout: Any
    decoding: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for slot, registry in _SLOTS.items():
            value = getattr(self, slot)
            if isinstance(value, dict):
                object.__setattr__(self, slot, component_from_dict(registry, value))
        encoders = {name: _component(ENCODERS, value) for name, value in self.encoders.items()}
        object.__setattr__(self, "encoders", encoders)
        for name, stream in self.streams.items():
            self._check_stream(name, stream)
        ports, streams = set(self.connector.ports), set(self.connector_streams)
        if ports != streams:
            raise ConfigError(
                f"each connector stream needs a port of its name: streams {sorted(streams)}, ports {sorted(ports)}"
            )

    def _check_stream(self, name: str, stream: StreamConfig) -> None:
        if stream.encoder not in self.encoders:
            raise UnknownNameError(f"encoder of stream {name!r}:", stream.encoder, self.encoders)
        specs = self.encoders[stream.encoder].specs
        for modality in stream.modalities:
            if modality not in specs:
                raise ModalityError(
                    f"stream {name!r} may be fed {modality!r}, but encoder {stream.encoder!r} takes only "
                    f"{', '.join(sorted(specs))}; add a preprocessing spec to the encoder or drop the modality"
                )

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
        trunks = {spec for trunk in self.connector.trunks.values() if (spec := getattr(trunk, "text_spec", None))}
        if len(trunks) > 1:
            raise ConfigError(f"the trunks read text in {len(trunks)} ways; give them one text_spec")
        readers = {"trunk": next(iter(trunks), None), "selector": getattr(self.selector, "text_spec", None)}
        return {slot: spec for slot, spec in readers.items() if spec is not None}


_SLOTS: dict[str, Registry] = {
    "selector": SELECTORS,
    "connector": CONNECTORS,
    "language_model": LANGUAGE_MODELS,
    "layout": LAYOUTS,
}


def _component(registry: Registry, value: Any) -> Any:
    return component_from_dict(registry, value) if isinstance(value, dict) else value


class VideoLanguageConfig(PreTrainedConfig):
    """The Hugging Face face of a `ModelSpec`: `config.json` holds it under `spec`, read back strictly.

    Args:
        spec: A ModelSpec or its JSON data.
        name: What the model is called, for records and traces.
        bases: State-dict root → {"source", "sha256"} of frozen weights that are kept elsewhere.
    """

    model_type = "vidweave"

    def __init__(
        self,
        spec: ModelSpec | dict[str, Any] | None = None,
        name: str = "",
        bases: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_allowed(kwargs))
        self.name = name
        self.bases = dict(bases or {})
        self.spec = config_to_dict(spec) if isinstance(spec, ModelSpec) else dict(spec or {})

    def parse(self) -> ModelSpec:
        """The ModelSpec; raises ConfigError where the data do not fit."""
        return ModelSpec.from_dict(self.spec)


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
