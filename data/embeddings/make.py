"""Embed the texts that several notebooks share, which takes minutes: ``python data/embeddings/make.py``.

Writes ``<collection>-<embedder>.safetensors`` beside this file, for :func:`tokalign_helpers.fill_cache`. With
``--check`` nothing is written: every vector of the files is compared with one made now. ``made.json`` says which
version of the computation made them.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import tokalign_helpers as ta
from tokalign_helpers.basics.files import sha256, write_text
from tokalign_helpers.models.embedding import VERSION
from tokalign_helpers.models.shipped import read_shipped, ship_embeddings

HERE = Path(__file__).parent
MADE = HERE / "made.json"
ALL = ["smol-last", "smol-wmean", "smol-cse", "smol-eol", "smol-sim", "smol-rel", "smol-distil"]


MOVED = {
    "before": 'The {name}. This sentence : "{{text}}" In one word:"',
    "after": 'This sentence : "{{text}}" The {name}. In one word:"',
}  # the same words, in another order


def instructed() -> dict[str, ta.Embedder]:
    """Return those of notebook 05: not asked, asked for four things, asked in the same words elsewhere, two trained."""
    plain, trained = ta.load_embedder("smol-eol"), ta.load_embedders(["smol-sim", "smol-asked"])
    embedders = {"smol-eol": plain}
    for name in ("topic", "emotion"):
        embedders[f"smol-eol-{name}"] = plain.with_instruction(name)
        for place, template in MOVED.items():
            embedders[f"smol-eol-{place}-{name}"] = plain.with_template(template.format(name=name))
        embedders |= {f"{which}-{name}": e.with_instruction(name) for which, e in trained.items()}
    return embedders | {f"smol-eol-{name}": plain.with_instruction(name) for name in ("colour", "number")}


COLLECTIONS = {
    "sentences": (lambda: ta.load_sentences(1000, seed=0), lambda: ta.load_embedders(ALL)),
    # The sentences that become the 300 queries are taken from the passages.
    "passages": (
        lambda: list(ta.load_cloze_collection(300, seed=0).documents.values()),
        lambda: ta.load_embedders(["smol-eol"]),
    ),
    "words": (ta.load_rated_words, lambda: ta.load_embedders(["smol-eol", "smol-sim", "smol-rel", "smol-distil"])),
    "two-labels": (lambda: ta.load_two_labels()["text"].tolist(), instructed),
}


def note(collections: list[str]) -> None:
    """Write down that these collections were made just now, by this version of the computation.

    Parameters
    ----------
    collections : list[str]

    Raises
    ------
    ValueError
        If others, which were not made now, are of another version.
    """
    kept = json.loads(MADE.read_text(encoding="utf-8")) if MADE.is_file() else {"version": VERSION, "files": {}}
    fresh = {f.name: sha256(f) for f in sorted(HERE.glob("*.safetensors")) if f.name.startswith(tuple(collections))}
    if kept["version"] != VERSION and kept["files"].keys() - fresh.keys():
        raise ValueError(f"the other files are of version {kept['version']}, not {VERSION}; make all of them")
    files = dict(sorted((kept["files"] | fresh).items()))
    write_text(MADE, json.dumps({"version": VERSION, "files": files}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=COLLECTIONS, help="one collection instead of all")
    parser.add_argument("--check", action="store_true", help="compare every vector of the files with one made now")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TOKALIGN_EMBEDDING_CACHE"] = empty  # the usual one may hold what came out of these files
        for collection, (make_texts, make_embedders) in COLLECTIONS.items():
            if args.only not in (None, collection):
                continue
            texts, embedders = make_texts(), make_embedders()
            ta.embed_all(embedders, texts)  # those that share a model's states, in one pass
            if not args.check:
                ship_embeddings(embedders, texts, collection, folder=HERE)
                continue
            for name, embedder in embedders.items():
                try:
                    read_shipped(embedder, texts, HERE / f"{collection}-{name}.safetensors", len(texts))
                except ValueError as error:
                    sys.exit(str(error))
                print(f"{collection}, {name}: all {len(texts):,} vectors are the same")
    if not args.check:
        note([args.only] if args.only else list(COLLECTIONS))
