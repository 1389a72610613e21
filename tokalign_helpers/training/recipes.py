"""How each adapter is made: everything that the result depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """How one adapter is made. It holds everything that the result depends on."""

    name: str
    start_from: str  # an embedder by name: its prompt and pooling
    sources: Mapping[str, float]  # of training_data, with how often a batch comes from each
    steps: int = 200
    batch: int = 32
    learning_rate: float = 5e-4
    temperature: float = 0.05
    rank: int = 8
    layers: int = 14  # the upper ones; those below stay as they are and need no gradient
    max_tokens: int = 128
    seed: int = 0
    teacher: float = 0.0  # weight of agreeing with the teacher, beside InfoNCE with the rest
    teacher_scale: float = 1.0  # what the teacher's dot products are divided by


# Every kind of pair that needs no label, and how often.
UNLABELLED = {"passage": 0.45, "definition": 0.35, "caption": 0.1, "neighbour": 0.1}
JUDGED = {"inference": 0.2, "negation": 0.05, "antonym": 0.05, "synonym": 0.05, "graded": 0.25}


def _long(name: str, start_from: str, sources: Mapping[str, float]) -> Recipe:
    return Recipe(name, start_from, sources, steps=1500, batch=128, learning_rate=1e-3, layers=30)


def _taught(name: str, start_from: str, sources: Mapping[str, float]) -> Recipe:
    """Train for long, beside a small trained retriever."""
    return replace(_long(name, start_from, sources), teacher=0.7, teacher_scale=4.0)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("smol-cse", "smol-wmean", {"inference": 0.5, "negation": 0.1, "graded": 0.4}, steps=300, layers=24),
        Recipe(
            "smol-sim", "smol-eol", {"inference": 0.4, "negation": 0.1, "antonym": 0.1, "synonym": 0.15, "graded": 0.25}
        ),
        Recipe("smol-rel", "smol-eol", {"cloze": 0.6, "gloss": 0.4}, steps=100),
        # Distilled from a small trained retriever, from three spellings of the prompt.
        _taught("smol-distil", "smol-eol-official", UNLABELLED),
        _taught("smol-distil-eol", "smol-eol", UNLABELLED),
        _taught("smol-distil-open", "smol-eol-open", UNLABELLED),
        # Judged pairs beside the teacher, and without one.
        _taught("smol-sim2", "smol-eol-official", JUDGED | {"passage": 0.1, "definition": 0.1, "caption": 0.2}),
        _taught(
            "smol-cse-distil",
            "smol-wmean",
            {"inference": 0.2, "negation": 0.05, "graded": 0.25, "passage": 0.25, "definition": 0.1, "caption": 0.15},
        ),
        _long(
            "smol-cse2",
            "smol-wmean",
            {"inference": 0.4, "negation": 0.05, "graded": 0.3, "passage": 0.15, "gloss": 0.1},
        ),
    )
}
