"""Fit the components of 10,000 sentences, too long for a notebook: ``python data/components/make.py``."""

from pathlib import Path

import tokalign_helpers as ta

NAME, N, KEPT = "smol-wmean", 10_000, 5

if __name__ == "__main__":
    h = ta.load_embedder(NAME).embed(ta.load_sentences(N, seed=1))
    ta.PrincipalComponents.fit(h, KEPT).save(Path(__file__).parent / f"{NAME}-{N}.safetensors")
