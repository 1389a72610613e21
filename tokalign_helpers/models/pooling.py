"""Hidden states of a text's tokens → one vector. Pure functions, right under left and right padding."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

Pooling = Callable[[Tensor, Tensor], Tensor]


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """Take the state of the last real token, which alone has seen the whole text in a causal LM.

    Parameters
    ----------
    hidden : Tensor, (n, L, d), float32
        The model's hidden states: n texts, padded to L tokens.
    mask : Tensor, (n, L), 1 for a real token, 0 for padding, on either side
        Which positions hold tokens of the text.

    Returns
    -------
    Tensor, (n, d)
    """
    last = mask.cumsum(dim=1).argmax(dim=1)  # argmax returns the first maximum: where the count stops growing
    return hidden[range(len(hidden)), last]


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """Take the state of the first real token: an encoder's ``[CLS]``.

    Parameters
    ----------
    hidden : Tensor, (n, L, d), float32
        The model's hidden states: n texts, padded to L tokens.
    mask : Tensor, (n, L), 1 for a real token, 0 for padding, on either side
        Which positions hold tokens of the text.

    Returns
    -------
    Tensor, (n, d)
    """
    return hidden[range(len(hidden)), mask.argmax(dim=1)]


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average the states of the real tokens.

    Parameters
    ----------
    hidden : Tensor, (n, L, d), float32
        The model's hidden states: n texts, padded to L tokens.
    mask : Tensor, (n, L), 1 for a real token, 0 for padding, on either side
        Which positions hold tokens of the text.

    Returns
    -------
    Tensor, (n, d)
    """
    return _weighted_sum(hidden, mask) / mask.sum(dim=1, keepdim=True)


def weighted_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average with the weights 1, 2, …, len: later tokens have seen more of the text (SGPT, Muennighoff 2022).

    Parameters
    ----------
    hidden : Tensor, (n, L, d), float32
        The model's hidden states: n texts, padded to L tokens.
    mask : Tensor, (n, L), 1 for a real token, 0 for padding, on either side
        Which positions hold tokens of the text.

    Returns
    -------
    Tensor, (n, d)
    """
    weights = mask * mask.cumsum(dim=1)  # positions among the real tokens; plain columns are wrong under left padding
    return _weighted_sum(hidden, weights) / weights.sum(dim=1, keepdim=True)


def pooler_output(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mark the use of the model's own pooler: a trained layer on top of the first token (BERT, SimCSE).

    An :class:`~tokalign_helpers.models.embedding.Embedder` with this function uses the :class:`OwnPooler` of its
    model.

    Parameters
    ----------
    hidden : Tensor, (n, L, d), float32
        The model's hidden states: n texts, padded to L tokens.
    mask : Tensor, (n, L)
        1 for a token, 0 for padding.

    Raises
    ------
    ValueError
        Always: the layer's weights belong to a model.
    """
    raise ValueError("pooler_output is a layer of a model; give it to an Embedder, which takes the model's own")


class OwnPooler(nn.Module):
    """A model's pooler: ``pooler_output`` of the library, from the hidden states.

    Parameters
    ----------
    model : Module
        With a trained ``pooler``.

    Raises
    ------
    ValueError
        If it has none.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        pooler = getattr(model, "pooler", None)
        if pooler is None:
            raise ValueError(f"this {type(model).__name__} has no trained pooler; choose another pooling, such as mean")
        self.pooler: nn.Module = pooler

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the pooled vectors, (n, d)."""
        states = first_token(hidden, mask)[:, None]
        return self.pooler(states.to(next(self.pooler.parameters()).dtype))


def pooling_name(pooling: Pooling) -> str:
    """Return what to call a pooling: a function, a partial of one, an object that can be called, a module.

    Parameters
    ----------
    pooling : Pooling
        A function, a partial, a callable object or a module.

    Returns
    -------
    str
        A function's own name, a partial's with what it fixes, such as ``first_tokens(n=3)``; else that of the class. It
        names the pooling for people: two of one name may differ.
    """
    if isinstance(pooling, partial):
        fixed = [*map(_argument, pooling.args), *(f"{key}={_argument(v)}" for key, v in pooling.keywords.items())]
        return f"{pooling_name(pooling.func)}({', '.join(fixed)})"
    return getattr(pooling, "__qualname__", type(pooling).__qualname__)


def _argument(value: object) -> str:
    return pooling_name(value) if callable(value) else repr(value)  # repr of a function holds its address


def _weighted_sum(hidden: Tensor, weights: Tensor) -> Tensor:
    # A product of (1, L) by (L, d) per text: no (n, L, d) temporary.
    return (weights.to(hidden.dtype).unsqueeze(1) @ hidden).squeeze(1)
