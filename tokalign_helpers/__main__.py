"""``python -m tokalign_helpers "What diseases are parrots prone to?"``: the tokens of two embeddings, side by side."""

import argparse
import shutil
import sys

import pandas as pd

from tokalign_helpers.alignment import aligned_tokens
from tokalign_helpers.assets import ASSETS, AssetError, asset_path, default_model_path
from tokalign_helpers.embedders import EMBEDDERS, load_embedders

REFERENCE_RANK = 100
COLUMN = 46


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list[str], optional
        Default: those of the process.

    Returns
    -------
    int
        0, or 2 after bad input, which is told in one line on stderr.
    """
    parser = argparse.ArgumentParser(prog="python -m tokalign_helpers", description=__doc__)
    parser.add_argument("text", help="a text, or the word 'fetch' to download the model and the texts of the course")
    parser.add_argument("-k", type=int, default=12, help="tokens to show (12)")
    parser.add_argument(
        "-e", "--embedders", default="smol-mean,smol-eol", help=f"names, comma between: {', '.join(EMBEDDERS)}"
    )
    given = parser.parse_args(arguments)
    try:
        fetch() if given.text == "fetch" else show(given.text, given.embedders.split(","), given.k)
    except (ValueError, AssetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def fetch() -> None:
    """Put everything that the course reads into the cache."""
    for name in ASSETS:
        asset_path(name)
    print(f"The model is ready in {default_model_path()}")


def show(text: str, names: list[str], k: int) -> None:
    """Print the k aligned tokens of a text for each embedder, as bars.

    Parameters
    ----------
    text : str
    names : list[str]
    k : int
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    blocks = [
        [name, "", *_bars(aligned_tokens(embedder, [text], k=max(k + 1, REFERENCE_RANK)), k)]
        for name, embedder in load_embedders(names).items()
    ]
    print(f"\n{text}\n")
    across = max(1, (shutil.get_terminal_size((100, 24)).columns + 2) // COLUMN)
    for start in range(0, len(blocks), across):
        for row in zip(*blocks[start : start + across], strict=True):
            print("".join(line.ljust(COLUMN) for line in row).rstrip())
        print()
    print(f"A bar is the score above the token of rank {max(k + 1, REFERENCE_RANK)}.")
    print("█ the token is in the text, ▒ it begins a word of the text, ░ neither; ▁ is a space.")


def _bars(table: pd.DataFrame, k: int) -> list[str]:
    best = table.head(k)
    lift = best["score"] - table["score"].iloc[-1]
    longest = max(float(lift.iloc[0]), 1e-9)
    lines = []
    for row, height in zip(best.itertuples(), lift, strict=True):
        bar = ("█" if row.folded_in_text else "▒" if row.begins_word else "░") * max(1, round(20 * height / longest))
        lines.append(f"{row.token[:16]:>16} {bar} {row.score:.1f}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
