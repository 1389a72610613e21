"""Measure embedders that are made for one question: ``python data/results/trained.py FOLDER [--only TABLE …]``.

``two_by_two`` compares four embedders that differ in their objective (pairs that say the same, or pairs about the same)
and in whether opposites were hard negatives. Their adapters are not kept: ``python -m tokalign_helpers.training NAME
--data FOLDER`` makes one in four to ten minutes, for each NAME of ``smol-sim-plain``, ``smol-sim-opposites``,
``smol-rel-plain`` and ``smol-rel-opposites``. FOLDER holds ``wordsim`` and ``wordnet``.

``asked`` compares ``smol-asked``, which was trained with instructions, with the same prompt untrained, on the texts of
notebook 05. The instructions *topic* and *emotion* were trained, on texts of others (requests of CLINC150 and comments
of GoEmotions); *colour* and *number* were not. Tables are written beside this file.

Every question has one unit, a group of sentences, a text or a pair of words, and all comparisons are paired. An
*effect* is the average of two differences: that of the objective over both kinds of negatives, that of the opposites
over both objectives. The *interaction* is by how much the opposites do more under similarity than under relatedness.
Each embedder was trained once; how far two trainings from other seeds lie apart is not in these intervals.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from make import in_wordnet, measure_tables

import tokalign_helpers as ta
from tokalign_helpers.course.claims import row

TEXTS = ta.data_dir() / "texts"
OBJECTIVES = ("sim", "rel")
NEGATIVES = ("opposites", "plain")
FOUR = [f"smol-{objective}-{negatives}" for objective in OBJECTIVES for negatives in NEGATIVES]
EFFECTS = {  # how much each of FOUR counts
    "objective: sim − rel": (0.5, 0.5, -0.5, -0.5),
    "negatives: opposites − plain": (0.5, -0.5, 0.5, -0.5),
    "sim − rel, opposites": (1.0, 0.0, -1.0, 0.0),
    "sim − rel, plain": (0.0, 1.0, 0.0, -1.0),
    "opposites − plain, sim": (1.0, -1.0, 0.0, 0.0),
    "opposites − plain, rel": (0.0, 0.0, 1.0, -1.0),
    "interaction": (1.0, -1.0, -1.0, 1.0),
}
BEST = 50  # tokens of a sentence
ASKED = ("topic", "emotion", "colour", "number")  # the latter two have nothing to do with the labels


def trained(name: str) -> ta.Embedder:
    """Load an embedder with PromptEOL's prompt from its adapter in ``data/adapters``."""
    return ta.load_embedder(replace(ta.EMBEDDERS["smol-sim"], name=name, adapters=(name,)))


def closer(cosines: np.ndarray, table: pd.DataFrame, kind: str, than: str) -> np.ndarray:
    """Say for each group whether the partner of one kind is closer than that of another, (groups,)."""
    by_kind = table.assign(cosine=cosines).pivot(index="group", columns="kind", values="cosine")
    return (by_kind[kind] > by_kind[than]).to_numpy(dtype=float)


def answers(embedder: ta.Embedder, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Ask the questions of notebook 06; each has an answer for every group, (groups,)."""
    pairs = ta.load_minimal_pairs()
    listed = pairs["group"].map(in_wordnet(pairs, folder)).to_numpy()
    cosines = ta.pair_similarities(embedder, pairs).numpy()
    for than in ("negation", "antonym", "role swap"):
        yield f"paraphrase closer than {than}", closer(cosines, pairs, "paraphrase", than)
    for some, where in ((listed, "in WordNet"), (~listed, "not in WordNet")):
        yield f"paraphrase closer than antonym {where}", closer(cosines[some], pairs[some], "paraphrase", "antonym")
    for file, than, what in (
        ("natural_negations.csv", "negation", "paraphrase closer than negation without a rule"),
        ("duplicate_questions.csv", "negation", "duplicate closer than another question"),
        ("word_triples.csv", "same topic", "similar word closer than related word"),
    ):
        table = ta.load_minimal_pairs(TEXTS / file)
        near = ta.pair_similarities(embedder, table).numpy()
        yield what, closer(near, table, "paraphrase", than)
    mean = embedder.embed(ta.load_sentences(1000, seed=0)).mean(dim=0)
    shares = {}
    for kind in ("paraphrase", "negation", "antonym"):
        some = pairs[pairs["kind"] == kind].sort_values("group")
        sides = zip(*(embedder.embed(some[side].tolist()) - mean for side in ("text1", "text2")), strict=True)
        shared = [len(ta.shared_tokens(embedder.decoder, a, b, BEST)) / BEST for a, b in sides]
        shares[kind] = np.array(shared)
        yield f"shared tokens, {kind}", shares[kind]
    for kind in ("negation", "antonym"):
        yield f"shared tokens, {kind} − paraphrase", shares[kind] - shares["paraphrase"]


def two_by_two(folder: Path) -> Iterator[dict[str, object]]:
    """Compare the four, and the prompt alone, on every question; then on people's ratings of words."""
    embedders = {"smol-eol": ta.load_embedder("smol-eol")} | {name: trained(name) for name in FOUR}
    found = {name: dict(answers(embedder, folder)) for name, embedder in embedders.items()}
    for question in found["smol-eol"]:
        values = {name: found[name][question] for name in embedders}
        about = {"question": question, "n": len(values["smol-eol"])}
        for name, each in values.items():
            yield row(level(each), **about, of=name)
        for effect, weights in EFFECTS.items():
            yield row(difference(values, weights), **about, of=effect)
    for what, rated in ratings(folder):
        near = {name: ta.pair_similarities(embedder, rated).numpy() for name, embedder in embedders.items()}
        about, words = {"question": f"Spearman, {what}", "n": len(rated)}, rated[["word1", "word2"]]
        for name, cosines in near.items():
            yield row(ta.rank_correlation(cosines, rated["rating"], members=words), **about, of=name)
        for first, second, effect in (
            ("smol-sim-plain", "smol-rel-plain", "sim − rel, plain"),
            ("smol-sim-opposites", "smol-rel-opposites", "sim − rel, opposites"),
            ("smol-sim-opposites", "smol-sim-plain", "opposites − plain, sim"),
            ("smol-rel-opposites", "smol-rel-plain", "opposites − plain, rel"),
        ):
            more = ta.rank_correlation_difference(near[first], near[second], rated["rating"], members=words)
            yield row(more, **about, of=effect)


def yes_or_no(*answers: np.ndarray) -> bool:
    """Say whether all answers are yes or no."""
    return all(np.isin(each, (0, 1)).all() for each in answers)


def level(answers: np.ndarray) -> ta.Interval:
    """Judge answers: as a share where all are yes or no."""
    return ta.share_interval(answers) if yes_or_no(answers) else ta.bootstrap_interval(answers)


def gap(first: np.ndarray, second: np.ndarray) -> ta.Interval:
    """Judge how much larger the first answers are than the second, to the same questions."""
    return (
        ta.share_difference_interval(first, second)
        if yes_or_no(first, second)
        else ta.bootstrap_interval(first - second)
    )


def difference(values: dict[str, np.ndarray], weights: tuple[float, ...]) -> ta.Interval:
    """Judge an effect; where it compares the yes-or-no answers of two embedders, as shares."""
    used = {name: weight for name, weight in zip(FOUR, weights, strict=True) if weight}
    if sorted(used.values()) == [-1, 1]:
        more, less = sorted(used, key=lambda name: -used[name])
        return gap(values[more], values[less])
    return ta.bootstrap_interval(sum(weight * values[name] for name, weight in used.items()))


def asked(_: Path) -> Iterator[dict[str, object]]:
    """Ask the 160 texts that notebook 05 reports on, beside the prompt alone: neighbours, tokens, labels read off."""
    table = ta.load_two_labels()
    texts, reporting = table["text"].tolist(), np.arange(len(table)) % 2 == 1
    found = {}
    for base in ta.load_embedders(["smol-eol", "smol-asked"]).values():
        h = {name: base.with_instruction(name).embed(texts) for name in ASKED}
        for question, each in asked_answers(base, table, h):
            found[base.name, question] = values = each[reporting]
            yield row(level(values), of=base.name, question=question, n=len(values))
    for name, question in found:
        if name == "smol-asked":
            both = found[name, question], found["smol-eol", question]
            more = gap(*both)
            yield row(more, of="smol-asked − smol-eol", question=question, n=len(both[0]))


def asked_answers(
    base: ta.Embedder, table: pd.DataFrame, h: dict[str, torch.Tensor]
) -> Iterator[tuple[str, np.ndarray]]:
    """Say for every text how often what was asked for is found, (texts,), given the embeddings of each instruction."""
    gains = []
    best = {name: base.decoder.top_tokens(v - v.mean(dim=0), 10)[0].tolist() for name, v in h.items()}
    for labels, other in (("topic", "emotion"), ("emotion", "topic")):
        lexicon = ta.lexicon_tokens(base.decoder, labels)
        wider = set().union(*ta.lexicon_tokens(base.decoder, labels, nearest=2).values())
        near, share, right = {}, {}, {}
        for name, v in h.items():
            centred = v - v.mean(dim=0)
            near[name] = ta.neighbour_agreement(centred, table[labels])
            share[name] = np.array([len(wider & set(ids)) / 10 for ids in best[name]])
            right[name] = (read_label(base, centred, lexicon) == table[labels].to_numpy()).astype(float)
            for what, values in (("neighbours", near), (f"{labels} words", share), ("label read off", right)):
                yield f"{labels}: {what}, asked for {name}", values[name]
        gains.append(near[labels] - near[other])
        for name in ASKED:
            if name != labels:
                yield f"{labels}: neighbours, own − {name}", near[labels] - near[name]
                yield f"{labels}: {labels} words, own − {name}", share[labels] - share[name]
                yield f"{labels}: label read off, own − {name}", right[labels] - right[name]
        yield f"texts that turn to {labels} words", ((share[labels] > 0) & (share[other] == 0)).astype(float)
        yield (
            f"texts that turn the other way, {labels} words",
            ((share[labels] == 0) & (share[other] > 0)).astype(float),
        )
    yield "interaction", sum(gains) / 2
    for one, two in (("topic", "emotion"), ("topic", "colour"), ("colour", "number")):
        same = [len(set(a) & set(b)) for a, b in zip(best[one], best[two], strict=True)]
        yield f"tokens of 10 in common, {one} and {two}", np.array(same, dtype=float)


def read_label(base: ta.Embedder, centred: torch.Tensor, lexicon: dict[str, set[int]]) -> np.ndarray:
    """Read a label off the tokens, as notebook 05 does: whose words score highest, relative to their average."""
    scores = base.decoder.scores(centred)
    mean = np.stack([scores[:, sorted(ids)].mean(dim=1).numpy() for ids in lexicon.values()], axis=1)
    return np.array(list(lexicon))[(mean - mean.mean(axis=0)).argmax(axis=1)]


def ratings(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give people's ratings of pairs of words."""
    yield "SimLex-999", ta.load_word_ratings("simlex999")
    for half in ("SIM", "REL"):
        file = folder / "wordsim" / f"EN-WS-353-{half}.txt"
        yield f"WordSim-353 {half}", pd.read_csv(file, sep="\t", names=["word1", "word2", "rating"])


TABLES: dict[str, tuple[Callable[[Path], Iterator[dict[str, object]]], tuple[str, ...]]] = {
    "two_by_two": (
        two_by_two,
        (
            "wordsim/EN-WS-353-SIM.txt",
            "wordsim/EN-WS-353-REL.txt",
            "wordnet/data.adj",
            "wordnet/data.verb",
            *(f"adapters/{name}/adapter_model.safetensors" for name in FOUR),
        ),
    ),
    "asked": (asked, ("adapters/smol-asked/adapter_model.safetensors",)),
}


if __name__ == "__main__":
    measure_tables(TABLES, "trained.py", __doc__)
