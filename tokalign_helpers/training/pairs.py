"""Pairs and triplets of texts for contrastive training, made from folders that the caller names.

Nothing here is needed to *use* the course's adapters; it is how they were made. Every source is free for any use
(SNLI: CC BY-SA 4.0; WordNet 3.0: its own free licence; Wikipedia: CC BY-SA 3.0; of the STS benchmark only the sources
whose texts may be used; CLINC150: CC BY 3.0; GoEmotions: Apache-2.0).
"""

import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tokalign_helpers.basics.files import replacing
from tokalign_helpers.basics.lines import lines, naming_line
from tokalign_helpers.datasets.labelled import load_clinc150, load_goemotions
from tokalign_helpers.datasets.ratings import load_sts_pairs
from tokalign_helpers.datasets.wikipedia import load_passages, load_sentences
from tokalign_helpers.models.input_format import EOL_ABOUT
from tokalign_helpers.training.held_out import HeldOut, measured_texts

AUXILIARY = re.compile(
    r"\b(is|are|was|were|has|have|had|can|will|could|would|should|must|does|do|did)\b(?! n[o']t| not)"
)
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")


class Triplet(NamedTuple):
    """An anchor, a text that belongs to it, and one that looks alike but does not ("" where there is none).

    With a rating the first two are a pair that people judged; the rating says how far the second belongs to the first.
    """

    anchor: str
    positive: str
    negative: str = ""
    rating: float | None = None


class Synset(NamedTuple):
    """One meaning of WordNet: its words, what it means, the opposites of single words, and sentences that use them."""

    words: tuple[str, ...]
    gloss: str
    antonyms: tuple[tuple[str, str], ...]
    hypernyms: tuple[str, ...]
    examples: tuple[str, ...] = ()


def inference_triplets(folder: Path) -> list[Triplet]:
    """Make (premise, entailed, contradicting) triplets of SNLI: the recipe of supervised SimCSE.

    Parameters
    ----------
    folder : Path
        With ``s1.dev``, ``s2.dev``, ``labels.dev`` and the same for ``test``, one text on each line.

    Returns
    -------
    list[Triplet]

    Raises
    ------
    FileNotFoundError
        If one of the six files is missing.
    ValueError
        If a line of one has no counterpart in the others; the message names file and line.
    """
    return [
        Triplet(premise, entailed, against)
        for premise, labels in _inferences(folder).items()
        for entailed, against in zip(labels["entailment"], labels["contradiction"], strict=False)
    ]


def _inferences(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Read SNLI: premise → label → hypotheses."""
    by_premise: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for part in ("dev", "test"):
        for premise, hypothesis, label in _side_by_side([folder / f"{name}.{part}" for name in ("s1", "s2", "labels")]):
            by_premise[detokenize(premise)][label.strip()].append(detokenize(hypothesis))
    return by_premise


def _side_by_side(files: list[Path]) -> Iterator[tuple[str, ...]]:
    """Read files of which the n-th lines belong together."""
    columns = [dict(lines(file)) for file in files]
    for place in sorted(set().union(*columns)):
        for file, column in zip(files, columns, strict=True):
            with naming_line(file, place):
                if place not in column:
                    raise ValueError("nothing is here; the files beside it have a text on this line")
        yield tuple(column[place] for column in columns)


def negation_triplets(triplets: list[Triplet], *, seed: int = 0) -> list[Triplet]:
    """Make (premise, entailed, the entailed one negated), and (sentence, sentence, its negation) of Wikipedia.

    Parameters
    ----------
    triplets : list[Triplet]
        Of :func:`inference_triplets`.
    seed : int
        Seed of the random choice; the same seed gives the same result.

    Returns
    -------
    list[Triplet]
    """
    own = [Triplet(t.anchor, t.positive, no) for t in triplets if (no := negate(t.positive))]
    short = [s for s in load_sentences(4000, seed=seed) if len(s.split()) <= 16]
    return own + [Triplet(s, s, no) for s in short if (no := negate(s))]


def antonym_triplets(triplets: list[Triplet], synsets: list[Synset]) -> list[Triplet]:
    """Make (premise, entailed, the entailed one with a word turned into its opposite), and short ones about liking.

    Parameters
    ----------
    triplets : list[Triplet]
        Of :func:`inference_triplets`.
    synsets : list[Synset]
        Of :func:`load_wordnet`.

    Returns
    -------
    list[Triplet]
    """
    opposite = {word: other for s in synsets for word, other in s.antonyms if " " not in word + other}
    found = []
    for triplet in triplets:
        words = triplet.positive.split()
        places = [i for i, word in enumerate(words) if word.strip(".,").lower() in opposite and len(word) > 2]
        if places:
            place = places[-1]
            words[place] = opposite[words[place].strip(".,").lower()]
            found.append(Triplet(triplet.anchor, triplet.positive, " ".join(words)))
    return found


def synonym_triplets(synsets: list[Synset]) -> list[Triplet]:
    """Make (word, synonym, opposite or neighbour): similarity proper, on single words.

    Parameters
    ----------
    synsets : list[Synset]
        From :func:`load_wordnet`.

    Returns
    -------
    list[Triplet]
        The negative is an antonym where there is one, else a word with the same hypernym, else "".
    """
    siblings: dict[str, list[str]] = defaultdict(list)
    for synset in synsets:
        for parent in synset.hypernyms:
            siblings[parent].append(synset.words[0])
    found = []
    for synset in synsets:
        if len(synset.words) < 2:
            continue
        against = [other for _, other in synset.antonyms]
        near = [word for parent in synset.hypernyms for word in siblings[parent] if word not in synset.words]
        negative = (against or near or [""])[0]
        found += [Triplet(a, b, negative) for a, b in zip(synset.words, synset.words[1:], strict=False)]
    return found


def gloss_triplets(synsets: list[Synset]) -> list[Triplet]:
    """Make (word, its gloss): what a dictionary says a word has to do with.

    Parameters
    ----------
    synsets : list[Synset]
        From :func:`load_wordnet`.

    Returns
    -------
    list[Triplet]
    """
    return [Triplet(s.words[0], s.gloss) for s in synsets if len(s.gloss.split()) >= 3]


def definition_pairs(synsets: list[Synset]) -> list[Triplet]:
    """Make (word, its gloss) of every word of every meaning, and (word, a sentence that uses it).

    Parameters
    ----------
    synsets : list[Synset]
        Best all of them, not the common ones alone.

    Returns
    -------
    list[Triplet]
        For a teacher who grades them: an example tells less of a word than its gloss.
    """
    found = []
    for synset in synsets:
        found += [Triplet(word, synset.gloss) for word in synset.words if len(synset.gloss.split()) >= 3]
        for example in synset.examples:
            used = [word for word in synset.words if word.lower() in example.lower()]
            found += [Triplet(word, example) for word in used if len(example.split()) >= 3]
    return found


def caption_pairs(folder: Path) -> list[Triplet]:
    """Make (premise, hypothesis) of SNLI where the second does not contradict the first.

    Parameters
    ----------
    folder : Path
        As for :func:`inference_triplets`.

    Returns
    -------
    list[Triplet]
        For a teacher who grades them: what may be true of a picture belongs to it less than what must be.
    """
    return [
        Triplet(premise, hypothesis)
        for premise, labels in _inferences(folder).items()
        for label in ("entailment", "neutral")
        for hypothesis in labels[label]
    ]


def graded_pairs(folder: Path) -> list[Triplet]:
    """Return the pairs of the STS benchmark's training part whose texts are free to use, with their ratings.

    Parameters
    ----------
    folder : Path
        With ``sts-train.csv``.

    Returns
    -------
    list[Triplet]
        Image captions (CC BY-SA) and headlines (Europe Media Monitor). Its other sources ask for an agreement or state
        no terms, and stay out.
    """
    pairs = load_sts_pairs(folder, "train")
    pairs = pairs[pairs["source"].isin(["images", "headlines"])]
    return [Triplet(p.text1, p.text2, rating=p.rating) for p in pairs.itertuples()]


def cloze_triplets(*, seed: int = 0) -> list[Triplet]:
    """Make (sentence, the passage it was taken from), the inverse cloze task, from one half of the articles.

    Parameters
    ----------
    seed : int
        Seed of the random choice; the same seed gives the same result.

    Returns
    -------
    list[Triplet]
        The other half of the articles is kept for the course's retrieval collection.
    """
    draw = random.Random(seed)
    found = []
    for passage in load_passages("train"):
        place = draw.randrange(len(passage.sentences))
        rest = [s for i, s in enumerate(passage.sentences) if i != place]
        found.append(Triplet(passage.sentences[place], " ".join(rest)))
    return found


def passage_pairs(*, sizes: Sequence[int] = (3, 5), seed: int = 0) -> list[Triplet]:
    """Make (sentence, the passage it was taken from) of every sentence, and (a few of its words, the passage).

    Parameters
    ----------
    sizes : Sequence[int]
        How many sentences a passage has; every sentence is asked once for each.
    seed : int
        Seed of the random choice; the same seed gives the same result.

    Returns
    -------
    list[Triplet]
        Of the same half of the articles as :func:`cloze_triplets`. The few words follow each other in the sentence,
        and their passage still has it: so short a question is answered by the words themselves.
    """
    draw = random.Random(seed)
    articles: dict[str, list[str]] = defaultdict(list)
    for passage in load_passages("train"):
        articles[passage.article] += passage.sentences
    found = []
    for own in articles.values():
        for place, sentence in enumerate(own):
            for size in sizes:
                start = max(0, min(place - draw.randrange(size), len(own) - size))
                window = own[start : start + size]
                rest = [s for i, s in enumerate(window, start) if i != place]
                found.append(Triplet(sentence, " ".join(rest)))
                found.append(Triplet(_few_words(sentence, draw), " ".join(window)))
    return [pair for pair in found if pair.positive]


def _few_words(sentence: str, draw: random.Random) -> str:
    """Return two to eight words that follow each other."""
    words = sentence.rstrip(".!?").split()
    length = draw.randint(2, min(8, len(words)))
    start = draw.randrange(len(words) - length + 1)
    return " ".join(words[start : start + length]).strip(",;:")


def neighbour_pairs() -> list[Triplet]:
    """Make (sentence, the next one of the article), of the same half of the articles as :func:`cloze_triplets`.

    Returns
    -------
    list[Triplet]
    """
    found = [passage.sentences for passage in load_passages("train")]
    return [Triplet(a, b) for own in found for a, b in zip(own, own[1:], strict=False)]


def asked_triplets(folder: Path, *, seed: int = 0) -> list[Triplet]:
    """Make (text asked for one thing, the answer asked for the same, the text asked for another thing).

    A text is a request (CLINC150, training part) and a comment (GoEmotions, development part), drawn independently of
    each other: its topic is the intent of the one, its emotion that of the other. The same text under the other
    instruction is the hard negative, so that an embedding that does not change with the question has a high loss.

    Parameters
    ----------
    folder : Path
        With ``clinc150`` and ``goemotions``.
    seed : int
        Of the drawing.

    Returns
    -------
    list[Triplet]
        Whole prompts, in the template of PromptEOL with an instruction, for an embedder without one of its own.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`~tokalign_helpers.datasets.labelled.load_clinc150` and
        :func:`~tokalign_helpers.datasets.labelled.load_goemotions`.
    """
    requests = load_clinc150(folder / "clinc150", "train")
    comments = load_goemotions(folder / "goemotions", "dev")
    draw, found = random.Random(seed), []
    for request, intent in requests[["text", "intent"]].itertuples(index=False):
        comment, emotion = comments.iloc[draw.randrange(len(comments))]
        answers = {"topic": intent.replace("_", " "), "emotion": emotion}
        text = " ".join(draw.sample([request, comment], 2))
        prompts = {asked: _asked(text, asked) for asked in answers}
        for asked, other in (("topic", "emotion"), ("emotion", "topic")):
            found.append(Triplet(prompts[asked], _asked(answers[asked], asked), prompts[other]))
    return found


def _asked(text: str, instruction: str) -> str:
    return EOL_ABOUT.replace("{instruction}", instruction).replace("{text}", text)


def without_negatives(triplets: Sequence[Triplet]) -> list[Triplet]:
    """Return the pairs of triplets alone.

    Parameters
    ----------
    triplets : Sequence[Triplet]

    Returns
    -------
    list[Triplet]
    """
    return [triplet._replace(negative="") for triplet in triplets]


def negate(sentence: str) -> str | None:
    """Turn a sentence into its negation by a rule, or give up.

    Parameters
    ----------
    sentence : str
        An English sentence.

    Returns
    -------
    str or None
        None where there is no auxiliary verb in it.
    """
    if re.search(r"\bnot\b|n't\b", sentence):
        return None
    found = AUXILIARY.search(sentence)
    return f"{sentence[: found.end()]} not{sentence[found.end() :]}" if found else None


def detokenize(text: str) -> str:
    """Put back together what a tokenizer took apart, as in ``a dog 's bone .``.

    Parameters
    ----------
    text : str
        A text with spaces between its tokens.

    Returns
    -------
    str
    """
    text = re.sub(r"\s+(n't|'s|'re|'ve|'ll|'d|'m)\b", r"\1", text.strip())
    return re.sub(r"\s+([.,!?;:])", r"\1", text)


def load_wordnet(folder: Path, *, common: bool = True) -> list[Synset]:
    """Read WordNet's database files.

    Parameters
    ----------
    folder : Path
        With ``data.noun`` and ``index.noun``, and so on for ``verb``, ``adj`` and ``adv``.
    common : bool
        Only words whose sense was met in WordNet's tagged texts.

    Returns
    -------
    list[Synset]

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a line is broken; the message names file and line.
    """
    met = {pair for part in PARTS_OF_SPEECH for pair in _tagged_senses(folder / f"index.{part}")}
    entries = {
        (part, line[:8]): (place, line)
        for part in PARTS_OF_SPEECH
        for place, line in lines(folder / f"data.{part}")
        if line[:1].isdigit()
    }
    letters = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}
    found = []
    for (part, offset), (place, line) in entries.items():
        with naming_line(folder / f"data.{part}", place):
            words, pointers, gloss, examples = _fields(line)
            antonyms = [
                (words[int(where[:2], 16) - 1], _fields(entries[letters[kind], target][1])[0][int(where[2:], 16) - 1])
                for symbol, target, kind, where in pointers
                if symbol == "!"
            ]
        kept = [word for word in words if not common or (word.lower(), offset) in met]
        if kept:
            parents = tuple(target for symbol, target, _, _ in pointers if symbol == "@")
            found.append(Synset(tuple(kept), gloss, tuple(antonyms), parents, examples))
    return found


def _fields(line: str) -> tuple[list[str], list[list[str]], str, tuple[str, ...]]:
    """Split a line of a WordNet data file: words, pointers (symbol, offset, part, words), gloss, example sentences."""
    head, _, gloss = line.partition(" | ")
    parts = head.split()
    n_words = int(parts[3], 16)
    words = [re.sub(r"\(\w+\)$", "", w).replace("_", " ") for w in parts[4 : 4 + 2 * n_words : 2]]
    start = 5 + 2 * n_words
    n_pointers = int(parts[start - 1])
    pointers = [parts[start + 4 * i : start + 4 * i + 4] for i in range(n_pointers)]
    return words, pointers, gloss.split(";")[0].strip(), tuple(re.findall(r'"([^"]+)"', gloss))


def _tagged_senses(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (word, offset) of the meanings that were met in tagged text; they come first in a word's list."""
    for place, line in lines(file):
        if line[:1].isspace():
            continue
        with naming_line(file, place):
            word, _, n_senses, n_pointers, *rest = line.split()
            n_tagged = int(rest[int(n_pointers) + 1])
        for offset in rest[int(n_pointers) + 2 :][: min(n_tagged, int(n_senses))]:
            yield word.replace("_", " "), offset


def recipe_sources(names: tuple[str, ...], folder: Path) -> Iterator[tuple[str, list[Triplet]]]:
    """Build the named sources, without what the course measures on.

    Parameters
    ----------
    names : tuple[str, ...]
        Of :func:`source_makers`.
    folder : Path
        With the subfolders ``snli``, ``stsb`` and ``wordnet``, as far as the sources need them; and ``scifact`` and
        ``cranfield`` where they are at hand, so that their texts are kept out too. Or a file of :func:`save_sources`.

    Yields
    ------
    (str, list[Triplet])

    Raises
    ------
    ValueError
        If a source is unknown or comes out empty.
    FileNotFoundError
        If a file is missing.
    """
    makers = source_makers(folder)
    kept = load_sources(folder) if folder.is_file() else None
    held_out = None
    for name in names:
        if name not in makers:
            raise ValueError(f"unknown source {name!r}; known: {', '.join(makers)}")
        if kept is not None:
            made = kept.get(name, [])
        else:
            made = makers[name]()
            # After the maker, so that a missing file is reported at once.
            held_out = held_out or HeldOut(measured_texts(folder))
            made = leave_out(made, held_out)
        if not made:
            raise ValueError(f"the source {name!r} in {folder} holds no training pairs")
        yield name, made


def source_makers(folder: Path) -> dict[str, Callable[[], list[Triplet]]]:
    """Return the sources of training pairs by name; nothing is read before one is called.

    Parameters
    ----------
    folder : Path
        As for :func:`recipe_sources`.

    Returns
    -------
    dict[str, Callable]
    """
    snli, dictionary = folder / "snli", folder / "wordnet"
    return {
        "inference": lambda: inference_triplets(snli),
        "negation": lambda: negation_triplets(inference_triplets(snli)),
        "antonym": lambda: antonym_triplets(inference_triplets(snli), load_wordnet(dictionary)),
        "synonym": lambda: synonym_triplets(load_wordnet(dictionary)),
        "gloss": lambda: gloss_triplets(load_wordnet(dictionary)),
        "cloze": cloze_triplets,
        "graded": lambda: graded_pairs(folder / "stsb"),
        "definition": lambda: definition_pairs(load_wordnet(dictionary, common=False)),
        "caption": lambda: caption_pairs(snli),
        "entailment": lambda: without_negatives(inference_triplets(snli)),
        "alike": lambda: without_negatives(synonym_triplets(load_wordnet(dictionary))),
        "asked": lambda: asked_triplets(folder),
        "passage": passage_pairs,
        "neighbour": neighbour_pairs,
    }


def leave_out(triplets: Sequence[Triplet], held_out: HeldOut) -> list[Triplet]:
    """Leave out the triplets that have a text, or a sentence of a text, in common with what is held out.

    Parameters
    ----------
    triplets : Sequence[Triplet]
        The pairs to filter.
    held_out : HeldOut
        What they must not share a text with.

    Returns
    -------
    list[Triplet]
    """
    known: dict[str, bool] = {"": False}
    for triplet in triplets:
        for text in triplet[:3]:
            if text not in known:
                known[text] = held_out.holds(text)
    return [triplet for triplet in triplets if not any(known[text] for text in triplet[:3])]


def save_sources(sources: Mapping[str, Sequence[Triplet]], path: Path) -> None:
    """Write sources to one file, so that a machine without the texts they were made from can train on them.

    Parameters
    ----------
    sources : Mapping[str, Sequence[Triplet]]
        The training pairs by the name of their source.
    path : Path
        Gzipped JSON lines: the name of the source, then the fields of a triplet.
    """
    lines = (json.dumps([name, *triplet], ensure_ascii=False) for name, made in sources.items() for triplet in made)
    with replacing(path) as partial, gzip.open(partial, "wt", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def load_sources(path: Path) -> dict[str, list[Triplet]]:
    """Read what :func:`save_sources` wrote.

    Parameters
    ----------
    path : Path
        The file to read.

    Returns
    -------
    dict[str, list[Triplet]]

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    found: dict[str, list[Triplet]] = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for name, *fields in map(json.loads, stream):
                found.setdefault(name, []).append(Triplet(*fields))
    except (EOFError, ValueError, TypeError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a file of training pairs ({error}); prepare it again") from error
    return found
