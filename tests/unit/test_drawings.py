"""Pictures of ideas show the model's own tokens and numbers."""

import matplotlib.pyplot as plt
import pytest
import torch

import tokalign_helpers as ta
from tokalign_helpers.course import drawings

TEXT = "What diseases are parrots prone to?"


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_path_shows_the_tokens_of_the_text_and_the_aligned_ones(tiny):
    embedder = tiny.with_template("{text}")
    ax = drawings.draw_path(embedder, TEXT, shown=5)
    written = [text.get_text() for text in ax.texts]
    ids = embedder.tokenizer(TEXT, add_special_tokens=False).input_ids[: drawings.TOKENS]
    assert [embedder.decoder.token(i) for i in ids] == written[: 2 * len(ids) : 2]  # beside each the dots of its state
    aligned = ta.aligned_tokens(embedder, [TEXT], k=5)["token"].tolist()
    assert [text for text in written if text in aligned][-5:] == aligned
    assert f"{embedder.decoder.vocabulary_size:,} rows" in " ".join(written)


def test_the_cone_moves_by_v():
    h = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)) + torch.eye(8)[0] * 9
    ax = drawings.draw_cone(h, torch.eye(8)[0], v=-20, shown=50)
    raw, moved = (arrows.U for arrows in ax.collections[:2])
    assert len(raw) == 50
    assert (moved - raw).tolist() == pytest.approx([-20.0] * 50, abs=1e-4)
    assert "-20" in ax.texts[-1].get_text().replace("−", "-")
