"""The lens ends where the embedder does, and begins before any layer."""

from dataclasses import replace

import pytest
import torch

import tokalign_helpers as ta
from tests.unit.families import save_model
from tokalign_helpers.reading.layers import _final_norm, layer_embeddings, token_states

TEXTS = ["A parrot in the garden.", "No", "What diseases are parrots prone to?"]


@pytest.mark.parametrize("family", ["huggyllama/", "EleutherAI/gpt-neo", "facebook/opt"])
@pytest.mark.parametrize("pooling", [ta.last_token, ta.weighted_mean])
def test_the_last_row_is_the_embedding(family, pooling, tmp_path):
    folder = save_model(tmp_path / "model", family)
    embedder = ta.load_embedder(folder, pooling=pooling, template='"{text}"', device="cpu")
    h = layer_embeddings(embedder, TEXTS)
    assert h.shape == (embedder.model.config.num_hidden_layers + 1, 3, embedder.dimension)
    torch.testing.assert_close(h[-1], embedder.embed(TEXTS, cache=False), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(h[0], h[-1], atol=1e-3)


def test_the_first_row_is_the_token_embedding_through_the_norm(tiny):
    embedder = replace(tiny, pooling=ta.last_token)
    (ids,), _ = embedder.prompts(TEXTS[:1])
    token = embedder.model.get_input_embeddings().weight[ids[-1]].detach()
    torch.testing.assert_close(layer_embeddings(embedder, TEXTS[:1])[0, 0], embedder.model.norm(token).detach())


@pytest.mark.parametrize("template", ["{text}", 'The sentence "{text}" means'])
def test_the_states_of_a_text_are_what_pooling_reads(tiny, template):
    embedder = replace(tiny.with_template(template), pooling=ta.weighted_mean)
    states = token_states(embedder, TEXTS[2])
    assert states.shape == (len(embedder.prompts(TEXTS[2:])[0][0]), embedder.dimension)
    pooled = embedder.pooling(states[None], torch.ones(1, len(states), dtype=torch.int64))
    torch.testing.assert_close(pooled, embedder.embed(TEXTS[2:], cache=False), atol=1e-5, rtol=1e-4)
    states[0, 0] += 1  # an ordinary tensor, which a learner may change


def test_what_it_cannot_read_is_refused(tiny):
    with pytest.raises(ValueError, match="no lens for it"):
        layer_embeddings(tiny.with_input_format(attention="full"), TEXTS)
    with pytest.raises(ValueError, match="Identity has no final norm"):
        _final_norm(torch.nn.Identity())
