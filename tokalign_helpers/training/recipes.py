"""How each adapter is made: everything that the result depends on."""

from collections.abc import Mapping
from dataclasses import dataclass


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
SAYING_THE_SAME = {"inference": 0.4, "negation": 0.05, "graded": 0.3, "passage": 0.15, "gloss": 0.1}


# Two objectives without any hard negative, and what makes sentences and their opposites hard negatives of each other.
ALIKE = {"entailment": 0.5, "alike": 0.2, "graded": 0.3}
RELATED = {"cloze": 0.6, "gloss": 0.4}
OPPOSITES = {"negation": 0.12, "antonym": 0.08}


def _with_opposites(sources: Mapping[str, float]) -> dict[str, float]:
    """Give a fifth of the batches to opposites."""
    return {name: 0.8 * share for name, share in sources.items()} | OPPOSITES


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("smol-cse", "smol-wmean", SAYING_THE_SAME, learning_rate=1e-3, layers=24),
        Recipe(
            "smol-sim",
            "smol-eol",
            JUDGED | {"passage": 0.1, "definition": 0.1, "caption": 0.2},
            learning_rate=1e-3,
        ),
        Recipe("smol-rel", "smol-eol", RELATED, steps=120, learning_rate=1e-3),
        # A 2 × 2 of objective and hard negatives. Each source brings its texts, its positives and its loss.
        Recipe("smol-sim-plain", "smol-eol", ALIKE, steps=80),
        Recipe("smol-sim-opposites", "smol-eol", _with_opposites(ALIKE), steps=80),
        Recipe("smol-rel-plain", "smol-eol", RELATED, steps=80),
        Recipe("smol-rel-opposites", "smol-eol", _with_opposites(RELATED), steps=80),
        # Trained with instructions. The prompts stand in the texts, since one batch has several.
        Recipe("smol-asked", "smol-last", {"asked": 1.0}, steps=80),
        # Beside a small trained retriever, whose scores it learns to follow.
        Recipe("smol-distil", "smol-eol", UNLABELLED, steps=250, learning_rate=1e-3, teacher=0.7, teacher_scale=4.0),
        # On another family, in minutes and from packaged texts only; its reader makes it, since Gemma has terms.
        Recipe(
            "gemma-rel",
            "gemma-eol",
            {"cloze": 0.5, "neighbour": 0.5},
            steps=50,
            batch=16,
            learning_rate=1e-3,
            layers=6,
            max_tokens=48,
        ),
    )
}
