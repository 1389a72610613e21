"""What pooling makes an embedding of: the states, at each token; and the logit lens (nostalgebraist 2020), pooled."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tokalign_helpers.basics.checks import check_texts
from tokalign_helpers.models.embedding import Embedder, pad
from tokalign_helpers.models.keys import evaluating

FINAL_NORMS = ("norm", "ln_f", "final_layer_norm")  # what Llama, GPT-Neo and OPT call it
BATCH = 16


def token_states(embedder: Embedder, text: str) -> Tensor:
    """Return the model's state at each token of a text: what the embedder's pooling makes one vector of.

    Parameters
    ----------
    embedder : Embedder
    text : str
        It is put into the embedder's prompt, whose tokens have states as well.

    Returns
    -------
    Tensor, (L, d), float32
        One row for each token, in order.

    Raises
    ------
    TypeError, ValueError
        As :meth:`Embedder.embed`.
    """
    (ids,), _ = embedder.prompts(check_texts([text]))
    with torch.inference_mode(), evaluating(embedder.model):
        hidden = embedder.model(input_ids=torch.tensor([ids], device=embedder.model.device)).last_hidden_state
    return hidden[0].float().cpu().clone()


def layer_embeddings(embedder: Embedder, texts: Sequence[str]) -> Tensor:
    """Embed texts after every layer: each layer's states, through the final norm, pooled as the embedder pools.

    Parameters
    ----------
    embedder : Embedder
        Causal, and pooling over all positions.
    texts : Sequence[str], n of them

    Returns
    -------
    Tensor, (layers + 1, n, d), float32
        The first row holds the token embeddings, before any layer; the last one equals ``embedder.embed(texts)``.

    Raises
    ------
    TypeError, ValueError
        As :meth:`Embedder.embed`; or if the model has no final norm that is known here, or does not read the whole
        prompt causally.
    """
    texts = check_texts(texts)
    if embedder.input_format.attention != "causal" or embedder.input_format.span != "all" or embedder.unit_length:
        raise ValueError(f"{embedder.name!r} does not pool all positions of a causal model; there is no lens for it")
    norm = _final_norm(embedder.model)
    prompts, _ = embedder.prompts(texts)
    order = sorted(range(len(texts)), key=lambda i: len(prompts[i]))
    parts = []
    with torch.inference_mode(), evaluating(embedder.model, embedder.pooling):
        for start in range(0, len(order), BATCH):
            ids, mask = pad([prompts[i] for i in order[start : start + BATCH]], embedder.model.device)
            found = embedder.model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
            states = [norm(h) for h in found.hidden_states[:-1]] + [found.last_hidden_state]
            parts.append(torch.stack([embedder.pooling(h.float(), mask) for h in states]).cpu())
    return torch.cat(parts, dim=1)[:, torch.tensor(order).argsort()].clone()


def _final_norm(model: nn.Module) -> nn.Module:
    """Find the norm that stands between the last layer and the decoder layer."""
    for holder in (model, getattr(model, "decoder", None)):
        for name in FINAL_NORMS:
            found = getattr(holder, name, None)
            if isinstance(found, nn.Module):
                return found
    raise ValueError(f"{type(model).__name__} has no final norm under the names {', '.join(FINAL_NORMS)}")
