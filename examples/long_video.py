"""The demonstration of MA-LMM: spans of a long clip, several prompts, several beams, and the same clip as a stream.

    python examples/long_video.py                                   # the shipped tiny model and a clip of the toy world
    python examples/long_video.py --model malmm-vicuna-7b-m10 --device cuda --dtype bfloat16 \\
        --clip eggs.mp4 --span 0 20 --span 20 45 \\
        --prompt "Question: what is the recipe of this video? Answer:" --prompt "what does the video describe?"
"""

from __future__ import annotations

import argparse
from pathlib import Path

import vidweave

CLIP = Path(__file__).parent / "clips" / "toy_long.mp4"
PROMPTS = (
    "What colour is the first object?",
    "Which comes first, the white or the purple object?",
    "How many times does a circle come?",
)


def main() -> None:
    """Ask every prompt about every span with every number of beams, then about the growing stream."""
    options = _options()
    pipe = vidweave.load(options.model, device=options.device, dtype=options.dtype)
    spans = options.span or [(None, None), (10.0, 20.0)]
    for start, end in spans:
        print("the whole clip" if start is None else f"from {start:g} s to {end:g} s")
        for prompt in options.prompt or PROMPTS:
            for beams in options.beams:
                answer = pipe.ask(options.clip, prompt, start_seconds=start, end_seconds=end, num_beams=beams)
                others = f"  (then: {', '.join(answer.alternatives)})" if answer.alternatives else ""
                print(f"  {prompt}  [{beams} beams]  {answer.text}{others}")

    prompt = (options.prompt or PROMPTS)[0]
    print(f"as a stream, asked every {options.every:g} s: {prompt}")
    live, seconds = pipe.stream(prompt), 0.0
    while seconds < options.until:
        piece = vidweave.Clip(options.clip, start_seconds=seconds, end_seconds=seconds + options.every)
        live.push(piece, fps=options.fps)
        seconds += options.every
        print(f"  {seconds:5.1f} s  {live.ask(prompt, num_beams=max(options.beams)).text}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-malmm", help="a name, a folder or a hub id")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--span", type=float, nargs=2, action="append", metavar=("FROM", "TO"), help="seconds")
    parser.add_argument("--prompt", action="append", help="once per prompt")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    # The tiny model was trained on whole clips: from less than a third of one it guesses.
    parser.add_argument("--every", type=float, default=12.5, help="seconds of the clip between answers of the stream")
    parser.add_argument("--until", type=float, default=37.5, help="streamed seconds of the clip")
    parser.add_argument("--fps", type=float, help="frames per second of the stream (default: the model's own rate)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
