"""Ask the shipped model about the shipped clip, in all three ways. Run it: ``python examples/ask.py``"""

from pathlib import Path

import vidweave

CLIP = Path(__file__).parent / "clips" / "toy.mp4"


def main() -> None:
    """Score options, generate text, and use the separate steps."""
    pipe = vidweave.load("tiny-base")

    # Options are scored: the best one is the answer, and the trace lists the frames used.
    answer = pipe.ask(CLIP, "What colour is the circle?", options=["red", "blue", "yellow"])
    print("What colour is the circle?", answer.text)
    for option in answer.options:
        print(f"  {option.text:8} {option.score:8.3f}")
    if answer.trace:
        print("  frames at", ", ".join(f"{frame.pts_seconds:.2f} s" for frame in answer.trace.frames))

    # Without options the model generates text. Several questions form one batch.
    questions = ("What happens to the square?", "How many objects can be seen?")
    queries = [vidweave.Query.about(CLIP, question) for question in questions]
    for query, answer in zip(queries, pipe.answer(queries, max_new_tokens=8), strict=True):
        print(query.text, answer.text)

    # The interface of transformers: a processor prepares inputs, `generate` returns ids.
    inputs = pipe.processor(CLIP, "Where does the triangle go?")
    print("Where does the triangle go?", *pipe.processor.decode(pipe.model.generate(inputs, max_new_tokens=8)))


if __name__ == "__main__":
    main()
