"""Small questions for the tests of this folder."""

from typing import Any

from vidweave.contra4.schema import ContrastQuestion, SceneRef

MODALITIES = ("audio", "pc", "image", "video")


def released(number: int = 0, scenes: int = 3, **changes: Any) -> dict[str, Any]:
    """An object as the released files hold it."""
    examples = [
        {"source": "audiocaps", "id": 100 * number + i, "caption": f"a thing {i}", "url": None, "meta": {}}
        for i in range(scenes)
    ]
    return {
        "id": f"random_{number}",
        "selection_type": "random",
        "q_type": f"mc_{scenes}",
        "examples": examples,
        "modalities": list(MODALITIES[:scenes]),
        "question": "Which scene is calmer?",
        "answer": "Scene B",
    } | changes


def question(number: int = 0, scenes: int = 3, answer: int = 1, **changes: Any) -> ContrastQuestion:
    refs = tuple(
        SceneRef(source="s", id=f"{number}-{i}", modality=MODALITIES[i], caption=f"thing {'x' * i}")
        for i in range(scenes)
    )
    values = {"id": f"q{number}", "selection": "random", "scenes": refs, "question": "Which?", "answer": answer}
    return ContrastQuestion(**(values | changes))
