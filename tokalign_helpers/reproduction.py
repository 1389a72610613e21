"""The paper's own figures on the paper's own models and texts, one JSON file for each model: ``reproduce``.

It needs the hub and a GPU, and hours; what is there already is not computed again. A folder may hold the paper's texts:

* ``sts/STS12-en-test``: ``STS.input.surprise.SMTnews.txt`` and ``STS.gs.surprise.SMTnews.txt`` (SemEval 2012);
* ``msmarco/sampled500.txt``: a query, a tab, a passage on each line (from the authors' repository);
* ``wiki/wiki1m_for_simcse.txt``: one sentence on each line (from SimCSE's). Without it: the course's own sentences;
* ``beir/fiqa``, ``beir/nfcorpus``, ``beir/scifact``, ``beir/arguana``: collections in BEIR's layout.
"""

import gc
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tokalign_helpers.basics.assets import AssetError
from tokalign_helpers.basics.checks import first_line, whole_number
from tokalign_helpers.basics.files import replacing, write_text
from tokalign_helpers.basics.lines import lines
from tokalign_helpers.course.claims import load_paper_retrieval
from tokalign_helpers.datasets.collections import load_beir
from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.examination import sparse_against_dense
from tokalign_helpers.models import keys
from tokalign_helpers.models.embedders import EMBEDDERS, WEB_SEARCH
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.alignment import align
from tokalign_helpers.reading.spectrum import PrincipalComponents, sweep

EIGHT = ("sgpt-nli", "sgpt-msmarco-plain", "opt-eol", "opt-eol-cse", "llama-eol", "llama-eol-cse", "gritlm", "llm2vec")
# The authors' code reads every text but a passage as a query, under one instruction for all data sets.
INSTRUCTIONS = {
    "gritlm": "Given a scientific paper title, retrieve the paper's abstract",
    "llm2vec": f"{WEB_SEARCH}:",
}
COLLECTIONS = {"fiqa": "FiQA", "nfcorpus": "NFCorpus", "scifact": "SciFact", "arguana": "ArguAna"}
SYSTEMS = {"gritlm": "GritLM", "llm2vec": "LLM2Vec"}  # what the paper's table of searches calls them
PAPER_V1 = {("sgpt-nli", 100): -50.02}  # in the name of a figure in the authors' repository
K = 10  # of Hit@K, and the most tokens that the authors' code looks at
FEW = 100  # sentences of the authors' own variation
STEPS = (0.0, 0.5, 1.0, 1.5)  # of v_1
SHOWN = 40  # components that are kept and drawn

Texts = Mapping[str, tuple[list[str], list[str]]]


def reproduce(
    results: str | Path,
    data: str | Path | None = None,
    *,
    names: Sequence[str] = EIGHT,
    n: int = 10_000,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Run the paper's measurements on its embedders and their raw models.

    Parameters
    ----------
    results : str or Path
        A folder, made where there is none: ``<name>.json`` and ``<name>.png`` for each model, ``table.csv`` with all
        figures beside the paper's, and ``ledger.csv`` with what a row of the ledger of claims needs.
    data : str or Path, optional
        The folder of the paper's texts. Default: only the course's own sentences.
    names : Sequence[str]
        Embedders of the table.
    n : int
        How many sentences of Wikipedia at most.
    say : callable
        Called with a line about each model.

    Returns
    -------
    DataFrame
        ``embedder``, ``figure``, ``value``, ``paper``. A model that could not be fetched has one row that says why.

    Raises
    ------
    ValueError
        If a name is not in the table, n is not such a number, or a file of the paper's texts is damaged.
    """
    unknown = [name for name in names if name not in EMBEDDERS]
    if unknown:
        raise ValueError(f"unknown embedder {unknown[0]!r}; known: {', '.join(EMBEDDERS)}")
    results, data = Path(results), None if data is None else Path(data)
    if data is not None and not data.is_dir():
        raise ValueError(f"there is no folder {data}")
    texts = paper_texts(data, whole_number(n, "n", 20))
    collections = {} if data is None else _collections(data)
    results.mkdir(parents=True, exist_ok=True)
    say(f"texts: {', '.join(f'{len(a) + len(b)} of {name}' for name, (a, b) in texts.items())}")
    found = {}
    for name in names:
        found[name] = _one(name, texts, collections, results, say)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    table = _table(found)
    write_text(results / "table.csv", table.to_csv(index=False))
    write_text(results / "ledger.csv", _ledger(found).to_csv(index=False))
    return table


def paper_texts(data: Path | None, n: int) -> dict[str, tuple[list[str], list[str]]]:
    """Return the texts that there are: what the authors read as queries, and what as passages.

    Parameters
    ----------
    data : Path or None
        The folder of the paper's texts.
    n : int
        How many sentences of Wikipedia at most.

    Returns
    -------
    dict[str, tuple[list[str], list[str]]]
        ``wiki`` always; ``sts`` and ``msmarco`` where their files are there.
    """
    wiki = data / "wiki" / "wiki1m_for_simcse.txt" if data else None
    everything = [text for _, text in lines(wiki)] if wiki and wiki.is_file() else load_sentences()
    found: dict[str, tuple[list[str], list[str]]] = {"wiki": ([t for t in everything if t.strip()][:n], [])}
    sts = data / "sts" / "STS12-en-test" if data else None
    if sts and sts.is_dir():
        found["sts"] = (_similar(sts), [])
    sample = data / "msmarco" / "sampled500.txt" if data else None
    if sample and sample.is_file():
        pairs = [_fields(sample, number, line) for number, line in lines(sample)]
        found["msmarco"] = ([query for query, _ in pairs], [passage for _, passage in pairs])
    return found


def authors_rates(embedder: Embedder, h: Tensor, texts: Sequence[str]) -> dict[str, float]:
    """Return Hit@10, LAR and GAR as the authors' released code computes them, which is not the paper's definition.

    Special tokens and repeats count in the length of a text, and no more than ten aligned tokens are looked at.

    Parameters
    ----------
    embedder : Embedder
        The embedder to read with.
    h : Tensor, (n, d)
        Embeddings, one row for each text.
    texts : Sequence[str], n of them
        The texts that were embedded.

    Returns
    -------
    dict[str, float]
    """
    best = embedder.decoder.top_tokens(h, K)[0].tolist()
    hits, local, matched, present = [], [], set(), set()
    for row, text in zip(best, texts, strict=True):
        ids = embedder.tokenizer(text).input_ids
        if not ids:
            continue
        own, same = set(ids), set(row[: len(ids)]) & set(ids)
        hits.append(not own.isdisjoint(row))
        local.append(len(same) / len(own))
        matched |= same
        present |= own
    return {"Hit@K": float(np.mean(hits)), "LAR": float(np.mean(local)), "GAR": len(matched) / len(present)}


# --- one model ------------------------------------------------------------------------------------------------------


def _one(name: str, texts: Texts, collections: Mapping, results: Path, say: Callable[[str], None]) -> dict:
    """Return the figures of a model: from its file if they are of the same settings, else computed and kept."""
    settings, file = _settings(name, texts, collections), results / f"{name}.json"
    kept = _kept(file)
    if kept.get("settings") == settings:
        say(f"{name}: read from {file}")
        return kept
    try:
        figures = {"name": name, "settings": settings, **_measured(name, texts, collections, file.with_suffix(".png"))}
    except (ValueError, AssetError, OSError, RuntimeError) as error:  # among them a GPU that is full
        say(f"{name}: {first_line(error)}")
        return {"name": name, "failed": first_line(error)}
    write_text(file, json.dumps(figures, indent=1, ensure_ascii=False))
    say(f"{name}: kept in {file}")
    return figures


def _measured(name: str, texts: Texts, collections: Mapping, picture: Path) -> dict:
    spec = EMBEDDERS[name]
    embedder = load_embedder(name)
    figures: dict[str, object] = {"rates": _rates(embedder, texts, name)}
    figures["search"] = {COLLECTIONS[key]: sparse_against_dense(embedder, part) for key, part in collections.items()}
    wiki = texts["wiki"][0]
    after = _asked(embedder, name).embed(wiki)
    del embedder
    gc.collect()  # the raw model is as large: they need not fit at once
    if spec.raw:
        raw = _asked(replace(load_embedder(spec.raw), unit_length=spec.unit_length), name)
        figures |= {"raw": spec.raw, "raw rates": _rates(raw, texts, name)}
        figures |= _components(raw, raw.embed(wiki), after, wiki, f"{spec.raw} → {name}", picture)
    return figures


def _asked(embedder: Embedder, name: str) -> Embedder:
    """Return the embedder, or its raw model, as the authors' code reads all texts but passages with it."""
    family = next((known for known in INSTRUCTIONS if name.startswith(known)), None)
    return embedder.with_instruction(INSTRUCTIONS[family]) if family else embedder


def _rates(embedder: Embedder, texts: Texts, name: str) -> dict[str, dict]:
    """Return for each set of texts the rates by the paper's definition and as the authors' code computes them."""
    asked, found = _asked(embedder, name), {}
    for key, (queries, passages) in texts.items():
        h = torch.cat([asked.embed(queries), *([embedder.embed(passages)] if passages else [])])
        every = [*queries, *passages]
        defined = align(embedder, every, h, k=K).rates(K).set_index("rate")
        found[key] = {
            "definition": {rate: [_or_none(x) for x in row] for rate, row in zip(defined.index, defined.to_numpy())},  # noqa: B905
            "authors' code": authors_rates(embedder, h, every),
        }
    return found


def _components(raw: Embedder, h: Tensor, after: Tensor, texts: list[str], title: str, picture: Path) -> dict:
    """Return variation on few sentences, as the authors' figure, and on all; and the sweep along u_1."""
    variation, few = {}, min(FEW, len(texts))
    for count in sorted({few, len(texts)}):
        components = PrincipalComponents.fit(h[:count])
        variation[str(count)] = components.variation(h[:count], after[:count])[:SHOWN].tolist()
    _draw(variation, title, picture)
    half = len(texts) // 2
    u = PrincipalComponents.fit(h[:half]).direction(1)
    reach = float(((after[:half] - h[:half]) @ u).mean())
    rows = sweep(raw, h[half:], texts[half:], u, [reach * step for step in STEPS], K)
    return {"variation": variation, "sweep": rows.to_dict("records")}


def _draw(variation: Mapping[str, list[float]], title: str, picture: Path) -> None:
    import matplotlib.pyplot as plt

    from tokalign_helpers.course import plots

    shown = {f"{count} sentences": np.array(v) for count, v in variation.items()}
    axes = plots.plot_variation(shown, title)
    figure = np.ravel(axes)[0].figure
    with replacing(picture) as partial:
        figure.savefig(partial, format="png", bbox_inches="tight")
    plt.close(figure)


# --- what they print ------------------------------------------------------------------------------------------------


def _table(found: Mapping[str, dict]) -> pd.DataFrame:
    """Put all figures in one table, beside the paper's where it gives one that we know."""
    paper = load_paper_retrieval().set_index(["system", "kind"])
    rows: list[tuple[str, str, object, object]] = []
    for name, figures in found.items():
        if "failed" in figures:
            rows.append((name, f"not measured: {figures['failed']}", None, None))
            continue
        for of, key in ((name, "rates"), (figures.get("raw", ""), "raw rates")):
            for texts, ways in figures.get(key, {}).items():
                for rate, value in ways["definition"].items():
                    rows.append((of, f"{rate}, {texts}", value[0], None))
                rows += [(of, f"{rate}, {texts}, authors' code", v, None) for rate, v in ways["authors' code"].items()]
        for count, v in figures.get("variation", {}).items():
            rows.append((name, f"v_1, {count} sentences", v[0], PAPER_V1.get((name, int(count)))))
            rows.append((name, f"largest other |v_j|, {count} sentences", max(map(abs, v[1:]), default=None), None))
        for row in figures.get("sweep", []):
            rows.append((figures["raw"], f"GAR at λ = {row['amount']:.4g}", row["GAR"], None))
        for collection, lines_ in figures["search"].items():
            for row in lines_:
                kind = row["figure"].removeprefix("nDCG@10, ")
                known = (SYSTEMS.get(name, ""), kind) in paper.index
                theirs = paper.loc[(SYSTEMS[name], kind), collection] if known else None
                rows.append((name, f"{row['figure']}, {collection}", row["value"], theirs))
    return pd.DataFrame(rows, columns=["embedder", "figure", "value", "paper"])


def _ledger(found: Mapping[str, dict]) -> pd.DataFrame:
    """Write what a row of ``data/paper_claims.csv`` needs: the claim's id, our figure, the models it is of."""
    done = {name: figures for name, figures in found.items() if "failed" not in figures}
    rows = []
    moved = {name: f["variation"][max(f["variation"], key=int)][0] for name, f in done.items() if "variation" in f}
    if moved:
        said = ", ".join(f"{v:.3g} ({name})" for name, v in moved.items())
        rows.append(("v1", f"v_1 = {said}", ", ".join(moved)))
    rates = {name: [_gar(f[key]) for key in ("raw rates", "rates")] for name, f in done.items() if "raw" in f}
    if rates:
        said = ", ".join(f"{before:.3f} → {now:.3f} ({name})" for name, (before, now) in rates.items())
        rows.append(("gar", f"GAR {said}", ", ".join(rates)))
    return pd.DataFrame(rows, columns=["id", "ours", "model"])


def _gar(rates: Mapping[str, dict]) -> float:
    return rates["wiki"]["definition"]["GAR"][0]


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


# --- files ----------------------------------------------------------------------------------------------------------


def _settings(name: str, texts: Texts, collections: Mapping) -> dict[str, object]:
    """Return what a model's figures depend on, without loading anything."""
    spec = EMBEDDERS[name]
    rows = [EMBEDDERS[one] for one in (name, spec.raw) if one]
    return {
        "rows": keys.digest(keys.describe([[getattr(row, f.name) for f in fields(row)] for row in rows])),
        "texts": {key: [len(a), len(b), _digest([*a, *b])] for key, (a, b) in texts.items()},
        "collections": {key: _digest([*part.documents, *part.queries]) for key, part in collections.items()},
        "version": importlib.metadata.version("tokalign-helpers"),
    }


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _kept(file: Path) -> dict:
    """Read a model's figures; a damaged file counts as none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _collections(data: Path) -> dict[str, object]:
    return {key: load_beir(data / "beir" / key) for key in COLLECTIONS if (data / "beir" / key).is_dir()}


def _similar(folder: Path) -> list[str]:
    """Return the sentences of the pairs that people rated above 4: first all first ones, then all second ones."""
    pairs = folder / "STS.input.surprise.SMTnews.txt"
    ratings = [float(line) for _, line in lines(folder / "STS.gs.surprise.SMTnews.txt")]
    read = [_fields(pairs, number, line) for number, line in lines(pairs)]
    if len(read) != len(ratings):
        raise ValueError(f"{pairs} has {len(read)} pairs, but there are {len(ratings)} ratings; fetch both again")
    near = [pair for pair, rating in zip(read, ratings, strict=True) if rating > 4]
    tidy = [[text.replace(" .", "").replace(" ?", "").strip() for text in pair] for pair in near]
    return [first for first, _ in tidy] + [second for _, second in tidy]


def _fields(file: Path, number: int, line: str) -> tuple[str, str]:
    first, tab, second = line.partition("\t")
    if not tab or not first.strip() or not second.strip():
        raise ValueError(f"{file}, line {number}: expected two texts with a tab between them")
    return first.strip(), second.strip()
