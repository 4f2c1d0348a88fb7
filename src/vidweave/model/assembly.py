"""The model: four slots and one forward path, independent of the paper that it implements."""

# Axes: R rows = present (item, scene) pairs of a stream, B items, T segments, N tokens, C encoder width,
#       S sequence length, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from vidweave.errors import ConfigError, ModalityError, QueryError
from vidweave.language.splice import splice
from vidweave.model.bases import add_bases, without_bases
from vidweave.model.config import ModelSpec, VideoLanguageConfig
from vidweave.model.encoding import StreamEncoder
from vidweave.model.files import check_keys, locate, read_weights
from vidweave.model.generation import generation_config_of, read_generation
from vidweave.model.mixing import mix_timestamps
from vidweave.model.precision import float32_patterns
from vidweave.model.prepared import Prepared
from vidweave.model.processor import Processor
from vidweave.model.quantization import quantizing
from vidweave.model.saving import built_config, check_loads, check_options, keeps_processor
from vidweave.model.selecting import motion_energy, selection_numbers
from vidweave.model.swap import current, replaced
from vidweave.model.transformers_contract import TransformersContract
from vidweave.nn.numbers import floating_dtype, require_finite
from vidweave.nn.tensor_files import save_tensors
from vidweave.types import (
    Blocks,
    Embeds,
    Features,
    ModelInputs,
    PromptPlan,
    Selection,
    SelectorInputs,
    StreamInputs,
)

__all__ = ["VideoLanguageModel", "VideoLanguageOutput"]


@dataclass
class VideoLanguageOutput(ModelOutput):
    """Output of `forward`.

    Attributes:
        loss: Mean cross-entropy of the answers, if there were any.
        logits: (B, V) of the token after the prompt; None in training with target answers.
        info: Information from the parts (gates, weights, memory).
        selection: The selection; with a gradient if the selector is trainable.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    info: dict[str, Any] | None = None
    selection: Any = None


class VideoLanguageModel(TransformersContract):
    """Selector → encoders → connector → language model, each a slot filled from the configuration.

    State-dict roots: ``selector.*``, ``encoders.<name>.*``, ``connector.{trunks,ports,fusion}.*``, ``language_model.*``.
    """

    config_class = VideoLanguageConfig
    base_model_prefix = ""
    main_input_name = "streams"
    _supports_sdpa = True

    def __init__(self, config: VideoLanguageConfig, when_built: Callable[[Self], None] | None = None) -> None:
        """Build the slots; `when_built` is called with the model before anyone puts weights into it."""
        super().__init__(config)
        self.spec: ModelSpec = config.parse()
        self.selector = self.spec.selector.build()
        self.encoders = nn.ModuleDict({name: encoder.build() for name, encoder in self.spec.encoders.items()})
        self.connector: Any = self.spec.connector.build()  # torch types every attribute of a module as Tensor | Module
        self.language_model = self.spec.language_model.build()
        self._processor: Processor | None = None
        self.post_init()
        # transformers searches for tied weights in direct children only; ours are one level deeper.
        self.all_tied_weights_keys = _tied_names(self)
        self._keep_in_fp32_modules = float32_patterns(self, torch.float16)
        self._keep_in_fp32_modules_strict = float32_patterns(self, torch.bfloat16)
        self.generation_config = generation_config_of(self.spec.decoding, self.language_model.model.generation_config)
        if when_built is not None:
            when_built(self)

    # -- the path of one question --------------------------------------------------------------------------------

    def select(
        self, prepared: Prepared, *, k: int | None = None, selector: nn.Module | None = None
    ) -> Selection | None:
        """Select timestamps for every (item, scene) with frames; None where there are none (audio only).

        Args:
            k: Number of timestamps; None is the number that the streams need.
            selector: Chooses in place of the model's own.
        """
        if prepared.candidates.shape[0] == 0:
            return None
        selector_inputs = prepared.selector_inputs(k)
        with torch.no_grad():
            motion = self._motion(selector_inputs)
            if motion is not None:
                prepared.energy = motion_energy(motion)
                prepared.keep_motion(motion)
            selection = self._choose(selector_inputs, motion, selector=selector)
        return replace(selection, item=prepared.item, scene=prepared.scene)

    def choose(self, selector_inputs: SelectorInputs, generator: torch.Generator | None = None) -> Selection:
        """As `select`, with gradients: for training the selector.

        Args:
            generator: For selectors that draw their spans while they train.
        """
        return self._choose(selector_inputs, self._motion(selector_inputs), generator)

    def _motion(self, selector_inputs: SelectorInputs) -> Features | None:
        if selector_inputs.motion is None:
            return None
        ((name, _),) = self.spec.selector_streams.items()
        return self.encode_streams({name: selector_inputs.motion})[name]

    def _choose(
        self,
        selector_inputs: SelectorInputs,
        motion: Features | None,
        generator: torch.Generator | None = None,
        selector: nn.Module | None = None,
    ) -> Selection:
        text, device = selector_inputs.text, self.device
        chooser = self.selector if selector is None else selector
        if motion is not None:
            motion = motion.to(device)
            motion = replace(motion, values=motion.values.to(floating_dtype(chooser, motion.values.dtype)))
        selection = chooser(
            motion,
            None if text is None else text.to(device),
            selector_inputs.candidates.to(device),
            selector_inputs.mask.to(device),
            k=selector_inputs.k,
            generator=generator,
        )
        require_finite("{part} of the selector", selection_numbers(selection))
        return replace(selection, item=selector_inputs.item, scene=selector_inputs.scene)

    def encode_stream(self, name: str, inputs: StreamInputs) -> Features:
        """Features of one stream: through its encoder and its pooling, unless they are known already."""
        return self.encode_streams({name: inputs})[name]

    def encode_streams(self, inputs: Mapping[str, StreamInputs]) -> dict[str, Features]:
        """Features of several streams, side by side where the device can; those of new rows are
        stored where their entries say.

        Raises:
            NonFiniteError: NaN or infinity in features, or in the media or features that they were computed from.
        """
        return self._stream_encoder().encode(inputs)

    def _stream_encoder(self) -> StreamEncoder:
        return StreamEncoder(self.spec, self.encoders, self.device, self.dtype)

    def embed(self, inputs: ModelInputs) -> tuple[Embeds, dict[str, Any]]:
        """Streams and prompt → spliced embeddings for the language model, and information from the connector."""
        features = self.encode_streams(
            {name: stream for name, stream in inputs.streams.items() if name in self.spec.connector_streams}
        )
        selection = inputs.selection
        if selection is not None and selection.mix is not None:
            needs = {name: stream.need for name, stream in self.spec.connector_streams.items()}
            features = {
                name: mix_timestamps(f, selection, needs[name]) if needs[name].follow_selection else f
                for name, f in features.items()
            }
        item, scene = _pairs(inputs, self.device)
        text = inputs.text.get("trunk")
        blocks, info = self.connector(features, item, scene, None if text is None else text.to(self.device))
        if not blocks and not inputs.streams:
            raise ModalityError("the query has no video, image, audio or other modality")
        info["tokens_by_item"] = _tokens_by_item(blocks, inputs.num_items)
        return self.read(inputs.plan, blocks), info

    def read(self, plan: PromptPlan, blocks: Mapping[str, Blocks]) -> Embeds:
        """Splice the connector's token blocks into the prompts, as input of the language model.

        Raises:
            ShapeError: slots and blocks that do not fit each other; the message gives both counts.
            ModalityError: a block that the prompt has no place for.
        """
        return splice(plan.to(self.device), blocks, self.language_model.embed, self.language_model.side)

    def forward(
        self,
        inputs: ModelInputs | None = None,
        *,
        generator: torch.Generator | None = None,
        **inputs_by_name: Any,
    ) -> VideoLanguageOutput:
        """Loss where the inputs hold answers, else the logits of the first token of the answer.

        A trainable selector selects again, with a gradient, among the candidates in the inputs.

        Args:
            inputs: From the processor; its fields may also be given by name (``model(**inputs)``).
            generator: For selectors that draw their spans while they train.
        """
        inputs = _inputs(inputs, inputs_by_name)
        if inputs.selector_inputs is not None and self._is_selector_trained():
            inputs = replace(inputs, selection=self.choose(inputs.selector_inputs, generator))
        embeds, info = self.embed(inputs)
        target = None if inputs.target is None else inputs.target.to(self.device)
        reply = {"info": info, "selection": inputs.selection}
        if target is None and embeds.labels is None:
            return VideoLanguageOutput(logits=self.language_model.next_logits(embeds), **reply)
        return VideoLanguageOutput(loss=self.language_model.loss(embeds, target), **reply)

    def _is_selector_trained(self) -> bool:
        is_trainable = any(parameter.requires_grad for parameter in self.selector.parameters())
        return self.selector.training and is_trainable and torch.is_grad_enabled()

    @torch.no_grad()
    def generate(self, inputs: ModelInputs | None = None, **arguments: Any) -> Tensor:
        """New token ids (B, L), padded on the right; arguments are those of transformers' `generate`."""
        names = {f.name for f in fields(ModelInputs)}
        by_name = {name: arguments.pop(name) for name in list(arguments) if name in names}
        embeds, _ = self.embed(_inputs(inputs, by_name))
        return self.language_model.generate(embeds, **self.decoding(arguments))

    @torch.no_grad()
    def score(
        self, inputs: ModelInputs, options: Sequence[Sequence[Sequence[int]]], *, normalize: str = "sum"
    ) -> list[list[float]]:
        """Log-probability of each option of each item; the prompt is read once for all options."""
        embeds, _ = self.embed(inputs)
        return self.language_model.score(self.language_model.prefill(embeds), options, normalize=normalize)

    # -- processor -----------------------------------------------------------------------------------------------

    @property
    def processor(self) -> Processor:
        """The processor that was loaded or attached with the model."""
        if self._processor is None:
            raise ConfigError("this model has no processor; load it with vidweave.load, or set model.processor")
        return self._processor

    @processor.setter
    def processor(self, processor: Processor) -> None:
        self._processor = processor

    # -- files ---------------------------------------------------------------------------------------------------

    def built_config(self) -> VideoLanguageConfig:
        """The configuration of the model as it is now: with adapters on its language model, and no bases."""
        return built_config(self.config, self.language_model, self.decoding())

    def save_pretrained(
        self,
        save_directory: Any,
        is_main_process: bool = True,
        *,
        bases: Mapping[str, str | Path] | None = None,
        processor: Processor | None = None,
        state_dict: dict[str, Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write weights (safetensors), configuration and processor and replace the files of an older model in the folder.

        At every instant the old model or the new one loads. A model without a processor leaves that of the folder.

        Args:
            is_main_process: False takes part in gathering distributed weights, and writes nothing.
            bases: State-dict root → folder, asset or hub id that holds the frozen weights below it
                (``{"language_model": "tiny-llama"}``); they are then named, with their hash, instead of written.
            processor: Written with the model; None is the one that the model was loaded with.
            state_dict: The tensors to write instead of the model's own.
            kwargs: As in transformers, e.g. `max_shard_size`.

        Raises:
            CheckpointError: the saved model would not load again, a base has other weights than the model, or the
                disk is full; the folder is then as it was.
            ConfigError: a setting that would write a folder which does not load.
        """
        check_options(kwargs)
        self._check_quantizable()
        processor = self._processor if processor is None else processor
        folder, config = Path(save_directory), self.built_config()
        state = dict(self.state_dict() if state_dict is None else state_dict)
        with torch.device("meta"):
            skeleton = type(self)(config)
        check_loads(state, skeleton)
        if bases:
            state, config.bases = without_bases(state, bases, self, folder)
        state = {name: tensor for name, tensor in state.items() if name not in skeleton.all_tied_weights_keys}
        if not is_main_process:
            with TemporaryDirectory() as unused:
                super().save_pretrained(unused, False, state_dict=state, **kwargs)
            return
        with replaced(folder, keep=keeps_processor(folder, config)) as staging:
            # transformers would write some parts under the names of older releases, which no key of ours has.
            super().save_pretrained(staging, state_dict=dict(state), save_original_format=False, **kwargs)
            if not state:
                save_tensors(staging / "model.safetensors", {}, {"format": "pt"})
            config.dtype, config.architectures = self.config.dtype, self.config.architectures
            config.save_pretrained(staging)
            if processor is not None:
                processor.write_into(staging)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Load the output of `save_pretrained` strictly, with the processor if there is one.

        Raises:
            CheckpointError: missing, extra or mis-shaped keys (listed), or a base that has changed.
        """
        folder = locate(pretrained_model_name_or_path)
        config = kwargs.pop("config", None) or VideoLanguageConfig.from_folder(folder)
        state = read_weights(folder)
        if config.bases:
            with torch.device("meta"):
                skeleton = cls(config)
            state = add_bases(state, config.bases, skeleton, folder)
        model = cls.from_state(config, state, *args, what=str(folder), **kwargs)
        model.generation_config = read_generation(current(folder)) or model.generation_config
        if (current(folder) / "processor_config.json").is_file():
            model.processor = Processor.from_pretrained(folder, config)
        return model

    @classmethod
    def from_state(
        cls,
        config: VideoLanguageConfig,
        state: dict[str, Tensor],
        *args: Any,
        what: str = "the state dict",
        skeleton: Self | None = None,
        **kwargs: Any,
    ) -> Self:
        """Build a model with exactly these weights, under our names; `what` names them in errors."""

        def check(model: Self) -> None:
            check_keys(what, model.state_dict(), state, tied=model.all_tied_weights_keys)

        if skeleton is not None:
            check(skeleton)
        with quantizing(kwargs):
            # transformers passes further arguments on to __init__, so the built model is checked
            return super().from_pretrained(None, check, *args, config=config, state_dict=state, **kwargs)


def _inputs(inputs: ModelInputs | None, by_name: Mapping[str, Any]) -> ModelInputs:
    by_name = {name: value for name, value in by_name.items() if value is not None or name not in _OF_TEXT_MODELS}
    if inputs is None and isinstance(by_name.get("input_ids"), ModelInputs):  # PEFT calls its first argument so
        inputs = by_name["input_ids"]
    if isinstance(inputs, ModelInputs):
        return inputs
    if inputs is not None or "plan" not in by_name:
        raise QueryError(f"expected the inputs from the processor, got {type(inputs).__name__} and {sorted(by_name)}")
    return ModelInputs(**by_name)


# Arguments that PEFT hands on to every model, empty where they were not given
_OF_TEXT_MODELS = {
    "input_ids",
    "attention_mask",
    "inputs_embeds",
    "labels",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
}


def _tied_names(model: nn.Module) -> dict[str, str]:
    """Names of weights that share storage with another one → that one, below every model of transformers inside."""
    inner = {n: m for n, m in model.named_modules() if n and isinstance(m, PreTrainedModel)}
    return {
        f"{n}.{target}": f"{n}.{source}" for n, m in inner.items() for target, source in m.all_tied_weights_keys.items()
    }


def _tokens_by_item(blocks: Mapping[str, Blocks], num_items: int) -> list[dict[str, int]]:
    counts: list[dict[str, int]] = [{} for _ in range(num_items)]
    for name, block in blocks.items():
        for item, count in zip(block.item.tolist(), block.mask.sum((1, 2)).tolist(), strict=True):
            counts[item][name] = counts[item].get(name, 0) + count
    return counts


def _pairs(inputs: ModelInputs, device: Any) -> tuple[Tensor, Tensor]:
    """All (item, scene) pairs of the batch, also those that some streams lack."""
    pairs = torch.tensor(inputs.pairs, dtype=torch.long).reshape(-1, 2).to(device)
    return pairs[:, 0], pairs[:, 1]
