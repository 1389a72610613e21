"""Embed the passages of the course's offline collection, which takes minutes: ``python data/retrieval/passages.py``.

Writes ``passages-smol-eol.safetensors`` beside this file. Notebooks 04 and 08 read it after embedding some of the
passages anew, and embed all of them where these differ.
"""

from pathlib import Path

import tokalign_helpers as ta

EMBEDDER = "smol-eol"
QUERIES, SEED = 300, 0  # as in the notebooks: the sentences taken out of the passages depend on them

if __name__ == "__main__":
    texts = list(ta.cloze_collection(QUERIES, seed=SEED).documents.values())
    file = Path(__file__).with_name(f"passages-{EMBEDDER}.safetensors")
    ta.ship_embeddings(ta.load_embedder(EMBEDDER), texts, file)
    print(f"{file}: {len(texts)} passages, {file.stat().st_size / 1e6:.1f} MB")
