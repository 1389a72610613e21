"""Contrastive training of a LoRA adapter, with a teacher or without: how ``data/adapters`` was made.

``python -m tokalign_helpers.training smol-sim --data FOLDER`` trains one again. Interrupted at any step, the same
command goes on from the last checkpoint and ends with the same adapter. ``--prepare FILE`` writes the training pairs of
all recipes to one file, which ``--data`` reads on a machine that has nothing else.
"""

import argparse
import copy
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from tokalign_helpers.basics.files import write_text
from tokalign_helpers.models.hub import move_to
from tokalign_helpers.models.loading import adapters_dir, load_embedder
from tokalign_helpers.models.splade import load_splade
from tokalign_helpers.training.card import card, scores, second_round, with_scores
from tokalign_helpers.training.lora import fast_bfloat16, train_adapter
from tokalign_helpers.training.pairs import recipe_sources, save_sources
from tokalign_helpers.training.recipes import RECIPES


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list[str], optional
        Default: those of the process.

    Returns
    -------
    int
        0, or 2 after bad input, with one line on stderr.
    """
    parser = argparse.ArgumentParser(prog="python -m tokalign_helpers.training", description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES), nargs="?", help="what to train")
    parser.add_argument(
        "--data", type=Path, required=True, help="a folder that holds snli, stsb and wordnet, or a prepared file"
    )
    parser.add_argument("--prepare", type=Path, help="write the pairs of all recipes to this file; do not train")
    parser.add_argument("--out", type=Path, help="where to write (data/adapters/NAME)")
    parser.add_argument("--steps", type=int, help="fewer or more steps than the recipe's")
    parser.add_argument("--learning-rate", type=float, help="another one than the recipe's")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU if there is one)")
    parser.add_argument("--more", action="store_true", help="a second round, which starts from the finished first one")
    parser.add_argument("--score", action="store_true", help="judge the adapter in data/adapters; do not train")
    given = parser.parse_args(arguments)
    if given.prepare:
        return _prepare(given.data, given.prepare)
    if not given.name:
        parser.error(f"say what to train: {', '.join(sorted(RECIPES))}")
    if given.score:
        return _score(given.name, given.data)
    changed = {"steps": given.steps, "learning_rate": given.learning_rate}
    recipe = replace(RECIPES[given.name], **{field: value for field, value in changed.items() if value})
    if given.more:
        recipe = replace(recipe, seed=recipe.seed + 1)  # other batches than in the first round
    folder = given.out or adapters_dir() / recipe.name
    began = time.monotonic()
    try:
        written = (folder / "README.md").read_text(encoding="utf-8") if given.more else ""
        sources = dict(recipe_sources(tuple(recipe.sources), given.data))
        embedder = load_embedder(recipe.start_from)
        if given.device:
            embedder = replace(embedder, model=move_to(copy.deepcopy(embedder.model), given.device))
        device = embedder.model.device
        if fast_bfloat16(device.type):
            embedder = replace(embedder, model=move_to(copy.deepcopy(embedder.model), torch.bfloat16))
        teacher = load_splade(device=str(device)) if recipe.teacher else None
        begin = folder if given.more else None
        losses = train_adapter(embedder, sources, recipe, folder, begin=begin, teacher=teacher)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = time.monotonic() - began
    if given.more:
        before = written.partition("\n## Scores")[0].rstrip()
        written = f"{before}\n\n{second_round(recipe, losses, seconds)}"
    else:
        written = card(recipe, sources, losses, seconds)
    write_text(folder / "README.md", written)
    return 0


def _prepare(data: Path, file: Path) -> int:
    names = dict.fromkeys(name for recipe in RECIPES.values() for name in recipe.sources)
    try:
        save_sources(dict(recipe_sources(tuple(names), data)), file)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _score(name: str, data: Path) -> int:
    written = adapters_dir() / name / "README.md"
    try:
        rows = scores(name, data)
        write_text(written, with_scores(written.read_text(encoding="utf-8"), name, rows))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(rows.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
