"""Measure how much of a training the adjustment alone gives: ``python data/adjustment/make.py FOLDER [TRAINED …]``.

FOLDER holds ``stsb``. For every trained embedder and the raw one it was made from, four states are measured on the same
texts: raw; adjusted (``h + v_1 u_1``); without ``u_1``; trained. ``u_1`` and ``v_1`` come from the first half of the
course's 1,000 sentences, and the rates from the second half. Writes ``results.csv`` beside this file; embeddings are
cached, so an interrupted run goes on where it stopped.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import tokalign_helpers as ta
from tokalign_helpers.course.claims import write_results

RESULTS = Path(__file__).parent / "results.csv"
FIELDS = ("raw", "trained", "measure", "state", "value", "low", "high", "n")
# A state against another one, on the same texts: what the adjustment gains, and what training gains beyond it.
PAIRS = {"adjusted − raw": ("adjusted", "raw"), "trained − adjusted": ("trained", "adjusted")}
PASSAGES = 800  # to search in
Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class State:
    """An embedder, and what is done to its embeddings before they are used."""

    embedder: ta.Embedder
    change: Change

    def embed(self, texts: list[str]) -> torch.Tensor:
        """Return the changed embeddings, (n, d)."""
        return self.change(self.embedder.embed(texts))


def states_of(raw: ta.Embedder, trained: ta.Embedder, fitting: list[str]) -> dict[str, State]:
    """Return the four states; the first component and its variation come from the fitting texts."""
    before, after = raw.embed(fitting), trained.embed(fitting)
    components = ta.PrincipalComponents.fit(before)
    u, v_1 = components.direction(1), float(components.variation(before, after)[0])
    return {
        "raw": State(raw, lambda h: h),
        "adjusted": State(raw, partial(components.adjust, amount=v_1)),
        "without u_1": State(raw, lambda h: h - torch.outer(h @ u, u)),
        "trained": State(trained, lambda h: h),
    }


def rates(states: dict[str, State], texts: list[str]) -> Iterator[tuple]:
    """Measure the paper's rates and the share of content words among the ten best tokens, on held-out sentences."""
    content = {}
    for name, state in states.items():
        reading = ta.align(state.embedder, texts, state.embed(texts))
        for row in reading.rates().itertuples(index=False):
            yield row.rate, name, row.value, row.low, row.high, len(texts)
        kinds = ta.token_kinds(state.embedder.decoder)
        content[name] = (kinds[reading.aligned[:, :10].numpy()] == "content word").mean(axis=1)
    yield from _means("content words", content)


def ratings(states: dict[str, State], what: str, pairs: pd.DataFrame) -> Iterator[tuple]:
    """Correlate cosines with people's ratings of pairs."""
    cosines = {name: ta.pair_similarities(s.embedder, pairs, s.change).numpy() for name, s in states.items()}
    members = pairs[["word1", "word2"]] if "word1" in pairs else None  # many pairs of words share one
    yield from _correlations(what, cosines, pairs["rating"].to_numpy(), members)


def news(states: dict[str, State]) -> Iterator[tuple]:
    """Correlate cosines with judgements of all pairs of fifty stories; no interval, as the pairs share stories."""
    stories, judged = ta.load_lee_documents()
    upper = np.triu_indices(len(stories), 1)
    for name, state in states.items():
        unit = torch.nn.functional.normalize(state.embed(stories), dim=1)
        rho = ta.rank_correlation((unit @ unit.T).numpy()[upper], judged[upper]).estimate
        yield "news", name, rho, np.nan, np.nan, len(stories)


def smaller(collection: ta.Collection) -> ta.Collection:
    """Keep the passages that answer, and fill up with the first of the others."""
    answers = {d for found in collection.relevant.values() for d in found}
    others = [d for d in collection.documents if d not in answers]
    kept = answers | set(others[: PASSAGES - len(answers)])
    documents = {d: text for d, text in collection.documents.items() if d in kept}
    return ta.Collection(documents, collection.queries, collection.relevant)


def search(states: dict[str, State], collection: ta.Collection) -> Iterator[tuple]:
    """Search by cosine for the passage that a sentence was taken out of; nDCG@10."""
    literal = dict.fromkeys(collection.queries)
    found = {}
    for name, state in states.items():
        h, q = (state.embed(list(side.values())) for side in (collection.documents, collection.queries))
        run = ta.dense_run(literal, collection.documents, q=q, h=h)
        found[name] = ta.evaluate_run(run, collection.relevant)["nDCG@10"].to_numpy()
    yield from _means("search", found)


def _means(measure: str, values: dict[str, np.ndarray]) -> Iterator[tuple]:
    differences = {name: values[a] - values[b] for name, (a, b) in PAIRS.items()}
    for name, found in (values | differences).items():
        yield measure, name, *ta.bootstrap_interval(found), len(found)


def _correlations(
    measure: str, cosines: dict[str, np.ndarray], rated: np.ndarray, members: pd.DataFrame | None
) -> Iterator[tuple]:
    for name, found in cosines.items():
        yield measure, name, *ta.rank_correlation(found, rated, members=members), len(rated)
    for name, (a, b) in PAIRS.items():
        more = ta.rank_correlation_difference(cosines[a], cosines[b], rated, members=members)
        yield measure, name, *more, len(rated)


def measured(states: dict[str, State], folder: Path) -> Iterator[tuple]:
    """Go through all measures."""
    yield from rates(states, ta.load_sentences(1000, seed=0)[500:])
    yield from ratings(states, "STS benchmark", ta.load_sts_pairs(folder / "stsb", "test"))
    for name, called in (("simlex999", "SimLex-999"), ("wordsim353", "WordSim-353")):
        yield from ratings(states, called, ta.load_word_ratings(name))
    yield from news(states)
    yield from search(states, smaller(ta.load_cloze_collection(300, seed=0)))


def main() -> None:
    """Measure what is asked for, and keep the rows of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds stsb")
    ours = [spec.name for spec in ta.EMBEDDERS.values() if spec.adapters and spec.packaged]
    parser.add_argument("trained", nargs="*", help=f"of {', '.join(ours)}; default: all")
    given = parser.parse_args()
    for name in given.trained or ours:
        raw = ta.EMBEDDERS[name].raw
        both = ta.load_embedders([raw, name])
        states = states_of(both[raw], both[name], ta.load_sentences(1000, seed=0)[:500])
        table = pd.DataFrame([(raw, name, *row) for row in measured(states, given.folder)], columns=FIELDS)
        sources = {"stsb/sts-test.csv": given.folder / "stsb" / "sts-test.csv"}
        write_results(RESULTS, table, "python data/adjustment/make.py FOLDER", sources, by=["trained"])


if __name__ == "__main__":
    main()
