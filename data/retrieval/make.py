"""Evaluate every retriever on several collections, which would take too long in a notebook.

``python data/retrieval/make.py FOLDER [EMBEDDER …]``; FOLDER holds ``scifact`` (BEIR's layout, judged train queries)
and ``cranfield``. Embeddings are cached, so an interrupted run resumes where it stopped. Writes ``results.csv`` beside
this file, keeping the order of its rows; with ``--whole``, of all 5,183 documents and 809 train queries of SciFact
instead of parts of collections.
The settings of the improved retriever are those that notebook 04 chose on queries of the first collection.
"""

import argparse
import random
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import pandas as pd

import tokalign_helpers as ta
from tokalign_helpers.basics.files import write_text
from tokalign_helpers.basics.statistics import bootstrap

RESULTS = Path(__file__).parent / "results.csv"
DOCUMENTS = 800  # of a collection; all relevant ones of the chosen queries are among them
QUERIES = 100
TOKENS = 64  # longer documents are cut, for time
K, M = 1000, 100
IMPROVED = {"k": K, "m": M, "weights": "log"}


def part_of(collection: ta.Collection, seed: int = 0) -> ta.Collection:
    """Draw queries, keep what is relevant to them, and fill up with other documents."""
    draw = random.Random(seed)
    queries = draw.sample(sorted(collection.queries), min(QUERIES, len(collection.queries)))
    wanted = {d for q in queries for d, grade in collection.relevant[q].items() if grade > 0}
    rest = [d for d in collection.documents if d not in wanted]
    kept = wanted | set(draw.sample(rest, max(0, min(len(rest), DOCUMENTS - len(wanted)))))
    return ta.Collection(
        {d: text for d, text in collection.documents.items() if d in kept},
        {q: collection.queries[q] for q in queries},
        {q: {d: g for d, g in collection.relevant[q].items() if d in kept} for q in queries},
    )


def runs_of(embedder: ta.Embedder, collection: ta.Collection, max_tokens: int) -> dict[str, dict]:
    """Search with one embedder in every way."""
    h = embedder.with_input_format(max_tokens=max_tokens).embed(list(collection.documents.values()))
    q = embedder.embed(list(collection.queries.values()))
    literal = dict(zip(collection.queries, embedder.literal_tokens(list(collection.queries.values())), strict=True))
    own = embedder.literal_tokens(list(collection.documents.values()))
    idf = ta.token_importance(own, embedder.decoder.vocabulary_size)
    centre, names = h.mean(dim=0), collection.documents
    improved = ta.aligned_run(
        literal, names, decoder=embedder.decoder, q=q - centre, h=h - centre, importance=idf, **IMPROVED
    )
    bm25 = ta.bm25_run(collection.queries, collection.documents)
    dense = ta.dense_run(literal, names, q=q - centre, h=h - centre)
    return {
        "dense": ta.dense_run(literal, names, q=q, h=h),
        "sparse": ta.aligned_run(literal, names, decoder=embedder.decoder, q=q, h=h),
        "dense, centred": dense,
        "sparse, improved": improved,
        "BM25": bm25,
        "BM25 + sparse": ta.fuse([bm25, improved]),
        "BM25 + dense": ta.fuse([bm25, dense]),
    }


def rows_of(embedder: ta.Embedder, what: str, collection: ta.Collection) -> list[dict]:
    """Evaluate all runs of one embedder on one collection; differences are paired, query by query."""
    runs = runs_of(embedder, collection, TOKENS)
    scores = {m: ta.evaluate_run(run, collection.relevant)["nDCG@10"].to_numpy() for m, run in runs.items()}

    def ratio(rows: np.ndarray) -> np.ndarray:
        return scores["sparse"][rows].mean(axis=1) / np.maximum(1e-9, scores["dense"][rows].mean(axis=1))

    queries = np.arange(len(scores["dense"]))
    found = {m: ta.bootstrap_interval(s) for m, s in scores.items()}
    found["sparse / dense"] = ta.Interval(float(ratio(queries[None])[0]), *bootstrap(ratio, len(queries)))
    pairs = {
        "sparse, improved − dense": ("sparse, improved", "dense"),
        "BM25 + sparse − BM25": ("BM25 + sparse", "BM25"),
        "BM25 + dense − BM25": ("BM25 + dense", "BM25"),
    }
    found |= {m: ta.bootstrap_interval(scores[a] - scores[b]) for m, (a, b) in pairs.items()}
    return [
        {
            "collection": what,
            "embedder": embedder.name,
            "method": m,
            "nDCG@10": i.estimate,
            "low": i.low,
            "high": i.high,
        }
        for m, i in found.items()
    ]


def merged(older: list[dict], newer: list[dict]) -> list[dict]:
    """Replace older results of the same collection and embedder, or append the new ones."""
    tables: dict[tuple[str, str], list[dict]] = {}
    for rows in (older, newer):
        tables |= {which: list(own) for which, own in groupby(rows, lambda row: (row["collection"], row["embedder"]))}
    return list(chain.from_iterable(tables.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds scifact and cranfield")
    ours = [spec.name for spec in ta.EMBEDDERS.values() if spec.packaged]
    parser.add_argument("embedders", nargs="*", help=f"of {', '.join(ours)}; default: all")
    parser.add_argument("--whole", action="store_true", help="the whole of SciFact instead")
    given = parser.parse_args()
    folder = given.folder
    whole = ta.load_beir(folder / "scifact", "train")
    bm25 = ta.bootstrap_interval(
        ta.evaluate_run(ta.bm25_run(whole.queries, whole.documents), whole.relevant)["nDCG@10"]
    )
    print(f"BM25 on the whole of SciFact, {len(whole.documents)} documents, {len(whole.queries)} queries: {bm25}")
    parts = {"SciFact, whole": whole}
    if not given.whole:
        parts = {
            "cloze": part_of(ta.load_cloze_collection(300, seed=0)),
            "SciFact": part_of(whole),
            "Cranfield": part_of(ta.load_cranfield(folder / "cranfield")),
        }
    embedders = ta.load_embedders(given.embedders or ours)
    for collection in parts.values():  # those that differ in pooling only share their passes; the cache keeps all
        cut = {name: embedder.with_input_format(max_tokens=TOKENS) for name, embedder in embedders.items()}
        ta.embed_all(cut, list(collection.documents.values()))
        ta.embed_all(embedders, list(collection.queries.values()))
    rows = pd.read_csv(RESULTS).to_dict("records") if RESULTS.is_file() else []
    for name in given.embedders or ours:
        for what, collection in parts.items():
            found = rows_of(embedders[name], what, collection)
            print(pd.DataFrame(found).round(3).to_string(index=False), flush=True)
            rows = merged(rows, found)
        write_text(RESULTS, pd.DataFrame(rows).round(4).to_csv(index=False, lineterminator="\n"))
