"""Measure what a notebook has no data or no time for: ``python data/results/make.py FOLDER [--only TABLE …]``.

FOLDER holds ``goemotions``, ``clinc150``, ``wordsim``, ``stsb``, ``scifact`` and ``wordnet``, as far as the tables need
them. Each table becomes ``TABLE.csv`` beside this file; ``made.json`` says when, by which command, and from which
files. Embeddings are cached, so that an interrupted run goes on where it stopped.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch

import tokalign_helpers as ta
from tokalign_helpers.course.claims import row, write_results
from tokalign_helpers.reading import postprocessing as pp
from tokalign_helpers.reading.layers import layer_embeddings
from tokalign_helpers.training.pairs import load_wordnet

HERE = Path(__file__).parent
# A table: what measures it, out of a folder, and the files of that folder that it reads.
Tables = dict[str, tuple[Callable[[Path], Iterator[dict[str, object]]], tuple[str, ...]]]
WORDS = ("smol-eol", "smol-sim", "smol-rel")
ASKED = ("smol-eol", "smol-asked")  # the prompt alone, and trained with instructions on other parts of both sets
QUERIES = 100  # of a collection to search in
CLOZE = 300  # queries drawn from the passages, as in notebook 08
READ = 30  # sentences, after every layer of four embedders


def instructions(folder: Path) -> Iterator[dict[str, object]]:
    """Ask about texts that others labelled: how many neighbours share the label, and paired differences.

    *Colour* has nothing to do with any of the labels: it tells whether the right question helps or another one harms.
    """
    comments = ta.load_goemotions(folder / "goemotions").groupby("label").head(40)
    requests = ta.load_clinc150(folder / "clinc150").groupby("label").head(40)
    for base in ta.load_embedders(ASKED).values():
        for what, table, labels in (
            ("GoEmotions", comments, {"emotion": "label"}),
            ("CLINC150", requests, {"intent": "intent", "domain": "label"}),
        ):
            asked = ("emotion", "topic", "colour")
            h = {name: base.with_instruction(name).embed(table["text"].tolist()) for name in asked}
            for labelling, column in labels.items():
                truth = table[column].to_numpy()
                near = {name: ta.neighbour_agreement(v - v.mean(dim=0), truth) for name, v in h.items()}
                chance = (table[column].value_counts() ** 2).sum() / len(table) ** 2
                about = {"embedder": base.name, "texts": what, "n": len(table), "labels": labelling, "chance": chance}
                for name, values in near.items():
                    yield row(ta.bootstrap_interval(values), **about, asked=name)
                for one, other in (("emotion", "topic"), ("emotion", "colour"), ("topic", "colour")):
                    yield row(ta.bootstrap_interval(near[one] - near[other]), **about, asked=f"{one} − {other}")


def wordsim(folder: Path) -> Iterator[dict[str, object]]:
    """Judge the two halves of WordSim-353 (Agirre et al. 2009) apart: Spearman's ρ of cosines and ratings."""
    embedders = ta.load_embedders(WORDS)
    ta.fill_cache(embedders, ta.load_rated_words(), "words")
    for half in ("similarity", "relatedness"):
        file = folder / "wordsim" / f"EN-WS-353-{half[:3].upper()}.txt"
        rated = pd.read_csv(file, sep="\t", names=["word1", "word2", "rating"])
        cosines = {name: ta.pair_similarities(e, rated).numpy() for name, e in embedders.items()}
        about = {"half": half, "n": len(rated)}
        words = rated[["word1", "word2"]]
        for name, values in cosines.items():
            yield row(ta.rank_correlation(values, rated["rating"], members=words), **about, embedder=name)
        both = cosines["smol-sim"], cosines["smol-rel"]
        more = ta.rank_correlation_difference(*both, rated["rating"], members=words)
        yield row(more, **about, embedder="smol-sim − smol-rel")


def in_wordnet(pairs: pd.DataFrame, folder: Path) -> dict[str, bool]:
    """Say for each group whether WordNet lists as opposites what its antonym pair differs in."""
    opposites = {frozenset(pair) for synset in load_wordnet(folder / "wordnet") for pair in synset.antonyms}
    turned = pairs[pairs["kind"] == "antonym"]
    words = [
        [{w.strip(".,") for w in text.lower().split()} for text in two] for two in turned[["text1", "text2"]].values
    ]
    known = [any({a, b} in opposites for a in one - two for b in two - one) for one, two in words]
    return dict(zip(turned["group"], known, strict=True))


def antonyms(folder: Path) -> Iterator[dict[str, object]]:
    """Split the antonym pairs of the course by whether WordNet, on which ``smol-sim`` was trained, has their words."""
    pairs = ta.load_minimal_pairs()
    seen = in_wordnet(pairs, folder)
    for name, embedder in ta.load_embedders(WORDS).items():
        table = pairs.assign(cosine=ta.pair_similarities(embedder, pairs).numpy())
        table = table.pivot(index="group", columns="kind", values="cosine")
        closer = table["paraphrase"] > table["antonym"]
        for trained in (True, False):
            some = closer[[seen[group] is trained for group in closer.index]]
            yield row(ta.share_interval(some), opposites="in WordNet" if trained else "not", n=len(some), embedder=name)


def answered(collection: ta.Collection, queries: int) -> ta.Collection:
    """Keep the first queries, and only the documents that answer a query that is kept."""
    kept = {q: collection.relevant[q] for q in list(collection.relevant)[:queries]}
    answers = dict.fromkeys(d for found in kept.values() for d in found)
    documents = {d: collection.documents[d] for d in answers}
    return ta.Collection(documents, {q: collection.queries[q] for q in kept}, kept)


def changes_of_08(embedder: ta.Embedder) -> dict[str, pp.Change]:
    """Return the repairs of notebook 08 with the settings that it chose, fitted on the same 500 sentences."""
    texts = ta.load_sentences(1000, seed=0)
    ta.fill_cache({embedder.name: embedder}, texts, "sentences")
    fitting, E = embedder.embed(texts)[:500], embedder.unembedding
    centre = pp.remove_top(fitting, 0)
    return {
        "raw": pp.no_change(embedder.dimension),
        "one λ for all": pp.shift_first(fitting),
        "a λ for each text": pp.remove_top(fitting, 1, centered=False),
        "centred": centre,
        "all-but-the-top 5": pp.remove_top(fitting, 5),
        "soft whitening 0.25": pp.whiten(fitting, 0.25),
        "EmbedFilter 0.875": pp.embed_filter(E, 0.875),
        "centred, EmbedFilter 0.875": centre.then(pp.embed_filter(E, 0.875)),
    }


def sts(folder: Path) -> Iterator[dict[str, object]]:
    """Judge the repairs of notebook 08 on 400 pairs of the STS benchmark: Spearman's ρ."""
    embedder = ta.load_embedder("smol-eol")
    pairs = ta.load_sts_pairs(folder / "stsb", "test").sample(400, random_state=0)
    near = {name: ta.pair_similarities(embedder, pairs, change) for name, change in changes_of_08(embedder).items()}
    for name, cosines in near.items():
        yield row(ta.rank_correlation(cosines, pairs["rating"]), change=name, minus="")
        for other in ("raw", "centred"):
            if name != other:
                more = ta.rank_correlation_difference(cosines, near[other], pairs["rating"])
                yield row(more, change=name, minus=other)


def scifact(folder: Path) -> Iterator[dict[str, object]]:
    """Judge the repairs of notebook 08 on 100 claims of SciFact and the abstracts that answer them: nDCG@10."""
    yield from searched(answered(ta.load_beir(folder / "scifact", "train"), QUERIES))


def fresh(_: Path) -> Iterator[dict[str, object]]:
    """Judge the repairs of notebook 08 on queries that none of its readings has used, out of other passages.

    Written down before it was run: the one comparison is that of soft whitening with centring.
    """
    used = {d for found in ta.load_cloze_collection(CLOZE, seed=0).relevant.values() for d in found}
    drawn = ta.load_cloze_collection(CLOZE, seed=1)
    queries = {q: text for q, text in drawn.queries.items() if not used & drawn.relevant[q].keys()}
    relevant = {q: drawn.relevant[q] for q in queries}
    yield from searched(answered(ta.Collection(drawn.documents, queries, relevant), len(queries)))


def searched(part: ta.Collection) -> Iterator[dict[str, object]]:
    """Search with every repair; differences are paired, query by query."""
    embedder = ta.load_embedder("smol-eol")
    q, d = embedder.embed(list(part.queries.values())), embedder.embed(list(part.documents.values()))
    found = {}
    for name, change in changes_of_08(embedder).items():
        run = ta.dense_run(list(part.queries), part.documents, q=change(q), h=change(d))
        found[name] = ta.evaluate_run(run, part.relevant)["nDCG@10"].to_numpy()
    for name, values in found.items():
        yield row(ta.bootstrap_interval(values), change=name, n=len(values), minus="")
        for other in ("raw", "centred"):
            if name != other:
                yield row(ta.bootstrap_interval(values - found[other]), change=name, n=len(values), minus=other)


def layers(_: Path) -> Iterator[dict[str, object]]:
    """Read sentences after every layer: which share of the ten best tokens are content words of the text."""
    texts = ta.load_sentences(1000, seed=0)[:READ]
    for name in ("smol-wmean", "smol-cse", "smol-eol", "smol-sim"):
        embedder = ta.load_embedder(name)
        content = ta.token_kinds(embedder.decoder) == "content word"
        for layer, h in enumerate(layer_embeddings(embedder, texts)):
            for reading, vectors in (("as it is", h), ("less the mean", h - h.mean(dim=0))):
                tokens = ta.read_tokens(embedder, vectors, texts, 10)
                key = tokens["folded_in_text"].to_numpy() & content[tokens["id"].to_numpy()]
                share = ta.bootstrap_interval(key.reshape(len(texts), 10).mean(axis=1))
                yield row(share, embedder=name, reading=reading, layer=layer)


TABLES: Tables = {
    "instructions": (instructions, ("goemotions/test.tsv", "clinc150/data_full.json")),
    "wordsim": (wordsim, ("wordsim/EN-WS-353-SIM.txt", "wordsim/EN-WS-353-REL.txt")),
    "antonyms": (antonyms, ("wordnet/data.adj", "wordnet/data.verb")),
    "sts": (sts, ("stsb/sts-test.csv",)),
    "scifact": (scifact, ("scifact/corpus.jsonl", "scifact/queries.jsonl")),
    "fresh": (fresh, ()),
    "layers": (layers, ()),
}


def measure_tables(tables: Tables, script: str, description: str | None) -> None:
    """Measure what the command line asks for; write each table, with how it was made."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="holds the data of others")
    parser.add_argument("--only", nargs="+", choices=tables, default=list(tables), help="some tables instead of all")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    for name in given.only:
        measure, inputs = tables[name]
        table = pd.DataFrame(list(measure(given.folder)))
        command = f"python data/results/{script} FOLDER --only {name}"
        sources = {inner: (HERE.parent if inner.startswith("adapters/") else given.folder) / inner for inner in inputs}
        write_results(HERE / f"{name}.csv", table, command, sources)
        print(f"{name}: {len(table)} rows", flush=True)


if __name__ == "__main__":
    measure_tables(TABLES, "make.py", __doc__)
