"""Embed the texts that several notebooks share, which takes minutes: ``python data/embeddings/make.py``.

Writes ``<collection>-<embedder>.safetensors`` beside this file, for :func:`tokalign_helpers.fill_cache`. With
``--check`` nothing is written: every vector of the files is compared with one made now.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file

import tokalign_helpers as ta
from tokalign_helpers.cache import AGREE

COLLECTIONS = {
    "sentences": (
        lambda: ta.sentences(1000, seed=0),
        ["smol-last", "smol-wmean", "smol-cse", "smol-eol", "smol-sim", "smol-rel"],
    ),
    # The sentences that become the 300 queries are taken out of the passages.
    "passages": (lambda: list(ta.cloze_collection(300, seed=0).documents.values()), ["smol-eol"]),
}


def file_of(collection: str, name: str) -> Path:
    """Return where an embedder's vectors of a collection are kept."""
    return Path(__file__).with_name(f"{collection}-{name}.safetensors")


def write(collection: str, texts: Sequence[str], embedders: Mapping[str, ta.Embedder]) -> None:
    """Write a file for each embedder."""
    for name, embedder in embedders.items():
        ta.ship_embeddings(embedder, texts, file_of(collection, name))
        print(f"{collection}, {name}: {len(texts):,} texts", flush=True)


def differing(collection: str, texts: Sequence[str], embedders: Mapping[str, ta.Embedder]) -> int:
    """Count the vectors that are not those of the files."""
    found = 0
    for name, h in ta.embed_all(embedders, texts).items():
        gap = (load_file(file_of(collection, name))["embeddings"] - h).norm(dim=1) / h.norm(dim=1)
        found += int((gap > AGREE).sum())
        print(f"{collection}, {name}: {len(texts):,} texts, largest difference {gap.max():.1e} of a length", flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare every vector of the files with one made now")
    check = parser.parse_args().check
    wrong = 0
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TOKALIGN_EMBEDDING_CACHE"] = empty  # the usual one may hold what came out of these files
        for collection, (texts, names) in COLLECTIONS.items():
            embedders = ta.load_embedders(names)
            ta.embed_all(embedders, texts())  # those that share a model's states, in one pass
            if check:
                wrong += differing(collection, texts(), embedders)
            else:
                write(collection, texts(), embedders)
    sys.exit(f"{wrong} vectors differ by more than {AGREE}" if wrong else 0)
