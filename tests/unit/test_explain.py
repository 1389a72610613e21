import pytest
import torch

from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.reading.explain import shared_tokens, tight_decoder, token_contributions


def test_contributions_add_up_to_the_cosine(smol):
    a, b = smol.embed(["I like apples.", "I dislike apples."])
    table = token_contributions(smol.decoder, a, b)
    assert table["contribution"].sum() == pytest.approx(float(torch.cosine_similarity(a, b, dim=0)), abs=1e-5)
    assert len(table) == smol.decoder.vocabulary_size
    turned = token_contributions(smol.decoder, b, a)
    assert turned["token"][:20].to_list() == table["token"][:20].to_list()


def test_the_frame_is_tight(smol):
    frame = tight_decoder(smol.decoder)
    torch.testing.assert_close(frame.T @ frame, torch.eye(576), atol=1e-4, rtol=0)


def test_what_cannot_be_split_is_refused(tokenizer):
    decoder = TokenDecoder(torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), tokenizer)
    with pytest.raises(ValueError, match="length 0"):
        token_contributions(decoder, torch.zeros(4), torch.ones(4))
    with pytest.raises(ValueError, match="expected \\(4,\\)"):
        token_contributions(decoder, torch.ones(3), torch.ones(4))
    with pytest.raises(ValueError, match="full rank"):
        token_contributions(TokenDecoder(torch.ones(50, 4), tokenizer), torch.ones(4), torch.ones(4))


def test_shared_tokens(tokenizer):
    decoder = TokenDecoder(torch.eye(4).repeat(2, 1)[:6], tokenizer)
    shared = shared_tokens(decoder, torch.tensor([0.0, 9, 8, 0]), torch.tensor([0.0, 8, 0, 9]), 3)
    assert shared == [decoder.token(1), decoder.token(5)]
