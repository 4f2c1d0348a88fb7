"""Record what transformers' own processors make of frames and times, for tests/parity/test_parity_vlms.py.

    pip install --no-deps --target FOLDER torchvision==0.28.0     # outside the project's environment, never into it
    PYTHONPATH=FOLDER:src:tests/parity python tests/golden/vlms/record.py

The wheels of torchvision are built for CUDA; their Python parts work on the CPU once the two operators that fail to load are
declared. Writes texts.json and pixels.safetensors beside this script.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

_declared = torch.library.Library("torchvision", "DEF")
_declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import transformers as tf  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers.video_utils import VideoMetadata  # noqa: E402

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1] / "parity"), str(HERE.parents[1])]

from tiny_vlms import FAMILIES, tokenizer  # noqa: E402
from vlm_cases import CASES, PROMPT, Case, frames_of, kept, quantized  # noqa: E402


def _processor(name: str, **more: Any) -> Any:
    """The family's own processor with the tiny model's preprocessing settings."""
    image, video, whole = PROCESSORS[name]
    made = tokenizer(name)
    parts = {"image_processor": image(), "tokenizer": made, "video_processor": video(**FAMILIES[name].video)}
    return whole(**parts, **more)


# Image processor, video processor, processor
PROCESSORS: dict[str, tuple[Any, Any, Any]] = {
    "qwen2_vl": (tf.Qwen2VLImageProcessorPil, tf.Qwen2VLVideoProcessor, tf.Qwen2VLProcessor),
    "qwen2_5_vl": (tf.Qwen2VLImageProcessorPil, tf.Qwen2VLVideoProcessor, tf.Qwen2_5_VLProcessor),
    "qwen3_vl": (tf.Qwen2VLImageProcessorPil, tf.Qwen3VLVideoProcessor, tf.Qwen3VLProcessor),
    "qwen3_5": (tf.Qwen2VLImageProcessorPil, tf.Qwen3VLVideoProcessor, tf.Qwen3VLProcessor),
    "llava_onevision": (
        tf.LlavaOnevisionImageProcessorPil,
        tf.LlavaOnevisionVideoProcessor,
        tf.LlavaOnevisionProcessor,
    ),
    "internvl": (tf.GotOcr2ImageProcessorPil, tf.InternVLVideoProcessor, tf.InternVLProcessor),
    "gemma4": (tf.Gemma4ImageProcessorPil, tf.Gemma4VideoProcessor, tf.Gemma4Processor),
    "glm4v": (tf.Glm4vImageProcessorPil, tf.Glm4vVideoProcessor, tf.Glm4vProcessor),
    "glm46v": (tf.Glm46VImageProcessorPil, tf.Glm46VVideoProcessor, tf.Glm46VProcessor),
    "video_llava": (tf.VideoLlavaImageProcessor, tf.VideoLlavaVideoProcessor, tf.VideoLlavaProcessor),
    "llava_next_video": (tf.LlavaNextImageProcessorPil, tf.LlavaNextVideoVideoProcessor, tf.LlavaNextVideoProcessor),
    "video_llama_3": (tf.VideoLlama3ImageProcessorPil, tf.VideoLlama3VideoProcessor, tf.VideoLlama3Processor),
    "molmo2": (tf.Molmo2ImageProcessor, tf.Molmo2VideoProcessor, tf.Molmo2Processor),
    "smolvlm": (tf.SmolVLMImageProcessorPil, tf.SmolVLMVideoProcessor, tf.SmolVLMProcessor),
}
# Arguments of the processor beside its parts
MORE: dict[str, dict[str, Any]] = {
    "llava_onevision": {"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
    "smolvlm": {"image_seq_len": 4},
    "internvl": {"image_seq_length": 4},
    "gemma4": {"feature_extractor": tf.Gemma4AudioFeatureExtractor()},
    "video_llava": {"patch_size": 7, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
    "llava_next_video": {"patch_size": 7, "vision_feature_select_strategy": "default"},
}


def record(name: str, case: Case) -> tuple[str, dict[str, torch.Tensor]]:
    """Text and tensors of one family for one case."""
    frames = torch.from_numpy(frames_of(case)).permute(0, 3, 1, 2)
    patch = 2 if FAMILIES[name].is_paired else 1
    milliseconds = [round(1000 * t) for t in case.seconds]
    if not case.is_dense:  # a chosen frame fills its temporal patch
        frames = frames.repeat_interleave(patch, 0)
        milliseconds = [ms for ms in milliseconds for _ in range(patch)]
    metadata = VideoMetadata(
        total_num_frames=round(1000 * case.duration), fps=1000, duration=case.duration, frames_indices=milliseconds
    )
    processor = _processor(name, **MORE.get(name, {}))
    out = processor(
        text=[PROMPT.format(mark=FAMILIES[name].marks["video"])],
        videos=[frames],
        video_metadata=[metadata],
        do_sample_frames=False,
        return_tensors="pt",
    )
    text = processor.tokenizer.decode(out["input_ids"][0])
    tensors = {
        key: value
        for key, value in out.items()
        if isinstance(value, torch.Tensor) and key not in ("input_ids", "attention_mask", "mm_token_type_ids")
    }
    return text, tensors


def main() -> None:
    texts: dict[str, Any] = {"transformers": tf.__version__, "texts": {}, "shapes": {}}
    pixels: dict[str, torch.Tensor] = {}
    for name in FAMILIES:
        for case_name, case in CASES.items():
            key = f"{name}/{case_name}"
            texts["texts"][key], tensors = record(name, case)
            texts["shapes"][key] = {k: list(v.shape) for k, v in tensors.items()}
            for k, v in tensors.items():
                flat = v.reshape(-1)
                if v.is_floating_point():
                    pixels[f"{key}/{k}"] = quantized(kept(flat))
                    pixels[f"{key}/{k}/first"] = flat[:8].clone()
                elif flat.numel() < 100:
                    pixels[f"{key}/{k}"] = flat.clone()
        print(name)
    (HERE / "texts.json").write_text(json.dumps(texts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(pixels, HERE / "pixels.safetensors")


if __name__ == "__main__":
    main()
