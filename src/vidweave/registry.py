"""Registered names: components, models, checkpoint layouts, tasks, data sets, panels and modalities.

See `vidweave.registration` for how a registry works, and for the entry points by which other packages add names.
"""

from __future__ import annotations

from vidweave.registration import (
    ConverterFacts,
    DatasetFacts,
    Entry,
    FormatFacts,
    FrameSelectorFacts,
    ModalityFacts,
    ModelFacts,
    PanelFacts,
    Registry,
)

__all__ = [
    "CARRIERS",
    "CHECKPOINT_FORMATS",
    "CONNECTORS",
    "CONVERTERS",
    "DATASETS",
    "ENCODERS",
    "FRAME_SELECTORS",
    "FUSIONS",
    "LANGUAGE_MODELS",
    "LAYOUTS",
    "MODELS",
    "MODALITIES",
    "PANELS",
    "PIPELINES",
    "REGISTRIES",
    "SELECTORS",
    "TASKS",
    "TRUNKS",
    "VLM_FAMILIES",
    "Entry",
    "Registry",
]


# Component kinds: the value is the component's config class (a `ComponentConfig`), whose `build()` makes the module.
SELECTORS = Registry("selector", group="vidweave.selectors")
SELECTORS.register("uniform", "vidweave.selectors.uniform:UniformSelectorConfig")
SELECTORS.register("all_frames", "vidweave.selectors.all_frames:AllFramesSelectorConfig")
SELECTORS.register("motion_peaks", "vidweave.selectors.motion_peaks:MotionPeaksSelectorConfig")
SELECTORS.register("grounding", "vidweave.selectors.grounding:GroundingSelectorConfig")

# Selectors in front of a whole pipeline (`types.FrameSelector`): a class that is called with the folder or hub id of its
# model, `device` and `cache_folder`.
FRAME_SELECTORS = Registry("frame selector", FrameSelectorFacts, group="vidweave.frame_selectors")
FRAME_SELECTORS.register(
    "uniform",
    "vidweave.pipelines.frame_selection.uniform:UniformFrames",
    summary="evenly spaced frames, regardless of the question",
)
FRAME_SELECTORS.register(
    "motion_peaks",
    "vidweave.pipelines.frame_selection.motion:MotionFrames",
    summary="frames where the picture changes most, regardless of the question",
)
FRAME_SELECTORS.register(
    "similarity",
    "vidweave.pipelines.frame_selection.similarity:SimilaritySelector",
    needs_model=True,
    summary="frames similar to the question by a dual encoder (CLIP, SigLIP), spread over the clip",
)
FRAME_SELECTORS.register(
    "ground",
    "vidweave.pipelines.frame_selection.similarity:GroundSelector",
    needs_model=True,
    summary="frames inside the spans most similar to the question",
)

ENCODERS = Registry("encoder", group="vidweave.encoders")
ENCODERS.register("vision_tower", "vidweave.encoders.vision_tower:VisionTowerConfig")
ENCODERS.register("motion", "vidweave.encoders.motion:MotionEncoderConfig")
ENCODERS.register("patch", "vidweave.encoders.patch:PatchEncoderConfig")
ENCODERS.register("languagebind", "vidweave.encoders.languagebind:LanguageBindConfig")
ENCODERS.register("timm", "vidweave.encoders.timm_tower:TimmTowerConfig")
ENCODERS.register("pillars", "vidweave.encoders.pillars:PillarEncoderConfig")
ENCODERS.register("beats", "vidweave.encoders.beats:BeatsConfig")
ENCODERS.register("universal", "vidweave.encoders.universal:UniversalEncoderConfig")
ENCODERS.register("pointbert", "vidweave.encoders.pointbert:PointBertConfig")
ENCODERS.register("point_features", "vidweave.encoders.point_cloud:PointFeaturesConfig")

TRUNKS = Registry("trunk", group="vidweave.trunks")
TRUNKS.register("qformer", "vidweave.connectors.qformer:QFormerConfig")
TRUNKS.register("mlp", "vidweave.connectors.mlp:MLPConfig")
TRUNKS.register("projector", "vidweave.connectors.projectors:ProjectorConfig")
TRUNKS.register("resampler", "vidweave.connectors.resampler:ResamplerConfig")
TRUNKS.register("expert_mixture", "vidweave.connectors.expert_mixture:ExpertMixtureConfig")

FUSIONS = Registry("fusion", group="vidweave.fusions")
FUSIONS.register("none", "vidweave.connectors.fusion:NoFusionConfig")
FUSIONS.register("concat", "vidweave.connectors.fusion:ConcatFusionConfig")
FUSIONS.register("mean", "vidweave.connectors.mean_fusion:MeanFusionConfig")
FUSIONS.register("channel_concat", "vidweave.connectors.mixer:ChannelConcatConfig")
FUSIONS.register("mixer", "vidweave.connectors.mixer:MixerConfig")
FUSIONS.register("gated_add", "vidweave.connectors.gated_fusion:GatedAddConfig")
FUSIONS.register("gated_append", "vidweave.connectors.gated_fusion:GatedAppendConfig")

CONNECTORS = Registry("connector", group="vidweave.connectors")
CONNECTORS.register("connector", "vidweave.connectors.connector:ConnectorConfig")

LANGUAGE_MODELS = Registry("language model", group="vidweave.language_models")
LANGUAGE_MODELS.register("causal", "vidweave.language.causal:CausalConfig")
LANGUAGE_MODELS.register("seq2seq", "vidweave.language.seq2seq:Seq2SeqConfig")

LAYOUTS = Registry("prompt layout", group="vidweave.layouts")
LAYOUTS.register("template", "vidweave.language.layout:TemplateLayout")

# Models by name: presets and shipped tiny models. The target is a function that returns the model's configuration; without
# a target, the configuration is read from the folder named by `weights`.
MODELS = Registry("model", ModelFacts, group="vidweave.models")
MODELS.register(
    "tiny-base",
    "vidweave.systems.tiny.preset:tiny_base",
    weights="tiny-base",
    summary="shipped; for toyworld: one vision encoder, a Q-Former, a Llama",
)
MODELS.register(
    "tiny-malmm",
    "vidweave.systems.malmm.tiny:tiny_malmm",
    weights="tiny-malmm",
    summary="shipped; order of events in long toyworld clips, with a memory of constant size",
)
MODELS.register(
    "tiny-merv",
    "vidweave.systems.merv.tiny:tiny_merv",
    weights="tiny-merv",
    summary="shipped; three toyworld encoders (general, fine texture, speed) and a mixer that weights them",
)
MODELS.register(
    "tiny-videotgb",
    "vidweave.systems.videotgb.tiny:tiny_videotgb",
    weights="tiny-videotgb",
    summary="shipped; tiny-base with a bridge that selects the frames a question refers to, from motion",
)
MODELS.register(
    "tiny-crema",
    "vidweave.systems.tiny.crema:tiny_crema",
    weights="tiny-crema",
    summary="shipped; tiny-base with audio, depth, normals, flow, thermal, touch and points, without additional tokens",
)
for _name, _function, _weights, _summary in (
    ("blip2-flan-t5-xl", "blip2_flan_t5_xl", "Salesforce/blip2-flan-t5-xl", "BLIP-2 with Flan-T5-XL"),
    (
        "instructblip-flan-t5-xl",
        "instructblip_flan_t5_xl",
        "Salesforce/instructblip-flan-t5-xl",
        "InstructBLIP with Flan-T5-XL",
    ),
    (
        "instructblip-vicuna-7b",
        "instructblip_vicuna_7b",
        "Salesforce/instructblip-vicuna-7b",
        "InstructBLIP with Vicuna-7B",
    ),
    (
        "instructblip-vicuna-13b",
        "instructblip_vicuna_13b",
        "Salesforce/instructblip-vicuna-13b",
        "InstructBLIP with Vicuna-13B",
    ),
):
    MODELS.register(
        _name,
        f"vidweave.systems.blip2.preset:{_function}",
        weights=_weights,
        summary=_summary,
        loader="vidweave.systems.blip2.checkpoint:load_named",
    )
for _name, _function, _size, _use in (
    ("malmm-vicuna-7b-m10", "malmm_7b_m10", "7b", "20 frames"),
    ("malmm-vicuna-7b-m20", "malmm_7b_m20", "7b", "100 frames, classes of long videos"),
    ("malmm-vicuna-7b-m40", "malmm_7b_m40", "7b", "80 frames, captions"),
    ("malmm-vicuna-13b-m10", "malmm_13b_m10", "13b", "20 frames"),
):
    MODELS.register(
        _name,
        f"vidweave.systems.malmm.preset:{_function}",
        weights=f"Salesforce/instructblip-vicuna-{_size}",
        summary=f"MA-LMM on InstructBLIP with Vicuna-{_size.upper()}, memory added without training; {_use}",
        loader="vidweave.systems.malmm.checkpoint:load_plugged",
    )
for _name, _function, _summary in (
    ("merv-frozen", "merv_frozen", "MERV: LanguageBind, DINOv2, ViViT and SigLIP mixed before Llama-2-7B, one stage"),
    ("merv-full", "merv_full", "MERV, two stages"),
    ("languagebind-single", "languagebind_single", "MERV's recipe with only LanguageBind"),
    ("dinov2-single", "dinov2_single", "MERV's recipe with only DINOv2"),
    ("vivit-single", "vivit_single", "MERV's recipe with only ViViT"),
    ("siglip-single", "siglip_single", "MERV's recipe with only SigLIP"),
):
    MODELS.register(
        _name,
        f"vidweave.systems.merv.preset:{_function}",
        summary=_summary,
        get="convert its released file with `vidweave convert merv`, and load that folder",
    )
for _name, _function, _summary in (
    ("crema-sqa3d", "crema_sqa3d", "video, 3D points, depth and normals"),
    ("crema-music-avqa", "crema_music_avqa", "video, audio, flow, depth and normals"),
    ("crema-nextqa", "crema_nextqa", "video, depth, flow and normals"),
    ("crema-touch-qa", "crema_touch_qa", "video, touch and normals"),
    ("crema-thermal-qa", "crema_thermal_qa", "video, thermal and depth"),
):
    MODELS.register(
        _name,
        f"vidweave.systems.crema.preset:{_function}",
        summary=f"CREMA on Flan-T5-XL: {_summary}",
        get="convert released files with `vidweave convert crema`, and load that folder",
    )
for _name, _function, _summary in (
    ("videotgb-vicuna-7b", "videotgb_vicuna_7b", "InstructBLIP with Vicuna-7B behind a grounding bridge"),
    ("videotgb-flan-t5-xl", "videotgb_flan_t5_xl", "BLIP-2 with Flan-T5-XL behind a grounding bridge"),
):
    MODELS.register(
        _name,
        f"vidweave.systems.videotgb.preset:{_function}",
        summary=f"VideoTGB: {_summary}",
        get="convert its released .ckpt with `vidweave convert videotgb`, and load that folder",
    )
for _name, _function, _summary in (
    ("xinstructblip-vicuna-7b", "xinstructblip_vicuna_7b", "a Q-Former for each of image, 3D, audio, video; Vicuna-7B"),
    ("xinstructblip-vicuna-13b", "xinstructblip_vicuna_13b", "with Vicuna-13B"),
    ("xinstructblip-contra4-7b", "xinstructblip_contra4_7b", "with Vicuna-7B, prompted as in Contra4"),
    ("xinstructblip-discrn-7b", "xinstructblip_discrn_7b", "with Vicuna-7B, prompted as in DisCRn"),
):
    MODELS.register(
        _name,
        f"vidweave.systems.xinstructblip.preset:{_function}",
        summary=f"X-InstructBLIP: {_summary}",
        get="convert its released Q-Formers with `vidweave convert xinstructblip`, and load that folder",
    )
for _name, _function, _summary in (
    ("onellm-7b", "onellm_7b", "one encoder and a mixture of experts for eight modalities; LLaMA-2-7B"),
    ("onellm-contra4-7b", "onellm_contra4_7b", "the same, asked as Contra4 asks"),
):
    MODELS.register(
        _name,
        f"vidweave.systems.onellm.preset:{_function}",
        summary=f"OneLLM: {_summary}",
        get="convert its released file with `vidweave convert onellm`, and load that folder",
    )
# Folders written by other libraries: `model_type` of their config.json → a function(folder, …) → the model.
CHECKPOINT_FORMATS = Registry("checkpoint format", FormatFacts, group="vidweave.checkpoint_formats")
for _type in ("blip-2", "instructblip", "instructblipvideo"):
    CHECKPOINT_FORMATS.register(
        _type,
        "vidweave.systems.blip2.checkpoint:load_folder",
        config="vidweave.systems.blip2.checkpoint:config_from_folder",
        open="vidweave.systems.blip2.checkpoint:open_folder",
    )
# `model_type` of a folder's config.json → a function(name, device=, dtype=, device_map=, cache_folder=) → a pipeline; other kinds of
# our own models (`CHECKPOINT_FORMATS`) load as `vidweave` does.
PIPELINES = Registry("pipeline", group="vidweave.pipelines")
PIPELINES.register("vidweave", "vidweave.pipelines.slot:SlotPipeline.load")
# Whole vision-language models of transformers: `model_type` → a class that prepares their frames (pipelines/vlm/family.py).
# Types that no entry names are read as `general`.
VLM_FAMILIES = Registry("vision-language family", group="vidweave.vlm_families")
_FAMILIES = "vidweave.pipelines.vlm.families"
VLM_FAMILIES.register("qwen2_vl", f"{_FAMILIES}.qwen2_vl:Qwen2VL", summary="Qwen2-VL; times reach the model: no")
VLM_FAMILIES.register("qwen2_5_vl", f"{_FAMILIES}.qwen2_5_vl:Qwen25VL", summary="Qwen2.5-VL; times: positions")
VLM_FAMILIES.register("qwen3_vl", f"{_FAMILIES}.qwen3_vl:Qwen3VL", summary="Qwen3-VL; times: text")
VLM_FAMILIES.register("qwen3_vl_moe", f"{_FAMILIES}.qwen3_vl:Qwen3VLMoe", summary="Qwen3-VL, experts; times: text")
VLM_FAMILIES.register("qwen3_5", f"{_FAMILIES}.qwen3_vl:Qwen35", summary="Qwen3.5; times: text")
VLM_FAMILIES.register("qwen3_5_moe", f"{_FAMILIES}.qwen3_vl:Qwen35Moe", summary="Qwen3.5, experts; times: text")
VLM_FAMILIES.register(
    "llava_onevision", f"{_FAMILIES}.llava_onevision:LlavaOnevision", summary="LLaVA-OneVision; times: no"
)
VLM_FAMILIES.register("smolvlm", f"{_FAMILIES}.smolvlm:SmolVLM", summary="SmolVLM, SmolVLM2; times: text, MM:SS")
VLM_FAMILIES.register("internvl", f"{_FAMILIES}.internvl:InternVL", summary="InternVL 3.x; times: no")
VLM_FAMILIES.register("gemma4", f"{_FAMILIES}.gemma4:Gemma4", summary="Gemma 4; times: text, MM:SS")
VLM_FAMILIES.register("glm4v", f"{_FAMILIES}.glm4v:Glm4V", summary="GLM-4.1V; times: text, whole seconds")
VLM_FAMILIES.register("glm4v_moe", f"{_FAMILIES}.glm4v:Glm4VMoe", summary="GLM-4.5V; times: text, whole seconds")
VLM_FAMILIES.register("glm46v", f"{_FAMILIES}.glm4v:Glm46V", summary="GLM-4.6V; times: text")
VLM_FAMILIES.register("video_llava", f"{_FAMILIES}.video_llava:VideoLlava", summary="Video-LLaVA; times: no")
VLM_FAMILIES.register(
    "llava_next_video", f"{_FAMILIES}.video_llava:LlavaNextVideo", summary="LLaVA-NeXT-Video; times: no"
)
VLM_FAMILIES.register("video_llama_3", f"{_FAMILIES}.video_llama3:VideoLlama3", summary="VideoLLaMA3; times: text")
VLM_FAMILIES.register("molmo2", f"{_FAMILIES}.molmo2:Molmo2", summary="Molmo2; times: text")
VLM_FAMILIES.register("general", f"{_FAMILIES}.general:GeneralFamily", summary="any other; frames as stills")
# Released files that `vidweave convert` turns into folders of ours: layout → a function(Request) → Report
# (model/conversion.py).
CONVERTERS = Registry("checkpoint layout", ConverterFacts, group="vidweave.converters")
CONVERTERS.register(
    "malmm",
    "vidweave.systems.malmm.checkpoint:convert",
    summary="MA-LMM's fine-tuned files, applied to the InstructBLIP that they were trained on",
    base="InstructBLIP",
    options=("length", "num_frames", "beyond_times"),
    marks=r"image_pe\.weight$",
)
CONVERTERS.register(
    "merv",
    "vidweave.systems.merv.checkpoint:convert",
    summary="MERV's checkpoints; encoders and the language model's configuration come from separate folders",
    parts=("language", "tokenizer", "config", "languagebind", "dinov2", "vivit", "siglip"),
    options=("stream_order", "prompt", "fold"),
    marks=r"(projectors?|feature_fusion|adapter|llm_backbone)\.",
)
CONVERTERS.register(
    "crema",
    "vidweave.systems.crema.checkpoint:convert",
    summary="CREMA's files (crema_initial, crema_pretrained, v1_ckpt, v2_ckpt), or LAVIS' BLIP-2 Flan-T5-XL as its start",
    base="CREMA, for files that hold a part",
    parts=("vision", "audio", "language"),
    options=("dataset", "modalities", "fusion", "stream_order", "filled"),
    marks=r"(query_tokens|t5_proj|ln)_(rgb|audio|flow|depth|norm|pc)(\.|$)|fusion\.0\.|projection_audio\.",
)
CONVERTERS.register(
    "videotgb",
    "vidweave.systems.videotgb.checkpoint:convert",
    summary="VideoTGB's LSTP-7B.ckpt and LSTP-FlanT5xl.ckpt, bare or from Lightning; adapters are merged",
    parts=("language", "selector", "qformer"),
    options=("motion", "pooling", "mode"),
    marks=r"(temporal_encoder|of_extractor)\.",
)
CONVERTERS.register(
    "xinstructblip",
    "vidweave.systems.xinstructblip.checkpoint:convert",
    summary="X-InstructBLIP's Q-Formers (image, video, audio, pc), with the frozen parts in front and behind",
    base="InstructBLIP with the same Vicuna, for vision, language and tokenizers",
    parts=(
        "image_qformer",
        "video_qformer",
        "audio_qformer",
        "pc_qformer",
        "vision",
        "audio",
        "points",
        "language",
        "qformer",
    ),
    options=("prompt", "num_frames", "legacy_media"),
    marks=r"(image|video|audio|pc)_(Qformer|query_tokens|llm_proj)(\.|$)",
)
CONVERTERS.register(
    "onellm",
    "vidweave.systems.onellm.checkpoint:convert",
    summary="OneLLM's consolidated.00-of-01.pth, or all files of a sharded one; the tokenizer comes from Llama-2's folder",
    parts=("tokenizer",),
    options=("prompt", "legacy_decoding", "legacy_media"),
    marks=r"(llma\.)?(resample_tokens|resample_layers|start_tag|clip_proj1)\.",
)
# Evaluation tasks: a task, or a dataclass or function that makes one from settings (`vidweave evaluate NAME key=value`).
TASKS = Registry("task", group="vidweave.tasks")
TASKS.register("toyworld", "vidweave.evaluation.tasks.toyworld:ToyworldTask")

# Data sets: a dataclass or function that makes a sequence of `data.schema.Example` from settings.
DATASETS = Registry("data set", DatasetFacts, group="vidweave.datasets")

_SCORING = "vidweave.evaluation.benchmarks.scoring"
_SEE = "see the project page"  # where the terms of a set are not recorded here
DATASETS.register(
    "examples",
    "vidweave.data.examples:ExamplesFile",
    summary="questions of your own: JSON, JSON lines, CSV or Parquet with question, answer, options and files; conversations",
    access="your own file",
)
DATASETS.register(
    "nextqa",
    "vidweave.data.nextqa:NextQA",
    summary="NExT-QA: why, how and when of everyday videos; the official CSV or SeViLA's JSON",
    kind="choice",
    splits=("train", "val", "test"),
    license="MIT (repository)",
    access="annotations: github.com/doc-doc/NExT-QA; videos: VidOR, on application",
    modalities=("video", "depth", "flow", "normals"),
    split="val",
    metric="top-1 %",
    scorer=f"{_SCORING}:nextqa",
    blind="most frequent answer 19 to 21",
)
DATASETS.register(
    "star",
    "vidweave.data.sevila:Star",
    summary="STAR: situated reasoning in Charades videos; the official list or SeViLA's JSON",
    kind="choice",
    splits=("train", "val"),
    license=_SEE,
    access="annotations: github.com/csbobby/STAR_Benchmark; videos: Charades",
    split="val",
    metric="mean of four types, %",
    scorer=f"{_SCORING}:star",
)
DATASETS.register(
    "how2qa",
    "vidweave.data.sevila:How2QA",
    summary="How2QA: questions about instructional and TV clips; the official JSON lines or SeViLA's JSON",
    kind="choice",
    splits=("train", "val"),
    license=_SEE,
    access="annotations: SeViLA's repository says where; videos: YouTube",
    split="val",
    metric="top-1 %",
    scorer=f"{_SCORING}:sevila",
)
DATASETS.register(
    "music-avqa",
    "vidweave.data.music_avqa:MusicAVQA",
    summary="MUSIC-AVQA: what sounds, where and when, in videos of music; both releases",
    splits=("train", "val", "test"),
    license="MIT (repository)",
    access="github.com/GeWu-Lab/MUSIC-AVQA",
    modalities=("video", "audio", "depth", "normals", "flow"),
    split="test of json_update",
    metric="top-1 % per nine types",
    scorer=f"{_SCORING}:music_avqa",
    blind="per type 35.8, per template 51.5",
)
DATASETS.register(
    "sqa3d",
    "vidweave.data.sqa3d:SQA3D",
    summary="SQA3D: situated questions about ScanNet scenes; 3D-LLM's list or the official pair of files",
    splits=("train", "val", "test"),
    license="CC BY 4.0 (data)",
    access="annotations: sqa3d.github.io; scenes: ScanNet, on application",
    modalities=("video", "depth", "normals", "flow", "point_cloud"),
    split="test",
    metric="exact match % per first word",
    scorer=f"{_SCORING}:sqa3d",
    blind="per type 21.3",
)
DATASETS.register(
    "3d-llm",
    "vidweave.data.sqa3d:ThreeDLLM",
    summary="3D-LLM: questions about scenes, to train a point cloud adapter",
    license=_SEE,
    access="github.com/UMass-Foundation-Model/3D-LLM",
    modalities=("video", "depth", "normals", "flow", "point_cloud"),
)
for _name, _reader, _source, _modality in (
    ("touch-qa", "TouchQA", "Touch and Go", "touch"),
    ("thermal-qa", "ThermalQA", "Thermal-IM", "thermal"),
):
    DATASETS.register(
        _name,
        f"vidweave.data.nextqa:{_reader}",
        summary=f"CREMA's questions about clips of {_source}, in SeViLA's form",
        kind="choice",
        splits=("train", "val"),
        license=_SEE,
        access="annotations: CREMA's release; clips are made with its tools or `vidweave extract`",
        modalities=("video", _modality, "depth", "normals", "flow"),
        split="val",
        metric="top-1 %",
        scorer=f"{_SCORING}:sevila",
    )
DATASETS.register(
    "audiocaps",
    "vidweave.data.audiocaps:AudioCapsQA",
    summary="AudioCaps: audio captions, or questions about them, to train an audio adapter",
    kind="caption",
    splits=("train", "val", "test"),
    license=_SEE,
    access="captions: github.com/cdjkim/audiocaps; audio: to be fetched from its sources",
    modalities=("audio",),
    split="test",
    metric="CIDEr",
    scorer="vidweave.evaluation.benchmarks.captions:captions_or_answers",
)
DATASETS.register(
    "msvd-qa",
    "vidweave.data.open_answers:MSVDQA",
    summary="MSVD-QA: one-word answers about short clips; MA-LMM's, the judges' or the original form",
    splits=("train", "val", "test"),
    license=_SEE,
    access="annotations: github.com/xudejing/video-question-answering; videos: MSVD",
    split="test",
    metric="exact match %, or judge",
    scorer=f"{_SCORING}:one_word",
    blind="most frequent answer 14.1, per type 18.9; at most 96.1 can be reached",
)
DATASETS.register(
    "msrvtt-qa",
    "vidweave.data.open_answers:MSRVTTQA",
    summary="MSRVTT-QA: one-word answers about clips from the web; MA-LMM's, the judges' or the original form",
    splits=("train", "val", "test"),
    license=_SEE,
    access="annotations: github.com/xudejing/video-question-answering; videos: MSRVTT",
    split="test",
    metric="exact match %, or judge",
    scorer=f"{_SCORING}:one_word",
    blind="on val: most frequent answer 9.5, per type 16.8; at most 96.1 can be reached",
)
DATASETS.register(
    "activitynet-qa",
    "vidweave.data.open_answers:ActivityNetQA",
    summary="ActivityNet-QA: open answers of nine types about long videos; the official pair or MA-LMM's form",
    splits=("train", "val", "test"),
    license=_SEE,
    access="annotations: github.com/MILVLG/activitynet-qa; videos: ActivityNet",
    split="test",
    metric="exact match %, or judge",
    scorer=f"{_SCORING}:activitynet_qa",
    blind="most frequent answer 13.7, per type 24.6",
)
DATASETS.register(
    "tgif-qa",
    "vidweave.data.open_answers:TGIFQA",
    summary="TGIF-QA: questions about animated GIFs (frame, count, action, transition); official tables or the judges' form",
    splits=("train", "test"),
    license=_SEE,
    access="github.com/YunseokJANG/tgif-qa",
    split="test",
    metric="exact match % or judge (frame), top-1 % (action, transition), mean squared error (count)",
    scorer=f"{_SCORING}:tgif_qa",
    blind="frame: most frequent answer 17.5",
)
DATASETS.register(
    "msvd-caption",
    "vidweave.data.captions:MSVDCaptions",
    summary="Captions of MSVD clips; MA-LMM's or COCO's form",
    kind="caption",
    splits=("train", "val", "test"),
    license=_SEE,
    access="annotations: github.com/boheumd/MA-LMM; videos: MSVD",
    split="test",
    metric="METEOR, CIDEr",
    scorer="vidweave.evaluation.benchmarks.captions:captions",
)
DATASETS.register(
    "msrvtt-caption",
    "vidweave.data.captions:MSRVTTCaptions",
    summary="Captions of MSRVTT clips; MA-LMM's or COCO's form",
    kind="caption",
    splits=("train", "val", "test"),
    license=_SEE,
    access="annotations: github.com/boheumd/MA-LMM; videos: MSRVTT",
    split="test",
    metric="METEOR, CIDEr",
    scorer="vidweave.evaluation.benchmarks.captions:captions",
)
DATASETS.register(
    "youcook2-caption",
    "vidweave.data.captions:YouCook2Captions",
    summary="Captions of the steps of YouCook2 recipes; test captions are not public",
    kind="caption",
    splits=("train", "val", "test"),
    license=_SEE,
    access="annotations: github.com/boheumd/MA-LMM; videos: YouTube",
    split="val",
    metric="METEOR, CIDEr",
    scorer="vidweave.evaluation.benchmarks.captions:captions",
)
DATASETS.register(
    "lvu",
    "vidweave.data.lvu:LVU",
    summary="LVU: seven classification tasks about film scenes; MA-LMM's clips or the original tables",
    kind="class",
    splits=("train", "val", "test"),
    license=_SEE,
    access="annotations: github.com/boheumd/MA-LMM or github.com/chaoyuaw/lvu; videos: YouTube",
    split="test",
    metric="top-1 % of clips (MA-LMM) or of videos (LVU)",
    scorer="vidweave.evaluation.benchmarks.long_video:lvu",
    blind="videos: director 41.1, genre 27.0, relationship 51.2, scene 25.6, way_speaking 28.6, writer 40.5, year 17.7",
)
DATASETS.register(
    "breakfast",
    "vidweave.data.activities:Breakfast",
    summary="Breakfast: which of ten meals is prepared; MA-LMM's form",
    kind="class",
    splits=("train", "val"),
    license=_SEE,
    access="annotations: github.com/boheumd/MA-LMM; videos: the data set's page",
    split="val",
    metric="top-1 %",
    scorer=f"{_SCORING}:exact_label",
)
DATASETS.register(
    "coin",
    "vidweave.data.activities:COIN",
    summary="COIN: which of 180 tasks is done; the official file or MA-LMM's",
    kind="class",
    splits=("train", "val"),
    license=_SEE,
    access="annotations: github.com/coin-dataset/annotations; videos: YouTube",
    split="val",
    metric="top-1 %",
    scorer=f"{_SCORING}:exact_label",
)
DATASETS.register(
    "perception-test",
    "vidweave.data.choices_with_answers:PerceptionTest",
    summary="Perception Test: three options about a video up to its cut frame; official or MERV's form",
    kind="choice",
    splits=("train", "valid", "test"),
    license=_SEE,
    access="the repository of Perception Test",
    split="valid",
    metric="top-1 %, per area and reasoning",
    scorer=f"{_SCORING}:choices",
)
DATASETS.register(
    "vlep",
    "vidweave.data.tvqa:VLEP",
    summary="VLEP: which of two events comes next, in TV and YouTube clips",
    kind="choice",
    splits=("train", "dev", "test"),
    license=_SEE,
    access="annotations: github.com/jayleicn/VideoLanguageFuturePred; clips: by form",
    split="dev",
    metric="top-1 %",
    scorer=f"{_SCORING}:sevila",
    blind="most frequent answer 51.2",
)
DATASETS.register(
    "tvqa",
    "vidweave.data.tvqa:TVQA",
    summary="TVQA: five options about a span of a TV clip; the public test has no answers",
    kind="choice",
    splits=("train", "val", "test_public"),
    license=_SEE,
    access="annotations: github.com/jayleicn/TVQA; clips: by form",
    split="val",
    metric="top-1 %",
    scorer=f"{_SCORING}:sevila",
)
DATASETS.register(
    "ssv2-mcq",
    "vidweave.data.choices_with_answers:SSv2Choices",
    summary="Something-Something v2 as multiple choice: MERV's form, or options drawn from the official labels",
    kind="choice",
    splits=("train", "validation"),
    license=_SEE,
    access="labels and videos: the data set's page; MERV's files are not public",
    split="val",
    metric="top-1 %",
    scorer=f"{_SCORING}:choices",
)
DATASETS.register(
    "video-chatgpt",
    "vidweave.data.conversations:VideoChatGPT",
    summary="Video-ChatGPT: 100,000 instructions about ActivityNet videos, for training; its benchmark's questions",
    license=_SEE,
    access="the repository of Video-ChatGPT",
)
DATASETS.register(
    "instruct",
    "vidweave.data.conversations:InstructData",
    summary="Conversations in LLaVA's form (LLaVA, Valley), for training",
    license=_SEE,
    access="the project pages of LLaVA and Valley",
    modalities=("video", "image"),
)

# Keys of `Trace.panels` → a function(value, PanelContext) that draws it, see `report.panels`.
PANELS = Registry("panel", PanelFacts, group="vidweave.panels")
PANELS.register("selection", "vidweave.report.selection:selection_panel", title="Selected timestamps, and why")
PANELS.register("memory", "vidweave.report.memory:memory_panel", title="What the memory holds")
PANELS.register("gates", "vidweave.report.attribution:gates_panel", title="How far the gate is open, and for what")
PANELS.register(
    "attribution", "vidweave.report.attribution:attribution_panel", title="The answer's probability without a modality"
)
PANELS.register("absent", "vidweave.report.streams:absent_panel", title="What was not there")
PANELS.register("fused", "vidweave.report.streams:fused_panel", title="What was joined")
PANELS.register("encoder_weights", "vidweave.report.encoders:encoders_panel", title="Which encoder counted, and where")

# Kinds of media beside frames, waveforms and points, each in one file: a subclass of `types.carriers.ArrayCarrier`.
CARRIERS = Registry("carrier", group="vidweave.carriers")
CARRIERS.register("series", "vidweave.types.series:Series", summary="channels over time, or repeated trials")
MODALITIES = Registry("modality", ModalityFacts, group="vidweave.modalities")
for _name, _carrier in {
    "video": "frames",
    "image": "frames",
    "depth": "frames",
    "normals": "frames",
    "flow": "frames",
    "thermal": "frames",
    "touch": "frames",
    "audio": "waveform",
    "rgbd": "frames",  # an image and its depth map, as two frames
    "rgbn": "frames",  # an image and its normal map
    "point_cloud": "points",
    "imu": "series",
    "fmri": "series",
}.items():
    MODALITIES.register(_name, _name, carrier=_carrier)

# Word for a kind of name (as in the entry-point group) → its registry
REGISTRIES = {
    registry.group.removeprefix("vidweave."): registry
    for registry in (
        *(
            MODELS,
            TASKS,
            DATASETS,
            SELECTORS,
            FRAME_SELECTORS,
            ENCODERS,
            CONNECTORS,
            TRUNKS,
            FUSIONS,
            LANGUAGE_MODELS,
            LAYOUTS,
        ),
        *(CARRIERS, MODALITIES, PANELS, CONVERTERS, CHECKPOINT_FORMATS, PIPELINES, VLM_FAMILIES),
    )
}
