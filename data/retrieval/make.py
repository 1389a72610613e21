"""Judge every retriever on several collections, which a notebook has no time for.

``python data/retrieval/make.py FOLDER [EMBEDDER …]``; FOLDER holds ``scifact`` (BEIR's layout, judged train queries)
and ``cranfield``. Embeddings are cached, so an interrupted run goes on where it stopped. Writes ``results.csv`` beside
this file, in whose order the rows stay; with ``--whole``, ``whole.csv``, of all 5,183 documents and 809 train queries
of SciFact instead of parts of collections; with ``--uncut``, ``uncut.csv``, of the same parts with the documents read
whole. With ``--choose`` it writes ``choices.csv`` instead: the settings of the recipe one at a time, on the queries of
the cloze collection that are for choosing, with one embedder.

No setting was chosen on what ``results.csv`` reports: of the cloze collection it holds the other half of the queries.
"""

import argparse
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse

import tokalign_helpers as ta
from tokalign_helpers.basics.statistics import bootstrap
from tokalign_helpers.course.claims import row, write_results
from tokalign_helpers.models.splade import Splade, load_splade
from tokalign_helpers.retrieval.words import WordColumns, side_by_side

RESULTS, CHOICES, WHOLE, UNCUT = (
    Path(__file__).parent / f"{name}.csv" for name in ("results", "choices", "whole", "uncut")
)
DOCUMENTS = 800  # of a collection; all relevant ones of the chosen queries are among them
QUERIES = 100
TOKENS = 64  # longer documents are cut, for time
CLOZE = 300  # queries of the cloze collection, as in notebook 04: every other one is for choosing
WEIGHT = 0.4  # of the tokens beside BM25; notebook 04 chooses it
CHOOSER = "smol-eol"
# A vocabulary five times as large needs more tokens: data/architectures/choices.csv tells, of the choosing half
# of the queries. 2,000 cost about what 1,000 cost the others.
MORE_TOKENS = {"gemma-eol": (2000, 5000)}
COLLECTIONS = ("cloze", "SciFact", "Cranfield")
NOTEBOOK_06 = ("smol-sim", "smol-rel")  # compared there
CHANGED: dict[str, tuple[dict, ...]] = {
    "frame": ({"tight": False},),
    "whitening": ({"power": 0.0}, {"power": 0.125}, {"power": 0.375}, {"power": 0.5}),
    "scale": ({"scale": 1.0}, {"scale": 20.0}, {"scale": 2000.0}),
    "K": ({"k": 300}, {"k": 500}, {"k": 2000}),
    "M": ({"m": 100}, {"m": 300}, {"m": 2000}),
    "K and M": ({"k": 2000, "m": 2000}, {"k": 5000, "m": 5000}),
    "literal tokens": ({"own": 0.0}, {"own": 0.5}, {"own": 2.0}),
}
PAIRS = {
    "sparse − dense": ("sparse", "dense"),
    "recipe − dense": ("recipe", "dense"),
    "recipe − dense, whitened": ("recipe", "dense, whitened"),
    "PromptReps − dense": ("PromptReps", "dense"),
    "recipe − SPLADE": ("recipe", "SPLADE"),
    "BM25 + recipe − BM25": ("BM25 + recipe", "BM25"),
    "BM25 + recipe, by rank − BM25": ("BM25 + recipe, by rank", "BM25"),
    "BM25 + recipe, one index − BM25": ("BM25 + recipe, one index", "BM25"),
    "BM25 + dense − BM25": ("BM25 + dense", "BM25"),
    "BM25 + SPLADE − BM25": ("BM25 + SPLADE", "BM25"),
    "sparse − BM25": ("sparse", "BM25"),
    "PromptReps − recipe": ("PromptReps", "recipe"),
    "BM25 + recipe − dense": ("BM25 + recipe", "dense"),
    "fused with BM25: recipe − dense": ("BM25 + recipe", "BM25 + dense"),
}


def part_of(collection: ta.Collection, seed: int = 0) -> ta.Collection:
    """Draw queries, keep what is relevant to them, and fill up with other documents."""
    draw = random.Random(seed)
    queries = draw.sample(sorted(collection.queries), min(QUERIES, len(collection.queries)))
    wanted = {d for q in queries for d, grade in collection.relevant[q].items() if grade > 0}
    rest = [d for d in collection.documents if d not in wanted]
    kept = wanted | set(draw.sample(rest, max(0, min(len(rest), DOCUMENTS - len(wanted)))))
    return with_queries(collection, queries, kept)


def with_queries(collection: ta.Collection, queries: list[str], kept: set[str]) -> ta.Collection:
    """Keep these queries and documents of a collection."""
    return ta.Collection(
        {d: text for d, text in collection.documents.items() if d in kept},
        {q: collection.queries[q] for q in queries},
        {q: {d: g for d, g in collection.relevant[q].items() if d in kept} for q in queries},
    )


def reporting_part(collection: ta.Collection) -> ta.Collection:
    """Take the documents of a part, and all queries of the reporting half whose passage is one of them."""
    kept = set(part_of(collection).documents)
    reporting = [q for q in list(collection.queries)[1::2] if kept.issuperset(collection.relevant[q])]
    return with_queries(collection, reporting, kept)


def tokens_run(queries: sparse.csr_array, documents: sparse.csr_array, collection: ta.Collection) -> dict:
    """Search an index of sparse vectors."""
    return ta.sparse_run(collection.queries, ta.SparseIndex.of(collection.documents, documents), q=queries)


def promptreps(embedder: ta.Embedder, texts: list[str], h: torch.Tensor) -> sparse.csr_array:
    """Return PromptReps' vectors (Zhuang et al. 2024): a text's own tokens only, log(1 + relu), the best 128."""
    rows, columns, values = [], [], []
    for text, tokens in enumerate(embedder.literal_tokens(texts)):
        own = torch.tensor(sorted(tokens))
        scores = embedder.decoder.weight[own].float() @ h[text].float()
        best = scores.clamp(min=0).log1p().topk(min(128, len(own)))
        rows += [text] * len(best.values)
        columns += own[best.indices].tolist()
        values += best.values.tolist()
    shape = (len(texts), embedder.decoder.vocabulary_size)
    return sparse.csr_array((np.array(values, np.float32), (rows, columns)), shape=shape)


def splade_run(splade: Splade, collection: ta.Collection) -> dict:
    """Search with the small trained SPLADE; documents are read up to 256 tokens."""
    queries, documents = (splade.encode(list(side.values())) for side in (collection.queries, collection.documents))
    return tokens_run(queries, documents, collection)


def reading_up_to(max_tokens: int | None, embedder: ta.Embedder) -> ta.Embedder:
    """Cut documents at so many tokens, or (None) where the embedder itself does."""
    return embedder.with_input_format(max_tokens=max_tokens) if max_tokens else embedder


def runs_of(
    embedder: ta.Embedder, collection: ta.Collection, max_tokens: int | None, splade: dict
) -> tuple[dict[str, dict], dict[str, float]]:
    """Search with one embedder in every way; also return the recipes' costs, as shares of dense's multiply-adds."""
    cut = reading_up_to(max_tokens, embedder)
    texts, asked = list(collection.documents.values()), list(collection.queries.values())
    h, q = cut.embed(texts), embedder.embed(asked)
    own = embedder.literal_tokens(texts)
    literal = dict(zip(collection.queries, embedder.literal_tokens(asked), strict=True))
    names, decoder = collection.documents, embedder.decoder
    recipe = ta.SparseRecipe.fit(decoder, h, own)
    documents, queries = recipe.documents(h), recipe.queries(list(literal.values()), q)
    found = tokens_run(queries, documents, collection)
    words = WordColumns.fit(texts)
    both = [
        side_by_side(queries, words.queries(asked), weight=WEIGHT),
        side_by_side(documents, words.documents),
    ]
    bm25, dense = ta.bm25_run(collection.queries, names), ta.dense_run(literal, names, q=q, h=h)
    reps = [promptreps(embedder, asked, q), promptreps(embedder, texts, h)]
    runs = {
        "dense": dense,
        "dense, whitened": ta.dense_run(literal, names, q=recipe.change(q), h=recipe.change(h)),
        "sparse": ta.aligned_run(literal, names, decoder=decoder, q=q, h=h),
        "recipe": found,
        "PromptReps": tokens_run(*reps, collection),
        "BM25": bm25,
        "SPLADE": splade,
        "BM25 + recipe": ta.fuse([bm25, found], weights=[1 - WEIGHT, WEIGHT]),
        "BM25 + recipe, by rank": ta.reciprocal_rank_fusion([bm25, found]),
        "BM25 + recipe, one index": tokens_run(*both, collection),
        "BM25 + dense": ta.fuse([bm25, dense], weights=[1 - WEIGHT, WEIGHT]),
        "BM25 + SPLADE": ta.fuse([bm25, splade], weights=[1 - WEIGHT, WEIGHT]),
    }
    cost = {"recipe": ta.multiply_adds(queries, documents) / embedder.dimension}
    for n in MORE_TOKENS.get(embedder.name, ()):
        name, wider = f"recipe, K = M = {n}", replace(recipe, k=n, m=n)
        documents, queries = wider.documents(h), wider.queries(list(literal.values()), q)
        runs[name] = tokens_run(queries, documents, collection)
        cost[name] = ta.multiply_adds(queries, documents) / embedder.dimension
    return runs, cost


def judged(
    embedder: ta.Embedder, collection: ta.Collection, splade: dict, max_tokens: int | None
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Judge all runs of one embedder, and SPLADE's, query by query; also return the recipes' costs."""
    runs, cost = runs_of(embedder, collection, max_tokens, splade)
    return {m: ta.evaluate_run(run, collection.relevant)["nDCG@10"].to_numpy() for m, run in runs.items()}, cost


def rows_of(name: str, what: str, scores: dict[str, np.ndarray], cost: dict[str, float]) -> list[dict]:
    """Write what one embedder reaches on one collection; differences are paired, query by query."""

    def ratio(rows: np.ndarray) -> np.ndarray:
        return scores["sparse"][rows].mean(axis=1) / np.maximum(1e-9, scores["dense"][rows].mean(axis=1))

    queries = np.arange(len(scores["dense"]))
    found = {m: ta.bootstrap_interval(s) for m, s in scores.items()}
    found["sparse / dense"] = ta.Interval(float(ratio(queries[None])[0]), *bootstrap(ratio, len(queries)))
    pairs = PAIRS | {f"{m} − dense": (m, "dense") for m in cost}
    found |= {m: ta.bootstrap_interval(scores[a] - scores[b]) for m, (a, b) in pairs.items()}
    found |= {f"{m}, cost of dense's": ta.Interval(*[share] * 3) for m, share in cost.items()}  # counted, not sampled
    return [row(i, "nDCG@10", collection=what, embedder=name, method=m) for m, i in found.items()]


def choices(embedder: ta.Embedder, collection: ta.Collection) -> list[dict]:
    """Change one setting of the recipe at a time; what each change adds, on the queries for choosing."""
    chosen = list(collection.queries)[::2]
    collection = with_queries(collection, chosen, set(collection.documents))
    texts, asked = list(collection.documents.values()), list(collection.queries.values())
    h, q = embedder.embed(texts), embedder.embed(asked)
    own, literal = embedder.literal_tokens(texts), embedder.literal_tokens(asked)

    def judging(**settings: float) -> tuple[np.ndarray, float]:
        recipe = ta.SparseRecipe.fit(embedder.decoder, h, own, **settings)
        documents, queries = recipe.documents(h), recipe.queries(literal, q)
        run = tokens_run(queries, documents, collection)
        cost = ta.multiply_adds(queries, documents) / embedder.dimension
        return ta.evaluate_run(run, collection.relevant)["nDCG@10"].to_numpy(), cost

    base, cost = judging()
    rows = [row(ta.bootstrap_interval(base), "nDCG@10", setting="the recipe", value="", cost=cost)]
    for setting, values in CHANGED.items():
        for changed in values:
            scores, cost = judging(**changed)
            about = {"setting": setting, "value": next(iter(changed.values())), "cost": cost}
            rows.append(row(ta.bootstrap_interval(scores - base), "nDCG@10", **about))
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Judge what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds scifact and cranfield")
    ours = [spec.name for spec in ta.EMBEDDERS.values() if spec.packaged]
    parser.add_argument("embedders", nargs="*", help=f"of {', '.join(ours)}; default: all, {CHOOSER} for --choose")
    parser.add_argument("--results", type=Path, help="another table than the one beside this file")
    parser.add_argument("--collections", nargs="+", choices=COLLECTIONS, default=COLLECTIONS, help="default: all")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--whole", action="store_true", help="the whole of SciFact instead")
    which.add_argument("--uncut", action="store_true", help=f"documents are not cut at {TOKENS} tokens")
    which.add_argument("--packaged", action="store_true", help="only the cloze collection, which needs no folder")
    which.add_argument("--choose", action="store_true", help="the recipe's settings, on the queries for choosing")
    given = parser.parse_args()
    option = next((name for name in ("whole", "uncut", "packaged", "choose") if getattr(given, name)), None)
    table = given.results or {"whole": WHOLE, "uncut": UNCUT, "choose": CHOICES}.get(str(option), RESULTS)
    words = [f"--{option}"] if option else []
    words += ["--results", str(given.results)] if given.results else []
    cloze = ta.load_cloze_collection(CLOZE, seed=0)
    if given.choose:
        if len(given.embedders) > 1:
            parser.error(f"--choose takes one embedder, got {', '.join(given.embedders)}")
        (embedder,) = given.embedders or [CHOOSER]
        command = " ".join(["python data/retrieval/make.py FOLDER", *given.embedders, *words])
        write_results(table, pd.DataFrame(choices(ta.load_embedder(embedder), cloze)), command)
        return
    parts = {"cloze": reporting_part(cloze)}
    if not given.packaged:
        whole = ta.load_beir(given.folder / "scifact", "train")
        parts |= {"SciFact": part_of(whole), "Cranfield": part_of(ta.load_cranfield(given.folder / "cranfield"))}
    parts = {what: parts[what] for what in given.collections if what in parts}
    if given.whole:
        parts = {"SciFact, whole": whole}
    if not parts:
        parser.error(f"--packaged has the cloze collection only, not {', '.join(given.collections)}")
    max_tokens = None if given.uncut else TOKENS
    embedders = ta.load_embedders(given.embedders or ours)
    for collection in parts.values():  # those that differ in pooling only share their passes; the cache keeps all
        reading = {name: reading_up_to(max_tokens, embedder) for name, embedder in embedders.items()}
        ta.embed_all(reading, list(collection.documents.values()))
        ta.embed_all(embedders, list(collection.queries.values()))
    teacher = load_splade()
    splade = {what: splade_run(teacher, collection) for what, collection in parts.items()}
    command = " ".join(["python data/retrieval/make.py FOLDER", *words])
    known = {}
    for name, embedder in embedders.items():
        for what, collection in parts.items():
            known[name, what], cost = judged(embedder, collection, splade[what], max_tokens)
            found = pd.DataFrame(rows_of(name, what, known[name, what], cost))
            print(found.round(3).to_string(index=False), flush=True)
            write_results(table, found, command, by=("collection", "embedder"))
    one, other = NOTEBOOK_06
    for what in parts if {one, other} <= embedders.keys() else ():
        more = {m: ta.bootstrap_interval(known[one, what][m] - known[other, what][m]) for m in ("dense", "recipe")}
        about = {"collection": what, "embedder": f"{one} − {other}"}
        found = pd.DataFrame([row(i, "nDCG@10", **about, method=m) for m, i in more.items()])
        write_results(table, found, command, by=("collection", "embedder"))


if __name__ == "__main__":
    main()
