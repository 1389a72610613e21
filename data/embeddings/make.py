"""Embed the texts that several notebooks share, which takes minutes: ``python data/embeddings/make.py``.

Writes ``<collection>-<embedder>.safetensors`` beside this file, for :func:`tokalign_helpers.fill_cache`.
"""

from pathlib import Path

import tokalign_helpers as ta

COLLECTIONS = {
    "sentences": (
        lambda: ta.sentences(1000, seed=0),
        ["smol-last", "smol-wmean", "smol-cse", "smol-eol", "smol-sim", "smol-rel"],
    ),
    # The sentences that become the 300 queries are taken out of the passages.
    "passages": (lambda: list(ta.cloze_collection(300, seed=0).documents.values()), ["smol-eol"]),
}

if __name__ == "__main__":
    for collection, (texts, names) in COLLECTIONS.items():
        embedders = ta.load_embedders(names)
        ta.embed_all(embedders, texts())  # those that share a model's states, in one pass
        for name, embedder in embedders.items():
            file = Path(__file__).with_name(f"{collection}-{name}.safetensors")
            ta.ship_embeddings(embedder, texts(), file)
            print(f"{file.name}: {len(texts()):,} texts, {file.stat().st_size / 1e6:.1f} MB")
