"""What the specifications say about each preset: dotted path in its configuration → value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings and lists of mappings, by dotted path; lists of plain values are leaves."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(inner, dict | list | tuple) for inner in value):
        for index, inner in enumerate(value):
            yield from flat(inner, f"{path}.{index}")
    else:
        yield path, list(value) if isinstance(value, tuple) else value


def under(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{key}": value for key, value in values.items()}


EVA_VIT_G = {
    "config.hidden_size": 1408, "config.intermediate_size": 6144, "config.num_hidden_layers": 39,
    "config.num_attention_heads": 16, "config.image_size": 224, "config.patch_size": 14,
    "config.layer_norm_eps": 1e-6, "layer": -1, "drop_cls": False, "final_norm": False,
}  # fmt: skip
QFORMER = {
    "hidden": 768, "layers": 12, "heads": 12, "intermediate": 3072, "cross_attention_frequency": 2,
    "encoder_width": 1408, "layer_norm_eps": 1e-12, "hidden_dropout": 0.1, "attention_dropout": 0.1,
}  # fmt: skip
FLAN_T5_XL = {
    "d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32, "vocab_size": 32128,
    "dense_act_fn": "gelu", "tie_word_embeddings": False,
}  # fmt: skip
VICUNA_7B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "vocab_size": 32001, "rms_norm_eps": 1e-6, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 32000,
}  # fmt: skip
CLIP_PIXELS = {"height": 224, "width": 224, "mean": CLIP_MEAN, "std": CLIP_STD, "scale": 1 / 255}

# ---- MA-LMM (spec malmm 2.1, 2.5, 3.1, 3.3, 4.5, 5)

MALMM = {
    **under("encoders.vision", EVA_VIT_G),
    **under("encoders.vision.specs.video", {
        **CLIP_PIXELS, "resize": "squash", "interpolation": "bicubic", "antialias": False, "rounding": "truncate",
        "resampler": "torch",
    }),
    **under("connector.trunks.qformer", {
        **QFORMER, "vocab_size": 30523, "text_spec.truncation_side": "left", "text_spec.template": "{question}",
        "memory.policy": "merge", "memory.banks": "both",
    }),
    **under("connector.ports.video", {
        "input_norm": True, "norm_eps": 1e-5, "num_query_tokens": 32, "num_time_positions": 120, "beyond_times": "error",
    }),
    **under("language_model.config", VICUNA_7B),
    "streams.video.need.rule": "linspace",
    "layout.answer.max_tokens": 256, "layout.answer.eos": True, "layout.on_overflow": "truncate",
    "layout.parts.0.block": "video", "layout.parts.1.token": "bos", "layout.parts.2.text": "{question}{options}",
    "decoding.num_beams": 5, "decoding.repetition_penalty": 1.5,
}  # fmt: skip


def malmm(length, frames, text, new_tokens, *, min_new_tokens=1, returned=5, length_penalty=None):
    return {
        **MALMM,
        "connector.trunks.qformer.memory.length": length,
        "streams.video.need.num_frames": frames,
        "connector.ports.video.last_time_position": frames - 1,
        "connector.trunks.qformer.text_spec.max_tokens": text,
        "decoding.max_new_tokens": new_tokens,
        "decoding.min_new_tokens": min_new_tokens,
        "decoding.num_return_sequences": returned,
        "decoding.length_penalty": length_penalty,
    }


QUESTIONS = malmm(10, 20, 128, 10, length_penalty=0.0)
CAPTIONS = malmm(40, 80, 128, 50, returned=None)
MALMM_DATASETS = {
    "lvu": malmm(20, 100, 30, 5),
    "breakfast": malmm(20, 100, 30, 20),
    "coin": malmm(20, 100, 30, 20),
    "msrvtt-qa": QUESTIONS,
    "msvd-qa": QUESTIONS,
    "activitynet-qa": QUESTIONS,
    "msrvtt-caption": CAPTIONS,
    "msvd-caption": CAPTIONS,
    "youcook2-caption": malmm(40, 80, 128, 30, min_new_tokens=2, returned=None),
    "demo": malmm(10, 20, 128, 256, returned=None),
}
MALMM_PROMPTS = {
    "lvu": "what is the {task} of the movie?",
    "breakfast": "what type of breakfast is shown in the video?",
    "coin": "what is the activity in the video?",
    "msrvtt-qa": "Question: {question} Short answer:",
    "msvd-qa": "Question: {question} Short answer:",
    "activitynet-qa": "Question: {question} Short answer:",
    "msrvtt-caption": "what does the video describe?",
    "msvd-caption": "what does the video describe?",
    "youcook2-caption": "what does the video describe?",
    "demo": "Question: {question} Answer:",
}

# ---- VideoTGB (spec videotgb 2.2 to 2.9, 4.3, 4.5, 5.1)

TURN = "USER: <video>\n{question} ASSISTANT: "
VIDEOTGB = {
    **under("encoders.vision", EVA_VIT_G),
    **under("encoders.vision.specs.video", {
        **CLIP_PIXELS, "interpolation": "bilinear", "antialias": False, "rounding": "truncate", "resize": "squash",
    }),
    **under("encoders.vision.specs.image", {**CLIP_PIXELS, "interpolation": "bicubic", "antialias": False}),
    **under("encoders.motion", {"height": 224, "width": 224, "patch": 16, "pooling": "weighted"}),
    **under("encoders.motion.specs.video", {
        "fps": 2.0, "height": 224, "width": 224, "normalize": "clip_max", "max_maps": 64, "source": "pictures",
    }),
    **under("selector", {
        "hidden": 768, "layers": 12, "fusion_layer": 6, "heads": 12, "intermediate": 3072, "vocab_size": 30522,
        "max_positions": 512, "motion_width": 512, "num_patches": 1, "num_candidates": 32, "rope": "stored",
        "position": "absolute+rope", "cross_position": "both", "mode": "fusion",
        "text_spec.tokenizer": "selector", "text_spec.max_tokens": 128,
        "text_spec.template": "USER: {question}ASSISTANT: ",
    }),
    **under("connector.trunks.qformer", QFORMER),
    **under("connector.ports.video", {"input_norm": True, "norm_eps": 1e-6, "num_query_tokens": 32}),
    "connector.fusion.kind": "mean",
    "streams.video.need.num_frames": 4,
    "layout.answer.max_tokens": 512,
    "layout.on_overflow": "truncate",
    "decoding.max_new_tokens": 128,
}  # fmt: skip
VIDEOTGB_MODELS = {
    "videotgb-vicuna-7b": {
        **VIDEOTGB,
        **under("language_model.config", VICUNA_7B),
        "connector.trunks.qformer.vocab_size": 30523,
        "connector.trunks.qformer.text_spec.max_tokens": 512,
        "connector.trunks.qformer.text_spec.template": TURN,
        "layout.parts.0.block": "video",
        "layout.parts.1.token": "bos",
        "layout.parts.2.text": TURN.replace("{question}", "{question}{options}"),
    },
    "videotgb-flan-t5-xl": {
        **VIDEOTGB,
        **under("language_model.config", FLAN_T5_XL),
        "connector.trunks.qformer.text_spec": None,
        "layout.parts.0.block": "video",
        "layout.parts.1.text": TURN.replace("{question}", "{question}{options}"),
        "layout.parts.2.token": "eos",
    },
}

# ---- MERV (spec merv 2.1, 2.2, 2.5, 2.7, 4)

HALF = [0.5, 0.5, 0.5]
SQUASH = {"height": 224, "width": 224, "resize": "squash", "scale": 1 / 255}
MERV_ENCODERS = {
    "languagebind": {
        **under("encoders.languagebind", {
            "width": 1024, "mlp_width": 4096, "layers": 24, "heads": 16, "patch": 14, "size": 224, "window": 8,
            "layer": -2, "drop_cls": True, "final_norm": False,
        }),
        **under("encoders.languagebind.specs.video", {
            **CLIP_PIXELS, "resize": "crop", "interpolation": "bilinear", "antialias": False,
        }),
        **under("streams.languagebind", {
            "need.num_frames": 16, "need.window": 8, "need.stride": 2, "pool.grid": 8, "pool.steps": 8,
        }),
    },
    "dinov2": {
        **under("encoders.dinov2", {
            "config.hidden_size": 1024, "config.num_hidden_layers": 24, "config.num_attention_heads": 16,
            "config.num_register_tokens": 4, "config.image_size": 518, "config.patch_size": 14, "layer": -2,
            "drop_cls": True, "final_norm": False,
        }),
        **under("encoders.dinov2.specs.video", {
            **SQUASH, "interpolation": "bicubic", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        }),
        **under("streams.dinov2", {
            "need.num_frames": 16, "need.window": 1, "need.stride": 2, "pool.grid": 8, "pool.steps": 1,
        }),
    },
    "vivit": {
        **under("encoders.vivit", {
            "config.num_frames": 32, "config.tubelet_size": [2, 16, 16], "layer": -1, "drop_cls": True,
            "final_norm": True,
        }),
        **under("encoders.vivit.specs.video", {**SQUASH, "interpolation": "bilinear", "mean": HALF, "std": HALF}),
        **under("streams.vivit", {
            "need.num_frames": 32, "need.window": 32, "need.stride": 1, "pool.grid": 8, "pool.steps": 16,
        }),
    },
    "siglip": {
        **under("encoders.siglip", {
            "config.image_size": 224, "config.patch_size": 16, "config.hidden_act": "gelu", "layer": -2,
            "drop_cls": True, "final_norm": False,
        }),
        **under("encoders.siglip.specs.video", {**SQUASH, "interpolation": "bicubic", "mean": HALF, "std": HALF}),
        **under("streams.siglip", {
            "need.num_frames": 16, "need.window": 1, "need.stride": 2, "pool.grid": 8, "pool.steps": 1,
        }),
    },
}  # fmt: skip
MERV_SHARED = {
    **under("language_model.config", {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "vocab_size": 32064,
        "pad_token_id": 32000, "rms_norm_eps": 1e-5,
    }),
    "decoding.max_new_tokens": 512, "decoding.min_new_tokens": 1,
    "connector.output_width": 4096,
}  # fmt: skip
MERV_ORDER = ["languagebind", "dinov2", "vivit", "siglip"]
MERV_WIDTHS = {"languagebind": 1024, "dinov2": 1024, "vivit": 768, "siglip": 768}

# ---- CREMA (spec crema 2.1 to 2.7, 5.1)

VISUAL_RANGES = {"video": None, "depth": [0.0, 10.0], "flow": [-20.0, 20.0], "normals": [-1.0, 1.0]}
CREMA_MODALITIES = {
    "sqa3d": ["video", "point_cloud", "depth", "normals"],
    "music-avqa": ["video", "audio", "flow", "depth", "normals"],
    "nextqa": ["video", "depth", "flow", "normals"],
    "touch-qa": ["video", "touch", "normals"],
    "thermal-qa": ["video", "thermal", "depth"],
    "audiocaps": ["audio"],
    "3d-llm": ["point_cloud"],
}
CREMA_DECODING = {
    "sqa3d": {"num_beams": 5, "length_penalty": -1.0, "max_new_tokens": 40},
    "music-avqa": {"num_beams": 5, "length_penalty": -1.0, "max_new_tokens": 10},
    "nextqa": {"num_beams": None, "max_new_tokens": 30},
    "touch-qa": {"num_beams": None, "max_new_tokens": 30},
    "thermal-qa": {"num_beams": None, "max_new_tokens": 30},
}
CREMA = {
    **under("language_model.config", FLAN_T5_XL),
    **under("connector.trunks.qformer", QFORMER),
    "connector.output_width": 2048,
    "layout.answer.max_tokens": 77,
}
CREMA_PORT = {
    "num_query_tokens": 32, "norm_eps": 1e-5, "adapter.rank": 64, "adapter.dropout": 0.1, "output_proj": True,
}  # fmt: skip
CREMA_IMAGES = {**CLIP_PIXELS, "rounding": "truncate", "resampler": "pillow", "resize": "squash"}
BEATS = {
    **under("encoders.audio", {
        "width": 768, "layers": 12, "heads": 12, "intermediate": 3072, "patch": 16, "patch_width": 512,
        "conv_width": 128, "conv_groups": 16, "num_buckets": 320, "max_distance": 800,
    }),
    **under("encoders.audio.specs.audio", {
        "sample_rate": 16000, "mel_bins": 128, "window_seconds": 5.12, "hop_seconds": 0.01,
        "mel_mean": 15.41663, "mel_std": 2 * 6.55582, "frame_seconds": 0.025, "scale": 2**15, "min_windows": 2,
    }),
}  # fmt: skip
