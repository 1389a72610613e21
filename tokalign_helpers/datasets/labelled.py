"""Texts with labels: two labels for each text, intents, emotions, a lexicon, minimal pairs."""

import json
from pathlib import Path

import pandas as pd

from tokalign_helpers.basics.assets import data_dir
from tokalign_helpers.basics.lines import csv_rows, lines, naming_line
from tokalign_helpers.datasets.wikipedia import load_sentences

EMOTIONS = ("joy", "anger", "sadness", "fear", "surprise")
TOPICS = ("travel", "food", "health", "sport", "technology", "work", "music", "home")
PAIR_KINDS = ("paraphrase", "negation", "antonym", "role swap", "same topic", "unrelated")


def load_two_labels(file: str | Path | None = None) -> pd.DataFrame:
    """Return texts that have a topic and an emotion, the two independent of each other.

    Parameters
    ----------
    file : str or Path, optional
        Your own CSV file with the same columns. Default: 320 texts written for the course.

    Returns
    -------
    DataFrame
        Columns ``text``, ``topic``, ``emotion``.

    Raises
    ------
    ValueError
        If a column is missing, a text is blank or a label is unknown; the message names file and line.
    """
    labels = {"topic": TOPICS, "emotion": EMOTIONS}
    return _labelled(Path(file) if file else data_dir() / "texts" / "two_labels.csv", ["text"], labels)


def load_goemotions(folder: str | Path, part: str = "test") -> pd.DataFrame:
    """Return comments that people gave one emotion, one of the five that the course's own texts have.

    Parameters
    ----------
    folder : str or Path
        With ``labels.txt``, ``dev.tsv`` and ``test.tsv`` as Demszky et al. (2020) distribute them.
    part : str
        ``dev`` or ``test``.

    Returns
    -------
    DataFrame
        Columns ``text``, ``label`` (of :data:`EMOTIONS`).

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a line does not have three fields, or a label is unknown; the message names it.
    """
    folder, rows = Path(folder), []
    names = [line.strip() for _, line in lines(folder / "labels.txt")]
    file = folder / f"{part}.tsv"
    for place, line in lines(file):
        fields = line.split("\t")
        if len(fields) != 3 or not all(i.isdecimal() and int(i) < len(names) for i in fields[1].split(",")):
            raise ValueError(f"{file}, line {place}: expected a text, labels from 0 to {len(names) - 1} and an id")
        labels = [names[int(i)] for i in fields[1].split(",")]
        if len(labels) == 1 and labels[0] in EMOTIONS:
            rows.append((fields[0], labels[0]))
    return pd.DataFrame(rows, columns=["text", "label"])


def load_clinc150(folder: str | Path, part: str = "test") -> pd.DataFrame:
    """Return requests to an assistant, each with its intent and the domain of that intent.

    Parameters
    ----------
    folder : str or Path
        With ``data_full.json`` and ``domains.json`` as Larson et al. (2019) distribute them.
    part : str
        ``train``, ``val`` or ``test``.

    Returns
    -------
    DataFrame
        Columns ``text``, ``label`` (the domain), ``intent``.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not JSON or not in their format; if there is no such part, or an intent has no domain.
    """
    read = {name: _json_file(Path(folder) / f"{name}.json") for name in ("data_full", "domains")}
    if part not in read["data_full"]:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(read['data_full'])}")
    try:
        domain = {intent: name for name, intents in read["domains"].items() for intent in intents}
        table = pd.DataFrame(read["data_full"][part], columns=["text", "intent"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder}: data_full.json or domains.json is not in CLINC150's format ({error})") from error
    table["label"] = table["intent"].map(domain)
    if table["label"].isna().any():
        raise ValueError(f"{folder}: the intent {table['intent'][table['label'].isna()].iloc[0]!r} has no domain")
    return table[["text", "label", "intent"]]


def load_lexicon() -> pd.DataFrame:
    """Return words that stand for the topics and emotions of :func:`load_two_labels`.

    Returns
    -------
    DataFrame
        Columns ``labelling`` (topic or emotion), ``label``, ``word``.
    """
    columns = ["labelling", "label", "word"]
    rows = [row for _, row in csv_rows(data_dir() / "texts" / "lexicon.csv", columns)]
    return pd.DataFrame(rows, columns=columns)


def load_key_words() -> pd.DataFrame:
    """Return 100 of the Wikipedia sentences with the words that two readers marked as their key words.

    The two marked independently of each other, by the rule in ``data/texts/README.md``.

    Returns
    -------
    DataFrame, 100 rows
        ``text``: a sentence, one of ``load_sentences(1000, seed=0)``. ``first``, ``second``: list[str], the words that
        each reader marked, as they occur in the text.

    Raises
    ------
    ValueError
        If the file belongs to other sentences than the packaged ones.
    """
    texts, file = load_sentences(1000, seed=0), data_dir() / "texts" / "key_words.csv"
    rows = [
        (texts[int(row["sentence"])], row["first"].split(), row["second"].split())
        for _, row in csv_rows(file, ("sentence", "first", "second"))
    ]
    for text, *marked in rows:
        missing = {word for words in marked for word in words if word not in text}
        if missing:
            raise ValueError(f"{file} belongs to other sentences: {min(missing)!r} does not occur in {text[:60]!r}")
    return pd.DataFrame(rows, columns=["text", "first", "second"])


def load_minimal_pairs(file: str | Path | None = None) -> pd.DataFrame:
    """Return sentence pairs of six kinds, which similarity and relatedness judge differently.

    Parameters
    ----------
    file : str or Path, optional
        Your own CSV file with the same columns; without ``group``, pairs with the same first text are one.
        Default: 240 pairs written for the course.

    Returns
    -------
    DataFrame
        Columns ``text1``, ``text2``, ``kind`` (of :data:`PAIR_KINDS`), ``group`` (pairs with the same first text).

    Raises
    ------
    ValueError
        As :func:`load_two_labels`.
    """
    file = Path(file) if file else data_dir() / "texts" / "minimal_pairs.csv"
    table = _labelled(file, ["text1", "text2"], {"kind": PAIR_KINDS})
    if "group" not in table:
        table["group"] = [str(place) for place in pd.factorize(table["text1"])[0] + 1]
    return table[["text1", "text2", "kind", "group"]]


def _labelled(file: Path, texts: list[str], labels: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    columns, rows = [*texts, *labels], []
    for place, row in csv_rows(file, columns):
        with naming_line(file, place):
            for name in texts:
                if not row[name].strip():
                    raise ValueError(f"the column {name!r} is empty")
            for name, known in labels.items():
                if row[name] not in known:
                    raise ValueError(f"unknown {name} {row[name]!r}; known: {', '.join(known)}")
        rows.append(row)
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _json_file(file: Path) -> dict:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} does not hold a JSON object")
    return found
