"""Collections to search in: documents, queries, judgements; read from disk or made of the packaged passages."""

import random
import re
import warnings
from collections.abc import Container
from numbers import Integral
from pathlib import Path
from typing import NamedTuple, SupportsFloat

from tokalign_helpers.basics.assets import data_dir
from tokalign_helpers.basics.checks import whole_number
from tokalign_helpers.basics.lines import as_number, csv_rows, json_lines, lines, naming_line
from tokalign_helpers.datasets.wikipedia import load_passages

HIGHEST_GRADE = 1000  # trec_eval counts grades in a table as long as the highest one


class Collection(NamedTuple):
    """What a retriever is evaluated on: documents, queries, and which documents answer which query."""

    documents: dict[str, str]
    queries: dict[str, str]
    relevant: dict[str, dict[str, int]]


def load_cloze_collection(n_queries: int = 400, *, seed: int = 0) -> Collection:
    """Return the course's offline collection: Wikipedia passages, and sentences taken from some of them as queries.

    Parameters
    ----------
    n_queries : int
        How many sentences to take as queries.
    seed : int
        Seed of the random choice; the same seed gives the same result.

    Returns
    -------
    Collection
        The passages of the articles that the course's adapters have not seen. The passage that a query was taken from
        is relevant (grade 1); no other is, though some would fit as well.

    Raises
    ------
    ValueError
        If the number of queries is not a whole number from 1 to that of the passages.
    """
    everything = load_passages("test")
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


def load_likes_collection() -> Collection:
    """Return twenty people and who likes what: easy to answer by words, hard by vectors.

    Returns
    -------
    Collection
        A document says what one person likes; a query asks who likes a thing. Two people do, and any two people have
        one thing in common, so that the answers cannot be laid out in few dimensions (after LIMIT, Weller et al. 2025).
    """
    rows = [row for _, row in csv_rows(data_dir() / "texts" / "likes.csv", ("thing", "a", "b"))]
    liked: dict[str, list[str]] = {}
    for row in rows:
        for person in (row["a"], row["b"]):
            liked.setdefault(person, []).append(row["thing"])
    documents = {name: f"{name} likes {', '.join(things[:-1])} and {things[-1]}." for name, things in liked.items()}
    queries = {row["thing"]: f"Who likes {row['thing']}?" for row in rows}
    return Collection(documents, queries, {row["thing"]: {row["a"]: 1, row["b"]: 1} for row in rows})


def checked_id(value: object) -> str:
    """Return the id of a document or a query as a string.

    Parameters
    ----------
    value : str or int
        The id, as a file or a caller gives it.

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
    raise ValueError(f"{value!r} is not an id; an id is a string or a whole number")


def checked_grade(value: SupportsFloat) -> int:
    """Return a judgement's grade as an int.

    Parameters
    ----------
    value : SupportsFloat
        Any kind of number. TREC's negative grades (junk, spam; Cranfield's −1) say "not relevant", as 0 does.

    Returns
    -------
    int, from 0 to :data:`HIGHEST_GRADE`

    Raises
    ------
    ValueError
        If it is not a whole number, or out of range on either side.
    """
    if isinstance(value, str | bytes) or value is None:
        raise ValueError(f"the grade {value!r} is not a number")
    grade = float(value)
    if not grade.is_integer() or abs(grade) > HIGHEST_GRADE:
        raise ValueError(f"the grade {value} is not a whole number up to {HIGHEST_GRADE}")
    return max(0, int(grade))


def load_beir(folder: str | Path, part: str = "test") -> Collection:
    """Read a collection in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<part>.tsv``.

    Documents and queries without a text are left out, and so are judgements of documents or queries that are not there,
    which some well-known collections have; one warning for each file says how many.

    Parameters
    ----------
    folder : str or Path
        Where the collection is.
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
        If a line is broken, an id or a judgement occurs twice, a grade is not a whole number (see
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
        with naming_line(file, place):
            if "_id" not in row or "text" not in row:
                raise ValueError("not a JSON object with _id and text")
            name = checked_id(row["_id"])
            if name in seen:
                raise ValueError(f"the id {name!r} is on line {seen[name]} already")
            seen[name] = place
            parts = [row.get("title") if titled else None, row["text"]]
            if not all(part is None or isinstance(part, str) for part in parts):
                raise ValueError(f"the text of {name!r} is not a string")
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
        with naming_line(file, place):
            if len(fields) != 3:
                raise ValueError(f"{line[:60]!r} lacks the three fields (query, document and grade) separated by tabs")
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
            raise ValueError(f"{file} holds no judgements")
        query, document = unknown[0]
        what = f"the query {query!r} or the document {document!r} is unknown"
        raise ValueError(
            f"{file}, line {seen[query, document]}: {what}, and so in every line: does it belong to another collection?"
        )
    if unknown:
        _warn_left_out(file, "judgement of an unknown query or document", [seen[pair] for pair in unknown])
    return relevant


def _is_header(fields: list[str], queries: Container[str]) -> bool:
    """Return whether a file's first line names its columns: it does in BEIR's files, often not in home-made ones."""
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


def load_cranfield(folder: str | Path) -> Collection:
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
        If a document has no number, or a judgement is broken or occurs twice; the message names the file and, of a
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
    seen: dict[tuple[str, str], int] = {}
    file = folder / "cranqrel.trec.txt"
    for place, line in lines(file):
        with naming_line(file, place):
            fields = line.split()
            if len(fields) != 4:
                raise ValueError(f"{line[:60]!r} does not have four fields: query, 0, document and grade")
            query, _, document, grade = *fields[:3], checked_grade(as_number(fields[3]))
            if (query, document) in seen:
                raise ValueError(f"{query!r} and {document!r} are judged on line {seen[query, document]} already")
            seen[query, document] = place
            if document in documents and query in queries:
                relevant.setdefault(query, {})[document] = grade
    return Collection(documents, {query: queries[query] for query in relevant}, relevant)
