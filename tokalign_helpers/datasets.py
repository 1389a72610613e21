"""Texts and ratings the course measures on, as they come out of the pinned assets."""

import bz2
import csv
import importlib.metadata
import json
import random
import re
import warnings
from collections.abc import Container, Iterator
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from tokalign_helpers.assets import ASSETS, asset_path, cache_dir, data_dir
from tokalign_helpers.checks import whole_number
from tokalign_helpers.files import write_text
from tokalign_helpers.lines import as_number, at, csv_rows, json_lines, lines

PASSAGE = 3  # sentences
PARSING = 1  # version of what makes sentences of markup, below; another one, as soon as it makes others
HIGHEST_GRADE = 1000  # trec_eval counts grades in a table as long as the highest one
WORD_RATINGS = {"wordsim353": ("wordsim353", "\t"), "simlex999": ("simlex999", "\t")}


def sentences(n: int | None = None, *, seed: int = 0) -> list[str]:
    """Return natural English sentences of Wikipedia, 8 to 40 words each, from 106 articles.

    Parameters
    ----------
    n : int, optional
        How many, drawn without replacement. Default: all, in the order of the articles.
    seed : int
        Of the draw.

    Returns
    -------
    list[str]

    Raises
    ------
    ValueError
        If n is no whole number from 1 to as many as there are.
    AssetError
        If the text cannot be fetched.
    """
    everything = [sentence for _, sentence in _all_sentences()]
    if n is None:
        return everything
    n = whole_number(n, "n", 1, len(everything), called="the number of sentences")
    return random.Random(seed).sample(everything, n)


class Passage(NamedTuple):
    """Consecutive sentences of one article."""

    article: str
    sentences: tuple[str, ...]


def passages(part: str) -> list[Passage]:
    """Return passages of three sentences of Wikipedia.

    Parameters
    ----------
    part : str
        ``train``: from every second article; the course's own adapters have seen these. ``test``: from the others.

    Returns
    -------
    list[Passage]
        In the order of the articles; the sentences left over at an article's end are dropped.

    Raises
    ------
    ValueError
        If there is no such part.
    AssetError
        If the text cannot be fetched.
    """
    if part not in ("train", "test"):
        raise ValueError(f"unknown part {part!r}; known: train, test")
    articles: dict[str, list[str]] = {}
    for title, sentence in _all_sentences():
        articles.setdefault(title, []).append(sentence)
    return [
        Passage(title, tuple(own[start : start + PASSAGE]))
        for title, own in list(articles.items())[part == "test" :: 2]
        for start in range(0, len(own) - PASSAGE + 1, PASSAGE)
    ]


class Collection(NamedTuple):
    """What a retriever is judged on: documents, queries, and which documents answer which query."""

    documents: dict[str, str]
    queries: dict[str, str]
    relevant: dict[str, dict[str, int]]


def cloze_collection(n_queries: int = 400, *, seed: int = 0) -> Collection:
    """Return the course's offline collection: Wikipedia passages, and sentences taken out of some as queries.

    Parameters
    ----------
    n_queries : int
    seed : int

    Returns
    -------
    Collection
        The passages of the articles that the course's adapters have not seen. The passage that a query was taken out
        of is relevant (grade 1); no other is, though some would do as well.

    Raises
    ------
    ValueError
        If the number of queries is no whole number from 1 to that of the passages.
    """
    everything = passages("test")
    n_queries = whole_number(n_queries, "n_queries", 1, len(everything), called="the number of passages")
    draw = random.Random(seed)
    chosen = set(draw.sample(range(len(everything)), n_queries))
    documents, queries, relevant = {}, {}, {}
    for number, passage in enumerate(everything):
        left = list(passage.sentences)
        if number in chosen:
            queries[f"q{number}"] = left.pop(draw.randrange(len(left)))
            relevant[f"q{number}"] = {f"d{number}": 1}
        documents[f"d{number}"] = " ".join(left)
    return Collection(documents, queries, relevant)


def checked_id(value: object) -> str:
    """Return the id of a document or a query as the string that it is everywhere.

    Parameters
    ----------
    value : str or int

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    raise ValueError(f"{value!r} is no id; an id is a string or a whole number")


def checked_grade(value: float) -> int:
    """Return a judgement's grade as the whole number that it is.

    Parameters
    ----------
    value : float
        Any kind of number. TREC's negative grades (junk, spam; Cranfield's −1) say "not relevant", as 0 does.

    Returns
    -------
    int, from 0 to :data:`HIGHEST_GRADE`

    Raises
    ------
    ValueError
        If it is no whole number, or out of range on either side.
    """
    if isinstance(value, str | bytes) or value is None:
        raise ValueError(f"the grade {value!r} is no number")
    grade = float(value)
    if not grade.is_integer() or abs(grade) > HIGHEST_GRADE:
        raise ValueError(f"the grade {value} is no whole number up to {HIGHEST_GRADE}")
    return max(0, int(grade))


def load_beir(folder: str | Path, part: str = "test") -> Collection:
    """Read a collection in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<part>.tsv``.

    Documents and queries without a text are left out, and so are judgements of documents or queries that are not there,
    which some well-known collections have; one warning for each file says how many.

    Parameters
    ----------
    folder : str or Path
    part : str
        Only queries judged in this part are kept.

    Returns
    -------
    Collection
        A document is its title, if it has one, and its text. Ids are strings, also where the files have numbers.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a line is broken, an id or a judgement is there twice, a grade is no whole number (see
        :func:`checked_grade`), or no judgement is of a known document and query; the message names file and line.
    """
    folder = Path(folder)
    documents = _texts(folder / "corpus.jsonl", titled=True)
    texts = _texts(folder / "queries.jsonl")
    relevant = _judgements(folder / "qrels" / f"{part}.tsv", documents, texts)
    return Collection(documents, {query: texts[query] for query in relevant}, relevant)


def _texts(file: Path, *, titled: bool = False) -> dict[str, str]:
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    for place, row in json_lines(file):
        with at(file, place):
            if "_id" not in row or "text" not in row:
                raise ValueError("not a JSON object with _id and text")
            name = checked_id(row["_id"])
            if name in seen:
                raise ValueError(f"the id {name!r} is on line {seen[name]} already")
            seen[name] = place
            parts = [row.get("title") if titled else None, row["text"]]
            if not all(part is None or isinstance(part, str) for part in parts):
                raise ValueError(f"the text of {name!r} is no string")
        text = " ".join(part for part in parts if part).strip()
        if text and row["text"] is not None:
            found[name] = text
    left_out = [name for name in seen if name not in found]
    if left_out:
        _warn_left_out(file, "row without a text", [seen[name] for name in left_out])
    return found


def _judgements(file: Path, documents: Container[str], queries: Container[str]) -> dict[str, dict[str, int]]:
    relevant: dict[str, dict[str, int]] = {}
    seen: dict[tuple[str, str], int] = {}
    unknown, first = [], True
    for place, line in lines(file):
        fields, may_be_header, first = line.split("\t"), first, False
        if may_be_header and _is_header(fields, queries):
            continue
        with at(file, place):
            if len(fields) != 3:
                raise ValueError(f"{line[:60]!r} has not three fields, query, document and grade, separated by tabs")
            query, document, grade = *fields[:2], checked_grade(as_number(fields[2]))
            if (query, document) in seen:
                raise ValueError(f"{query!r} and {document!r} are judged on line {seen[query, document]} already")
        seen[query, document] = place
        if query in queries and document in documents:
            relevant.setdefault(query, {})[document] = grade
        else:
            unknown.append((query, document))
    if not relevant:
        if not unknown:
            raise ValueError(f"{file} holds no judgement")
        query, document = unknown[0]
        what = f"the query {query!r} or the document {document!r} is unknown"
        raise ValueError(
            f"{file}, line {seen[query, document]}: {what}, and so in every line: is it another collection's?"
        )
    if unknown:
        _warn_left_out(file, "judgement of an unknown query or document", [seen[pair] for pair in unknown])
    return relevant


def _is_header(fields: list[str], queries: Container[str]) -> bool:
    """Say whether a file's first line names its columns: it does in BEIR's files, often not in those people make."""
    try:
        as_number(fields[-1])
    except ValueError:
        return fields[0] not in queries
    return False


def _warn_left_out(file: Path, what: str, places: list[int]) -> None:
    if len(places) == 1:
        said = f"1 {what} was left out, on line {places[0]}"
    else:
        said = f"{len(places)} {what.replace(' ', 's ', 1)} were left out, the first on line {places[0]}"
    warnings.warn(f"{file}: {said}", stacklevel=4)


def cranfield(folder: str | Path) -> Collection:
    """Read the Cranfield collection in TREC's form; its two empty documents are left out.

    Parameters
    ----------
    folder : str or Path
        With ``cran.all.1400.xml``, ``cran.qry.xml``, ``cranqrel.trec.txt``.

    Returns
    -------
    Collection
        The queries by their place in the file, which is how the judgements number them.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a document has no number, or a judgement is broken or there twice; the message names the file and, of a
        judgement, the line.
    """
    folder = Path(folder)
    documents, queries = {}, {}
    for block in re.findall(r"<doc>(.*?)</doc>", (folder / "cran.all.1400.xml").read_text(encoding="utf-8"), re.S):
        name, text = re.search(r"<docno>\s*(\d+)", block), re.search(r"<text>(.*?)</text>", block, re.S)
        if not name:
            raise ValueError(f"{folder / 'cran.all.1400.xml'}: a document has no number: {block[:60]!r}")
        if text and text[1].strip():
            documents[name[1]] = re.sub(r"\s+", " ", text[1]).strip()
    asked = (folder / "cran.qry.xml").read_text(encoding="utf-8")
    for place, block in enumerate(re.findall(r"<title>(.*?)</title>", asked, re.S), 1):
        queries[str(place)] = re.sub(r"\s+", " ", block).strip()
    relevant: dict[str, dict[str, int]] = {}
    file, seen = folder / "cranqrel.trec.txt", {}
    for place, line in lines(file):
        with at(file, place):
            fields = line.split()
            if len(fields) != 4:
                raise ValueError(f"{line[:60]!r} has not four fields: query, 0, document and grade")
            query, _, document, grade = *fields[:3], checked_grade(as_number(fields[3]))
            if (query, document) in seen:
                raise ValueError(f"{query!r} and {document!r} are judged on line {seen[query, document]} already")
            seen[query, document] = place
            if document in documents and query in queries:
                relevant.setdefault(query, {})[document] = grade
    return Collection(documents, {query: queries[query] for query in relevant}, relevant)


def word_ratings(name: str) -> pd.DataFrame:
    """Return pairs of words with human ratings.

    Parameters
    ----------
    name : str
        ``wordsim353``: relatedness and similarity mixed, 0–10 (Finkelstein et al. 2002). ``simlex999``: similarity
        proper, 0–10 (Hill et al. 2015).

    Returns
    -------
    DataFrame
        Columns ``word1``, ``word2``, ``rating``.

    Raises
    ------
    ValueError
        If there is no such set.
    """
    if name not in WORD_RATINGS:
        raise ValueError(f"unknown ratings {name!r}; known: {', '.join(WORD_RATINGS)}")
    asset, separator = WORD_RATINGS[name]
    table = pd.read_csv(
        asset_path(asset), sep=separator, comment="#", header=None, names=["word1", "word2", "rating"],
        quoting=csv.QUOTE_NONE, keep_default_na=False, dtype={"rating": str},
    )  # fmt: skip
    table["rating"] = pd.to_numeric(table["rating"], errors="coerce")  # one of the files has a row of column names
    return table.dropna(ignore_index=True)


def rated_words() -> list[str]:
    """Return the distinct words of all :func:`word_ratings`, in the order of the alphabet."""
    tables = [word_ratings(name) for name in WORD_RATINGS]
    return sorted({word for table in tables for column in ("word1", "word2") for word in table[column]})


def sts_pairs(folder: str | Path, part: str = "test") -> pd.DataFrame:
    """Return sentence pairs of the STS benchmark with human ratings, from a folder of yours.

    Parameters
    ----------
    folder : str or Path
        With ``sts-train.csv``, ``sts-dev.csv``, ``sts-test.csv`` as Cer et al. (2017) distribute them.
    part : str
        ``train``, ``dev`` or ``test``.

    Returns
    -------
    DataFrame
        Columns ``text1``, ``text2``, ``rating`` (0–5), ``source`` (such as ``images``).

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If a line has fewer than seven fields or its rating is no number; the message names it.
    """
    file, rows = Path(folder) / f"sts-{part}.csv", []
    for place, line in lines(file):
        fields = line.split("\t")
        with at(file, place):
            if len(fields) < 7:
                raise ValueError(f"{len(fields)} fields; a line has at least 7, separated by tabs")
            rows.append((fields[5], fields[6], as_number(fields[4]), fields[1]))
    return pd.DataFrame(rows, columns=["text1", "text2", "rating", "source"])


EMOTIONS = ("joy", "anger", "sadness", "fear", "surprise")
TOPICS = ("travel", "food", "health", "sport", "technology", "work", "music", "home")
PAIR_KINDS = ("paraphrase", "negation", "antonym", "role swap", "same topic", "unrelated")


def two_labels(file: str | Path | None = None) -> pd.DataFrame:
    """Return texts that have a topic and an emotion, the two independent of each other.

    Parameters
    ----------
    file : str or Path, optional
        A CSV file of yours with the same columns. Default: 320 texts written for the course.

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


def goemotions(folder: str | Path, part: str = "test") -> pd.DataFrame:
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
        If a line has not three fields, or a label is unknown; the message names it.
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


def clinc150(folder: str | Path, part: str = "test") -> pd.DataFrame:
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
        If a file is no JSON, or not as they are; if there is no such part, or an intent has no domain.
    """
    read = {name: _json_file(Path(folder) / f"{name}.json") for name in ("data_full", "domains")}
    if part not in read["data_full"]:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(read['data_full'])}")
    try:
        domain = {intent: name for name, intents in read["domains"].items() for intent in intents}
        table = pd.DataFrame(read["data_full"][part], columns=["text", "intent"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder}: data_full.json or domains.json is not as CLINC150 has it ({error})") from error
    table["label"] = table["intent"].map(domain)
    if table["label"].isna().any():
        raise ValueError(f"{folder}: the intent {table['intent'][table['label'].isna()].iloc[0]!r} has no domain")
    return table[["text", "label", "intent"]]


def lexicon() -> pd.DataFrame:
    """Return words that stand for the topics and emotions of :func:`two_labels`.

    Returns
    -------
    DataFrame
        Columns ``labelling`` (topic or emotion), ``label``, ``word``.
    """
    columns = ["labelling", "label", "word"]
    rows = [row for _, row in csv_rows(data_dir() / "texts" / "lexicon.csv", columns)]
    return pd.DataFrame(rows, columns=columns)


def minimal_pairs(file: str | Path | None = None) -> pd.DataFrame:
    """Return sentence pairs of six kinds, which similarity and relatedness judge differently.

    Parameters
    ----------
    file : str or Path, optional
        A CSV file of yours with the same columns; without ``group``, pairs with the same first text are one.
        Default: 240 pairs written for the course.

    Returns
    -------
    DataFrame
        Columns ``text1``, ``text2``, ``kind`` (of :data:`PAIR_KINDS`), ``group`` (pairs with the same first text).

    Raises
    ------
    ValueError
        As :func:`two_labels`.
    """
    file = Path(file) if file else data_dir() / "texts" / "minimal_pairs.csv"
    table = _labelled(file, ["text1", "text2"], {"kind": PAIR_KINDS})
    if "group" not in table:
        table["group"] = [str(place) for place in pd.factorize(table["text1"])[0] + 1]
    return table[["text1", "text2", "kind", "group"]]


def _labelled(file: Path, texts: list[str], labels: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    columns, rows = [*texts, *labels], []
    for place, row in csv_rows(file, columns):
        with at(file, place):
            for name in texts:
                if not row[name].strip():
                    raise ValueError(f"the column {name!r} is empty")
            for name, known in labels.items():
                if row[name] not in known:
                    raise ValueError(f"{row[name]!r} is no {name}; known: {', '.join(known)}")
        rows.append(row)
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def lee_documents() -> tuple[list[str], np.ndarray]:
    """Return 50 short news stories and how similar people judged every pair of them (Lee et al. 2005).

    Returns
    -------
    texts : list[str], 50 of them
    similarity : ndarray, (50, 50), from 0 to 1, symmetric
    """
    texts = [line.strip() for _, line in lines(asset_path("lee-documents"), encoding="latin-1")]
    upper = np.loadtxt(asset_path("lee-similarities"))
    return texts, np.triu(upper) + np.triu(upper, 1).T


def _json_file(file: Path) -> dict:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds no JSON object")
    return found


# --- Wikipedia ------------------------------------------------------------------------------------------------------


def _parsed_file() -> Path:
    """Return where the sentences are kept: named after all that they depend on, the parsing by its version."""
    parser = importlib.metadata.version("mwparserfromhell")
    return cache_dir() / "texts" / f"wikipedia-{PARSING}-{ASSETS['wikipedia'].sha256[:12]}-{parser}.txt"


@lru_cache(maxsize=1)
def _all_sentences() -> tuple[tuple[str, str], ...]:
    """Return (article, sentence) pairs. Parse once (about 15 s), keep the plain text."""
    kept = _parsed_file()
    if kept.is_file():
        rows = (line.partition("\t") for _, line in lines(kept))
        return tuple((title, sentence) for title, _, sentence in rows)
    found: dict[str, str] = {}
    for title, article in _articles(asset_path("wikipedia")):
        for sentence in _split(article):
            found.setdefault(sentence, title)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, "\n".join(f"{title}\t{s}" for s, title in found.items()))
    except OSError:  # a read-only cache: parse again next time
        pass
    return tuple((title, sentence) for sentence, title in found.items())


def _articles(path: Path) -> Iterator[tuple[str, str]]:
    """Yield title and markup of every article of the dump, redirects left out."""
    title = ""
    with bz2.open(path) as stream:
        for _, element in ElementTree.iterparse(stream):
            text = element.text or ""
            if element.tag.endswith("}title"):
                title = text
            if element.tag.endswith("}text") and text and not text.lower().startswith("#redirect"):
                yield title, text


def _split(markup: str) -> Iterator[str]:
    import mwparserfromhell

    code = mwparserfromhell.parse(_without_floats(markup), skip_style_tags=True)
    for tag in code.filter_tags(matches=lambda node: node.tag in ("ref", "table", "gallery", "math")):
        try:
            code.remove(tag)
        except ValueError:  # it stood inside one that is gone already
            continue
    for paragraph in code.strip_code(normalize=True, collapse=True).splitlines():
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", _tidy(paragraph)):
            if _is_natural(sentence):
                yield sentence


def _without_floats(markup: str) -> str:
    """Drop images and tables, whose captions and cells would read as sentences."""
    markup = re.sub(r"\{\|.*?\n\|\}", "", markup, flags=re.S)
    nested = r"\[\[(?:File|Image|Category|[a-z\-]{2,12}):(?:[^\[\]]|\[\[[^\[\]]*\]\]|\[[^\[\]]*\])*\]\]"
    return re.sub(nested, "", markup)


def _tidy(text: str) -> str:
    text = text.replace("'''", "").replace("''", "").replace("\u00a0", " ")
    text = re.sub(r"\s*\(\s*[;,]?\s*\)", "", text)  # what a removed template leaves: "( )"
    return re.sub(r"\s+", " ", text).strip()


ABBREVIATION = re.compile(r"(?:\b[A-Z]|\b(?:Mr|Mrs|Dr|St|Jr|Sr|vs|etc|ca|cf|c|e\.g|i\.e|No|vol|Vol|ed|al))\.$")


def _is_natural(sentence: str) -> bool:
    words = sentence.split()
    return (
        8 <= len(words) <= 40
        and re.match(r"[A-Z][a-z]*[ ,']", sentence) is not None
        and sentence[-1] in ".!?"
        and not ABBREVIATION.search(sentence)
        and re.search(r"[\[\]{}|=<>*\\^_~]|https?:|\.[A-Z]|thumb|px\b|\(\s|\$\s|\s[,;.)]", sentence) is None
        and sentence.count("(") == sentence.count(")")
        and sentence.count('"') % 2 == 0
        and sentence.isprintable()
        and sum(word[0].islower() for word in words) >= len(words) / 2
    )
