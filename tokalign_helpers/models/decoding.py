"""Embedding → scores over the vocabulary → its best tokens. The step of the paper that an embedder throws away."""

import re
from collections.abc import Iterator
from functools import cached_property
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tokalign_helpers.basics.checks import escaped, whole_number
from tokalign_helpers.models.heads import Head

ROWS = 256  # rows decoded at a time: 50 MB of scores at V = 49,152, and the matrix product already runs at full speed
WIDENED = 1 << 22  # numbers of a 16-bit matrix turned into float32 at a time: 16 MB, and no copy of the whole


class TokenDecoder:
    """The decoder layer g of an LLM: scores every token of the vocabulary for an embedding.

    Parameters
    ----------
    weight : Tensor, (V, d)
        E_g, the decoder layer's matrix (``lm_head``) of the **original** LLM, not of the embedder made from it.
    tokenizer : PreTrainedTokenizerBase
        Turns ids into strings.
    head : Head, optional
        What surrounds the matrix: a bias, an encoder's masked-LM head.

    Notes
    -----
    Scores are float32 whatever the weights are: 16 bits would give many tokens the same score.
    """

    def __init__(self, weight: Tensor, tokenizer: PreTrainedTokenizerBase, head: Head | None = None) -> None:
        self.weight = weight.detach()
        self.tokenizer = tokenizer
        self.head = head
        self._made_of: tuple[object, ...] = ()

    @property
    def vocabulary_size(self) -> int:
        """V, the number of tokens that are scored."""
        return self.weight.shape[0]

    @property
    def dimension(self) -> int:
        """d, the length of the vectors that are read."""
        return self.weight.shape[1] if self.head is None else self.head.width

    def scores(self, h: Tensor) -> Tensor:
        """Return E_g h for every row: the score of each token (paper, section 3; no normalization).

        Where the language model adds a bias to its scores, it is added here as well. What does not change the order,
        such as dividing or softly capping all scores, is left out.

        Parameters
        ----------
        h : Tensor, (n, d)
            Embeddings to decode.

        Returns
        -------
        Tensor, (n, V), float32

        Raises
        ------
        ValueError
            If h is not (n, d) with the decoder's d, or holds NaN or Inf.
        """
        self._check(h)
        read = self._read(h)
        scores = torch.cat([read @ part.T for _, part in self._parts()], dim=1)
        return scores if self._bias is None else scores + self._bias

    def top_tokens(self, h: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k best-scoring tokens of each embedding: the aligned token set, best first. Exact.

        Parameters
        ----------
        h : Tensor, (n, d)
            Embeddings to decode.
        k : int, from 1 to V
            How many tokens to return for each embedding.

        Returns
        -------
        ids : Tensor, (n, k), int64
        scores : Tensor, (n, k), float32, descending

        Raises
        ------
        ValueError
            As :meth:`scores`; or if k is out of range.

        Examples
        --------
        >>> import tokalign_helpers as ta
        >>> embedder = ta.load_embedder("smol-sim")
        >>> ids, scores = embedder.decoder.top_tokens(embedder.embed(["Parrots eat seeds."]), 3)
        >>> [embedder.decoder.token(token) for token in ids[0].tolist()]
        ['▁Seeds', '▁seeds', '▁They']
        """
        self._check(h)
        k = whole_number(k, "k", 1, self.vocabulary_size, called="V")
        ids = torch.empty(len(h), k, dtype=torch.int64)
        values = torch.empty(len(h), k, dtype=torch.float32)
        for rows, scores in self._chunks(h):
            best = scores.topk(k)
            ids[rows], values[rows] = best.indices.cpu(), best.values.float().cpu()
        return ids, values

    def _chunks(self, h: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Score `ROWS` embeddings at a time into one buffer, so that memory does not grow with n."""
        buffer = self.weight.new_empty(min(ROWS, len(h)), self.vocabulary_size, dtype=torch.float32)
        for start in range(0, len(h), ROWS):
            chunk = self._read(h[start : start + ROWS].detach())
            scores = buffer[: len(chunk)]
            for columns, part in self._parts():
                torch.mm(chunk, part.T, out=scores[:, columns])
            yield slice(start, start + len(chunk)), scores if self._bias is None else scores.add_(self._bias)

    def _parts(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the matrix in float32: whole, or some of its rows at a time, so that no second copy is held."""
        rows = self.vocabulary_size
        if self.weight.dtype != torch.float32:
            rows = max(1, WIDENED // max(1, self.weight.shape[1]))
        for start in range(0, self.vocabulary_size, rows):
            yield slice(start, start + rows), self.weight[start : start + rows].float()

    @property
    def _bias(self) -> Tensor | None:
        return None if self.head is None else self.head.bias

    def _read(self, h: Tensor) -> Tensor:
        """Return what the matrix reads: the embedding itself, or what the head makes of it."""
        h = h.to(self.weight.device, torch.float32)
        return h if self.head is None or self.head.transform is None else self.head.transform(h)

    def _check(self, h: Tensor) -> None:
        d = self.dimension
        if h.ndim != 2 or h.shape[1] != d:
            raise ValueError(
                f"the embeddings have the shape {tuple(h.shape)}; this decoder reads (n, {d}). "
                "An embedding can be decoded only by its own backbone"
            )
        if not torch.isfinite(h).all():
            bad = (~torch.isfinite(h)).any(dim=1).nonzero()[0].item()
            raise ValueError(f"embedding {bad} holds NaN or Inf; it cannot be decoded")

    @cached_property
    def _strings(self) -> list[str]:
        return [_readable(self.tokenizer, i) for i in range(self.vocabulary_size)]

    def token(self, token_id: int) -> str:
        r"""Return a token as people read it: ``'▁parrot'`` for " parrot", ``'\\n'`` escaped, stray bytes as ``<F0>``.

        Parameters
        ----------
        token_id : int, from 0 to V − 1
            The token's number.

        Returns
        -------
        str
            ``▁`` stands for a space, as in SentencePiece; what cannot be seen is escaped (see
            :func:`~tokalign_helpers.basics.checks.escaped`); a row that no token belongs to is ``<unused 50300>``. Any
            other token is shown as it is.

        Raises
        ------
        ValueError
            If the decoder layer has no such row.
        """
        return self._strings[whole_number(token_id, "token_id", 0, self.vocabulary_size - 1, called="V − 1")]

    @cached_property
    def folded(self) -> Tensor:
        """Class of every token without regard to case and leading space: same class = same letters otherwise.

        Tensor, (V,), int64: the smallest id of the class.
        """
        first: dict[str, int] = {}
        classes = [first.setdefault(s.lstrip("▁").casefold() or s, i) for i, s in enumerate(self._strings)]
        return torch.tensor(classes)


_shared: WeakValueDictionary[tuple[int, int, int], TokenDecoder] = WeakValueDictionary()


def shared_decoder(weight: Tensor, tokenizer: PreTrainedTokenizerBase, head: Head | None = None) -> TokenDecoder:
    """Return the one decoder of these parts, shared by all who ask for it: spelling out its tokens takes 0.2 s.

    Parameters
    ----------
    weight, tokenizer, head
        As :class:`TokenDecoder`.

    Returns
    -------
    TokenDecoder
    """
    key = (id(weight), id(tokenizer), id(head))
    found = _shared.get(key)
    if found is None:
        found = _shared[key] = TokenDecoder(weight, tokenizer, head)
        found._made_of = (weight, tokenizer, head)  # kept alive, so that their ids stay theirs
    return found


def _readable(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    stored = tokenizer.convert_ids_to_tokens([token_id])[0]
    if not stored:  # the rows of a padded vocabulary, or a gap in the tokenizer's numbering
        return f"<unused {token_id}>"
    if stored.startswith("▁"):  # SentencePiece drops the space of a text's first token
        return escaped(stored)
    text = tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
    assert isinstance(text, str)  # of one list of ids; only several lists give a list
    if "\ufffd" in text:  # part of a character: name the bytes instead
        return _bytes_named(stored)
    return escaped((text or stored).replace(" ", "▁"))


def _bytes_named(stored: str) -> str:
    """Write the bytes of a token: those of SentencePiece are spelled ``<0xE2>``, GPT-2's are letters of an alphabet."""
    if re.fullmatch("<0x[0-9A-Fa-f]{2}>", stored):
        return f"<{stored[3:5].upper()}>"
    if all(c in _BYTES for c in stored):
        return "".join(f"<{_BYTES[c]:02X}>" for c in stored)
    return escaped(stored)


def _byte_alphabet() -> dict[str, int]:
    """Invert GPT-2's printable alphabet: printable Latin-1 stands for itself, the rest is shifted above 255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(shifted)}


_BYTES = _byte_alphabet()
