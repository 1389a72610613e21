"""Text → prompt → tokens → hidden states → one vector.

An :class:`Embedder` is a frozen value: a model without its decoder layer (f̂ in the paper), a tokenizer, a pooling, a
template, and the decoder layer of the backbone, so that what it embeds can be read again.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from tokalign_helpers.basics.checks import check_texts, shown, whole_number
from tokalign_helpers.models.adapters import merge_into
from tokalign_helpers.models.cache import EmbeddingCache
from tokalign_helpers.models.decoding import TokenDecoder, shared_decoder
from tokalign_helpers.models.heads import Head
from tokalign_helpers.models.hub import (
    adapter_folder,
    check_pickles,
    decoder_layer,
    load_body,
    load_tokenizer,
    saved_without_head,
    weights_folder,
)
from tokalign_helpers.models.input_format import SLOT, InputFormat
from tokalign_helpers.models.keys import Describer, NotKeyableError, Plain, digest, evaluating, version_of
from tokalign_helpers.models.pooling import OwnPooler, Pooling, last_token, pooler_output, pooling_name

VERSION = 1  # of the computation in this module; raised whenever any text may get another vector
SPARE = 8  # tokens more than fit beside a prompt by a first count, in which the two do not merge
Item = TypeVar("Item")
Made = TypeVar("Made")
Known = dict[int, tuple[Plain, dict[str, str]]]  # by the id of a model or a tokenizer: its description and libraries


@dataclass(frozen=True)
class Portion:
    """How much work a kind of device is given at a time.

    Parameters
    ----------
    texts : int
        Embedded and cached at a time: bounds the memory, and what an interrupted run can lose.
    tokens : int
        Padded tokens in one forward pass.
    """

    texts: int
    tokens: int


# By the kind of device; a CPU slows down where a batch overflows its caches, a GPU where its units have too little to
# do. The number is fixed, not the memory's share that is free, so that a run again makes the same batches and vectors.
PORTIONS = {"cpu": Portion(texts=1024, tokens=1024), "cuda": Portion(texts=8192, tokens=65_536)}


@dataclass(frozen=True, eq=False)
class Embedder:
    """A text embedder made from a decoder-only LLM.

    Parameters
    ----------
    name : str
        Shown in tables and figures.
    model : PreTrainedModel
        Everything below the decoder layer, final norm included; returns ``last_hidden_state``.
    tokenizer : PreTrainedTokenizerBase
        A fast one (it must give character offsets).
    unembedding : Tensor, (V, d)
        E_g, the decoder layer of the original LLM.
    pooling : Pooling
        See :mod:`tokalign_helpers.models.pooling`; or any callable (b, L, d), (b, L) → (b, d), a module as well.
    input_format : InputFormat
        The prompt, the limits, what is pooled and in which direction the model looks.
    unit_length : bool
        Whether its makers scale each vector to length 1; :meth:`embed` then does as well.
    head : Head, optional
        What the backbone has around that matrix: a bias, an encoder's masked-LM head.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    unembedding: Tensor
    pooling: Pooling = last_token
    input_format: InputFormat = InputFormat()
    unit_length: bool = False
    head: Head | None = None

    def __post_init__(self) -> None:
        if not callable(self.pooling):
            raise ValueError(f"pooling is {self.pooling!r}; give a function, such as tokalign_helpers.mean")
        if self.pooling is pooler_output:
            object.__setattr__(self, "pooling", OwnPooler(self.model))
        if not isinstance(self.input_format, InputFormat):
            raise TypeError(f"input_format is {self.input_format!r}; give InputFormat(template=...)")
        if not self.tokenizer.is_fast:
            raise ValueError(f"the tokenizer of {self.name!r} gives no character offsets; load its fast version")
        if self.input_format.span == "mask" and (self.tokenizer.mask_token or SLOT) not in "".join(self._template):
            raise ValueError(f"the template {self.template!r} does not hold the tokenizer's mask token")
        for bracket in filter(None, self.input_format.brackets):
            if len(self.tokenizer(bracket, add_special_tokens=False).input_ids) != 1:
                raise ValueError(f"the bracket {bracket!r} is not a single token of {self.name!r}")
        context, asked = self._context, self._overhead
        if context and asked >= context:
            raise ValueError(f"the prompt alone has {asked} tokens; {self.name!r} reads at most {context}")

    def embed(self, texts: Sequence[str], *, cache: bool = True, progress: bool = True) -> Tensor:
        """Embed texts.

        Parameters
        ----------
        texts : Sequence[str], n of them
            A list, a column of a table, an array or an iterator of str.
        cache : bool
            Look the vectors up in the cache on disk first, and keep new ones there: under :meth:`key_parts`, and
            not at all, with a warning, where an embedder cannot be identified.
        progress : bool
            Show a bar when there is more than one batch of work.

        Returns
        -------
        Tensor, (n, d), float32, on the CPU
            Of length 1 where :attr:`unit_length` says so, else as pooled: the scale carries the weights of the tokens.

        Raises
        ------
        TypeError
            If `texts` is not a list of strings (see :func:`~tokalign_helpers.basics.checks.check_texts`).
        ValueError
            If `texts` is empty; or one of them has no tokens, holds half a character, or does not fit beside the
            prompt; or its vector holds NaN or infinity.

        Examples
        --------
        >>> import tokalign_helpers as ta
        >>> embedder = ta.load_embedder("smol-eol")
        >>> embedder.embed(["Parrots eat seeds.", "The sea is calm."]).shape
        torch.Size([2, 576])
        """
        return embed_all({self.name: self}, texts, cache=cache, progress=progress)[self.name]

    def literal_tokens(self, texts: Sequence[str]) -> list[set[int]]:
        """Return T_s of each text: its distinct token ids, without the template and without special tokens.

        It is the set of the text as it is given: where the embedder cuts a text, it also holds tokens that the embedder
        never read and its vector cannot express. To measure only what was read, raise `max_tokens` or cut the texts
        first.

        Parameters
        ----------
        texts : Sequence[str]
            The texts to tokenize.

        Returns
        -------
        list[set[int]]
            Tokens that the decoder layer has no row for could never be aligned; they are left out, with a warning.

        Raises
        ------
        TypeError, ValueError
            As :func:`~tokalign_helpers.basics.checks.check_texts`.

        Examples
        --------
        >>> import tokalign_helpers as ta
        >>> embedder = ta.load_embedder("smol-eol")
        >>> tokens = embedder.literal_tokens(["Parrots eat seeds."])[0]
        >>> sorted(embedder.decoder.token(token) for token in tokens)
        ['.', 'Par', 'rots', '▁eat', '▁seeds']
        """
        special, rows = set(self.tokenizer.all_special_ids), len(self.unembedding)
        found = [set(ids) - special for ids in self._tokenize(check_texts(texts)).input_ids]
        beyond = Counter(token for tokens in found for token in tokens if token >= rows)
        if beyond:
            first = self.tokenizer.convert_ids_to_tokens(next(iter(beyond)))
            warnings.warn(
                f"{len(beyond)} tokens of the texts, such as {first!r}, have no row in the decoder layer of "
                f"{self.name!r} ({rows} rows) and are left out",
                stacklevel=2,
            )
        return [tokens - beyond.keys() for tokens in found] if beyond else found

    def with_template(self, template: str, name: str | None = None) -> "Embedder":
        """Return the same embedder under another prompt.

        Parameters
        ----------
        template : str, with ``{text}`` in it once
            The new prompt; ``{text}`` marks the place of the text.
        name : str, optional
            What to call the new embedder. Default: its present name.

        Returns
        -------
        Embedder
        """
        return replace(self.with_input_format(template=template), name=name or self.name)

    def with_input_format(self, **changes: Any) -> "Embedder":
        """Return the same embedder reading texts another way.

        Parameters
        ----------
        **changes
            Fields of :class:`~tokalign_helpers.models.input_format.InputFormat`, such as ``max_tokens=64``.

        Returns
        -------
        Embedder

        Raises
        ------
        ValueError
            As :class:`~tokalign_helpers.models.input_format.InputFormat`.
        """
        return replace(self, input_format=replace(self.input_format, **changes))

    def with_instruction(self, instruction: str) -> "Embedder":
        """Return the same embedder with an instruction: it is asked for something about the text.

        Parameters
        ----------
        instruction : str
            For the PromptEOL embedders a noun, such as ``topic`` or ``emotion``; for others what their model card says.

        Returns
        -------
        Embedder
            Named ``<name>: <instruction>``.

        Raises
        ------
        ValueError
            If the instruction is blank, this embedder takes none, or the prompt gets longer than the model
            reads.
        """
        if not isinstance(instruction, str) or not instruction.strip():
            raise ValueError(f"the instruction is {instruction!r}; give what to look for, such as 'topic'")
        try:
            asked = self.input_format.asked(instruction.strip())
        except ValueError as error:
            raise ValueError(
                f"{self.name!r} takes no instruction; write a prompt with with_template instead"
            ) from error
        return replace(self, input_format=asked, name=f"{self.name}: {instruction.strip()}")

    def for_queries(self) -> "Embedder":
        """Return the same embedder as it reads search queries; itself, where it reads them as it does documents.

        Returns
        -------
        Embedder
        """
        asking = self.input_format.for_queries
        return self if asking is self.input_format else replace(self, input_format=asking)

    @property
    def template(self) -> str:
        """The prompt; ``{text}`` stands for the text."""
        return self.input_format.template

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text are read at most."""
        return self.input_format.max_tokens

    @property
    def _template(self) -> tuple[str, str]:
        return self.input_format.around

    @cached_property
    def decoder(self) -> TokenDecoder:
        """The backbone's decoder layer, ready to read this embedder's vectors."""
        return shared_decoder(self.unembedding, self.tokenizer, self.head)

    @property
    def dimension(self) -> int:
        """d, the length of an embedding."""
        return self.decoder.dimension

    @property
    def fingerprint(self) -> str:
        """Identifies all that a vector depends on except the text: a hash of :meth:`key_parts`, in hexadecimal."""
        return digest(self.key_parts())

    def key_parts(self) -> dict[str, Plain]:
        """Return what a vector depends on except the text, part by part; the cache uses them as its key.

        Returns
        -------
        dict[str, Plain]
            ``computation`` (:data:`VERSION`), ``libraries``, ``numbers``, ``reading``, ``model``, ``tokenizer``,
            ``pooling``: plain values, the same in every process.

        Raises
        ------
        NotKeyableError
            If one of them cannot be told apart from another, such as a pooling that reads a file.
        """
        return self._key_parts({})

    def _key_parts(self, known: Known) -> dict[str, Plain]:
        """Do so, reusing what is known of models and tokenizers, which several embedders share."""
        told, libraries = {}, {library: version_of(library) for library in ("torch", "transformers", "tokenizers")}
        for part, value, words in (
            ("model", self.model, _model_words),
            ("tokenizer", self.tokenizer, _tokenizer_words),
            ("pooling", self.pooling, _pooling_words),
        ):
            if id(value) not in known:
                known[id(value)] = _in_words(part, value, words)
            told[part] = known[id(value)][0]
            libraries |= known[id(value)][1]
        return {
            "computation": VERSION,
            "libraries": dict(sorted(libraries.items())),
            "numbers": self._numbers(),
            "reading": self._reading(),
            **told,
        }

    def _numbers(self) -> list[Plain]:
        """Describe how the machine counts: another kind of device, or other rounding, gives another sum."""
        device = torch.device(self.model.device).type
        autocast = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else ""
        return [device, torch.get_float32_matmul_precision(), autocast]

    def _reading(self) -> dict[str, Plain]:
        return {**self.input_format.parts(), "context": self._context, "unit length": self.unit_length}

    def _tokenize(self, texts: list[str]) -> BatchEncoding:
        return self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)

    def prompts(self, texts: Sequence[str], *, max_tokens: int | None = None) -> tuple[list[list[int]], int]:
        """Return what the model reads: the token ids of each text in its template, and how many texts were cut.

        Parameters
        ----------
        texts : Sequence[str]
            The texts to tokenize.
        max_tokens : int, optional
            Default: the embedder's own.

        Returns
        -------
        ids : list[list[int]]
        cut : int

        Raises
        ------
        TypeError, ValueError
            As :meth:`embed`; or if `max_tokens` is not a whole number, 1 or more.
        """
        ids, _, cut = self._read(check_texts(texts), max_tokens)
        return ids, cut

    def pooled_spans(self, texts: Sequence[str]) -> list[tuple[int, int]] | None:
        """Return the half-open range of prompt positions that each text is pooled over; None: all positions.

        Parameters
        ----------
        texts : Sequence[str]
            The texts to read.

        Returns
        -------
        list of (int, int), or None

        Raises
        ------
        TypeError, ValueError
            As :meth:`embed`.
        """
        return None if self.input_format.span == "all" else self._read(check_texts(texts))[1]

    def _read(
        self, texts: list[str], max_tokens: int | None = None, positions: Sequence[int] | None = None
    ) -> tuple[list[list[int]], list[tuple[int, int]] | None, int]:
        """Return the prompts' token ids, the spans that are pooled, and how many texts were cut.

        `positions`: where the caller's caller has these texts, for the messages.
        """
        places = range(len(texts)) if positions is None else positions
        most = self.max_tokens if max_tokens is None else whole_number(max_tokens, "max_tokens")
        limit = self._limit(most)
        plain = self._tokenize(texts)
        kept, cut = list(texts), set()
        for i, (text, ids, offsets) in enumerate(zip(texts, plain.input_ids, plain.offset_mapping, strict=True)):
            if not ids:
                raise ValueError(f"texts[{places[i]}] is {shown(text)}, which has no tokens; leave it out")
            if len(ids) > limit:
                kept[i] = text[: offsets[limit - 1][1]] if limit == most else self._fitting(text, offsets, limit)
                cut.add(i)
        prompts, offsets = self._in_template(kept, offsets=self.input_format.span != "all")
        for i in sorted(self._too_long(kept, cut, most) | self._beyond_context(prompts)):
            shorter = self._shortened(texts[i], limit)
            if shorter is None:
                raise ValueError(
                    f"texts[{places[i]}] does not fit: the prompt of {self.name!r} fills the {self._context} tokens "
                    "that the model reads; shorten the template"
                )
            cut.add(i)
            prompts[i] = shorter[0]
            if offsets:
                offsets[i] = shorter[1]
        self._check_rows(prompts, places)
        spans = [self._span(*read) for read in zip(prompts, offsets, strict=True)] if offsets else None
        return [self._bracketed(ids) for ids in prompts], spans, len(cut)

    def _fitting(self, text: str, offsets: Sequence[tuple[int, int]], limit: int) -> str:
        """Cut a text to what the model reads beside the prompt, with which its first tokens may have merged."""
        part = text[: offsets[min(limit + SPARE, len(offsets)) - 1][1]]
        (ids,), (places,) = self._in_template([part], offsets=True)
        context, begin = self._context, len(self._template[0])
        assert context is not None  # a model without a limit reads every text whole
        ends = [stop - begin for _, stop in places if begin < stop <= begin + len(part)]
        over = max(0, len(self._bracketed(ids)) - context)
        return part[: ends[-1 - over]] if over < len(ends) else text[: offsets[limit - 1][1]]

    def _too_long(self, kept: list[str], cut: set[int], limit: int) -> set[int]:
        """Return which of the texts that were cut still have more tokens than they may: those cut in a character."""
        again = sorted(cut)
        if not again:
            return set()
        read = self.tokenizer([kept[i] or " " for i in again], add_special_tokens=False, verbose=False).input_ids
        return {i for i, ids in zip(again, read, strict=True) if len(ids) > limit or not kept[i]}

    def _beyond_context(self, prompts: list[list[int]]) -> set[int]:
        """Return which prompts have more tokens than the model reads: text and template may meet in more than alone."""
        context = self._context
        return {i for i, ids in enumerate(prompts) if context and len(self._bracketed(ids)) > context}

    def _shortened(self, text: str, limit: int) -> tuple[list[int], list[tuple[int, int]]] | None:
        """Cut a text at ever earlier characters until it fits; if even the first is too long, between its tokens.

        None where the prompt leaves no room for a single token.
        """
        all_ends = [end for _, end in self._tokenize([text]).offset_mapping[0]]
        ends = sorted(set(all_ends[:limit]) - {0}, reverse=True) or [next(end for end in all_ends if end)]
        for end in ends:
            part = text[:end]
            (ids,), (offsets,) = self._in_template([part], offsets=True)
            alone = len(self.tokenizer(part, add_special_tokens=False, verbose=False).input_ids)
            over = max(0, len(self._bracketed(ids)) - self._context) if self._context else 0
            if alone <= limit and not over:
                return ids, offsets
        begin = len(self._template[0])
        own = [i for i, (_, stop) in enumerate(offsets) if begin < stop <= begin + len(part)]
        keep = min(limit, len(own) - over)
        if keep < 1:
            return None
        lost = set(own[keep:])
        kept = [i for i in range(len(ids)) if i not in lost]
        return [ids[i] for i in kept], [offsets[i] for i in kept]

    def _in_template(self, texts: list[str], *, offsets: bool) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        """Return the token ids of texts in the template and, if asked, which characters of it each token stands for."""
        prefix, suffix = self._template
        written = [prefix + text + suffix for text in texts]
        read = self.tokenizer(written, return_offsets_mapping=offsets, verbose=False)
        front, back = self._doubled
        ids = [row[front : len(row) - back] for row in read.input_ids]
        return ids, [row[front : len(row) - back] for row in read.offset_mapping] if offsets else []

    @cached_property
    def _doubled(self) -> tuple[int, int]:
        """How many tokens the tokenizer adds in front and behind that the template has there already."""
        sample = self.tokenizer("a", return_special_tokens_mask=True)
        own = sample.special_tokens_mask
        front = own.index(0) if 0 in own else 0
        back = own[::-1].index(0) if 0 in own else 0
        before, after = (self.tokenizer(part, add_special_tokens=False).input_ids for part in self._template)
        twice = before[:front] == sample.input_ids[:front], after[len(after) - back :] == sample.input_ids[-back:]
        return front if twice[0] else 0, back if twice[1] else 0

    def _span(self, ids: list[int], offsets: list[tuple[int, int]]) -> tuple[int, int]:
        before, after = self._around(ids)
        start, end = 0, len(before) + len(ids) + len(after)
        begin = len(self._template[0].rstrip(" "))  # the space before a word is the word's
        if self.input_format.span == "mask":
            start = len(before) + len(ids) - 1 - ids[::-1].index(self.tokenizer.mask_token_id)
            end = start + 1
        elif self.input_format.span == "rest":
            start = min(len(before) + self._prompt_length, end - 1)
        elif begin:
            start = len(before) + next(i for i, (_, stop) in enumerate(offsets) if stop > begin)
        return start, end

    @cached_property
    def _prompt_length(self) -> int:
        """How many tokens precede the text when it is empty."""
        prompt = self._template[0]
        if not prompt:
            return 0
        own = self.tokenizer(prompt, return_special_tokens_mask=True).special_tokens_mask
        behind = own[::-1].index(0) if 0 in own else 0
        return len(own) - behind - self._doubled[0]

    def _check_rows(self, prompts: list[list[int]], places: Sequence[int]) -> None:
        """Refuse a token that was added to the tokenizer but not to the model."""
        rows = _input_rows(self.model)
        for place, ids in zip(places, prompts, strict=True):
            if rows and max(ids) >= rows:
                token = self.tokenizer.convert_ids_to_tokens(max(ids))
                raise ValueError(
                    f"the prompt of texts[{place}] holds the token {token!r}, number {max(ids)}, but the model of "
                    f"{self.name!r} has {rows} tokens; load the tokenizer that belongs to it"
                )

    @property
    def _context(self) -> int | None:
        """How many tokens the model reads at most; some encoders keep two of their positions for themselves."""
        places = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        known = [min(places - self._reserved, self.tokenizer.model_max_length)] if places else []
        return min([*known, *filter(None, [self.input_format.max_length])], default=None)

    @cached_property
    def _reserved(self) -> int:
        return _reserved_positions(self.model)

    def _limit(self, max_tokens: int) -> int:
        """How many tokens of a text are read at most."""
        context = self._context
        return min(max_tokens, context - self._overhead) if context else max_tokens

    @property
    def _overhead(self) -> int:
        """Tokens that are not the text's: template, special tokens, brackets.

        The text before the slot and the text after it may form one token where nothing is between, such as two
        quotation marks.
        """
        empty, letter = (len(self._bracketed(ids)) for ids in self._in_template(["", "a"], offsets=False)[0])
        return max(empty, letter - len(self._tokenize(["a"]).input_ids[0]))

    @cached_property
    def _bracket_ids(self) -> tuple[list[int], list[int]]:
        before, after = (
            self.tokenizer(bracket, add_special_tokens=False).input_ids for bracket in self.input_format.brackets
        )
        return before, after

    def _around(self, ids: list[int]) -> tuple[list[int], list[int]]:
        """Return the brackets that a prompt lacks: a special token that is already there is not added again."""
        before, after = self._bracket_ids
        special = set(self.tokenizer.all_special_ids)
        twice = before == ids[:1] and special.issuperset(before), after == ids[-1:] and special.issuperset(after)
        return [] if twice[0] else before, [] if twice[1] else after

    def _bracketed(self, ids: list[int]) -> list[int]:
        if not any(self.input_format.brackets):
            return ids
        before, after = self._around(ids)
        return before + ids + after


def embed_all(
    embedders: Mapping[str, Embedder], texts: Sequence[str], *, cache: bool = True, progress: bool = True
) -> dict[str, Tensor]:
    """Embed texts with several embedders; those that differ only in pooling share one pass through the model.

    A model in training mode is in evaluation mode during the call.

    Parameters
    ----------
    embedders : Mapping[str, Embedder]
        The embedders by name.
    texts : Sequence[str], n of them
        The texts to embed.
    cache, progress
        As :meth:`Embedder.embed`.

    Returns
    -------
    dict[str, Tensor]
        For each name the embeddings, (n, d), float32, on the CPU.

    Raises
    ------
    TypeError, ValueError
        As :meth:`Embedder.embed`.
    """
    texts = check_texts(texts)
    out = {name: torch.empty(len(texts), e.dimension) for name, e in embedders.items()}
    caches = _caches(embedders) if cache else {}
    missing = {name: set(range(len(texts))) for name in embedders}
    for name, store in caches.items():
        missing[name] = set(store.load(texts, out[name]))
    for group in _shared_passes(embedders):
        todo = sorted(set().union(*(missing[name] for name in group)))
        if todo:
            _embed_group({name: embedders[name] for name in group}, texts, todo, out, caches, progress)
    return out


def _caches(embedders: Mapping[str, Embedder]) -> dict[str, EmbeddingCache]:
    """Return the cache of each embedder that can be named; say of the others that nothing is kept."""
    caches: dict[str, EmbeddingCache] = {}
    known: Known = {}
    for name, embedder in embedders.items():
        try:
            caches[name] = EmbeddingCache(digest(embedder._key_parts(known)), embedder.dimension)
        except NotKeyableError as error:
            warnings.warn(f"the vectors of {name!r} are not cached: {error}", stacklevel=4)
    return caches


def _in_words(part: str, value: object, words: Callable) -> tuple[Plain, dict[str, str]]:
    """Return the description of a part of an embedder, and the versions of the libraries that it relies on."""
    describer = Describer()
    try:
        return words(describer, value), describer.libraries
    except (NotKeyableError, RecursionError) as error:
        raise NotKeyableError(f"its {part} cannot be told apart from others ({error})") from error


def _model_words(describer: Describer, model: PreTrainedModel) -> Plain:
    return {"config": describer.of(getattr(model, "config", None)), **describer.network(model, settled=True)}


def _pooling_words(describer: Describer, pooling: Pooling) -> Plain:
    return describer.network(pooling, settled=True) if isinstance(pooling, nn.Module) else describer.of(pooling)


def _tokenizer_words(describer: Describer, tokenizer: PreTrainedTokenizerBase) -> Plain:
    """Describe how texts become tokens. How it cut and padded others before does not matter: here it does neither."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return {
        "class": describer.of(type(tokenizer)),
        "backend": digest(backend.to_str()),
        "special": sorted(tokenizer.all_special_ids),
        "mask": tokenizer.mask_token_id,
        "splits special tokens": bool(getattr(tokenizer, "split_special_tokens", False)),
    }


def load_parts(
    weights: tuple[str | Path, str],
    backbone: tuple[str | Path, str],
    adapters: Sequence[tuple[str | Path, str]] = (),
    *,
    pickles: Sequence[str] = (),
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    four_bit: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Tensor, Head | None]:
    """Load an embedder's body, its tokenizer, and the decoder layer of its backbone.

    Parameters
    ----------
    weights, backbone : tuple[str or Path, str]
        A local folder or a name on the hub, and the revision there.
    adapters : Sequence[tuple[str or Path, str]]
        Merged one after another.
    pickles : Sequence[str]
        Names of pickled files that may be read where there are no safetensors.
    device : str
        Such as ``cpu`` or ``cuda``.
    dtype : torch.dtype
        Of the weights.
    four_bit : bool
        Keep the weights in 4 bits (bitsandbytes, on a GPU only).

    Returns
    -------
    model : PreTrainedModel
        f̂, final norm included, in evaluation mode.
    tokenizer : PreTrainedTokenizerBase
    unembedding : Tensor, (V, d)
        E_g; the model's own token embeddings where the two are the same numbers.
    head : Head or None

    Raises
    ------
    ValueError
        If the backbone is not its backbone, or an adapter does not fit.
    HubError
        If files cannot be fetched, or are pickles that the caller has not named.
    """
    check_pickles([backbone, weights], adapters, pickles)  # the backbone first: its terms may have to be accepted
    folder = weights_folder(*weights, pickles)
    model = load_body(folder, dtype, device, four_bit=four_bit)
    for adapter in adapters:
        model = merge_into(model, adapter_folder(*adapter, pickles))
    tokenizer = load_tokenizer(folder)
    unembedding, head = decoder_layer(*backbone, dtype, device, pickles)
    origin, revision = backbone
    check_backbone(weights[0], model, tokenizer, origin, TokenDecoder(unembedding, tokenizer, head), revision)
    if str(weights[0]) == str(origin) and not adapters and saved_without_head(folder):
        warnings.warn(
            f"{origin} was saved without a decoder layer and is read through its own token embeddings, which its "
            "training may have moved; name the language model that it was made from as backbone",
            stacklevel=4,
        )
    return model, tokenizer, _shared(unembedding, model), head


def _shared(unembedding: Tensor, model: PreTrainedModel) -> Tensor:
    """Return the model's own token embeddings where the decoder layer is the same matrix: one copy in memory."""
    own = model.get_input_embeddings().weight
    assert isinstance(own, Tensor)  # not a module, which the library's types allow as well
    same = own.dtype == unembedding.dtype and own.device == unembedding.device and own.shape == unembedding.shape
    return own.detach() if same and torch.equal(own, unembedding) else unembedding


def check_backbone(
    source: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    backbone: str | Path,
    decoder: TokenDecoder,
    revision: str = "main",
) -> None:
    """Refuse a decoder layer that does not read the model's vectors; warn where the vocabularies differ.

    Parameters
    ----------
    source : str or Path
        Where the model is from.
    model : PreTrainedModel
        The embedder's body.
    tokenizer : PreTrainedTokenizerBase
        The model's own.
    backbone : str or Path
        Where the decoder layer is from.
    decoder : TokenDecoder
        The backbone's decoder layer.
    revision : str
        Of the backbone.

    Raises
    ------
    ValueError
        If the widths differ.
    """
    width = _width(model)
    if decoder.dimension != width:
        raise ValueError(
            f"the decoder layer of {backbone} reads vectors of {decoder.dimension} numbers, "
            f"but {source} makes {width}: {backbone} is not its backbone"
        )
    if str(backbone) != str(source):
        other = load_tokenizer(backbone, revision)
        if tokenizer.get_vocab() != other.get_vocab():
            warnings.warn(f"{source} and its backbone {backbone} have different vocabularies", stacklevel=5)


def _reserved_positions(model: nn.Module) -> int:
    """Return how many positions a model keeps for padding: RoBERTa and its relatives count from behind them."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return module.padding_idx + 1
    return 0


def _input_rows(model: PreTrainedModel) -> int | None:
    """Return for how many tokens a model has an input vector; None where it does not say."""
    try:
        return getattr(model.get_input_embeddings(), "num_embeddings", None)
    except NotImplementedError:
        return None


def _width(model: PreTrainedModel) -> int:
    """Length of the model's output vectors, by asking it: configurations name it in too many ways."""
    ids = torch.zeros(1, 1, dtype=torch.int64, device=model.device)
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False).last_hidden_state.shape[-1]


def _shared_passes(embedders: Mapping[str, Embedder]) -> list[list[str]]:
    groups: dict[tuple, list[str]] = {}
    for name, e in embedders.items():
        groups.setdefault((id(e.model), id(e.tokenizer), e.input_format), []).append(name)
    return list(groups.values())


@dataclass
class _Budget:
    """How many padded tokens go into one forward pass: fewer, once the device's memory has run out."""

    tokens: int

    def take(self, waiting: list[int], prompts: list[list[int]]) -> list[int]:
        """Return the first of the waiting prompts, sorted from the longest on, that fit; at least one."""
        return waiting[: max(1, self.tokens // len(prompts[waiting[0]]))]

    def halve(self, batch: list[int], prompts: list[list[int]]) -> None:
        """Allow less than this batch, which did not fit."""
        size = len(batch) * len(prompts[batch[0]])
        while self.tokens >= size:
            self.tokens //= 2


def _embed_group(
    group: Mapping[str, Embedder],
    texts: list[str],
    todo: list[int],
    out: dict[str, Tensor],
    caches: Mapping[str, EmbeddingCache],
    progress: bool,
) -> None:
    """Embed texts[i] for i in `todo` with embedders that share model and template, chunk after chunk."""
    first = next(iter(group.values()))
    device = first.model.device
    portion = PORTIONS.get(device.type, PORTIONS["cpu"])
    budget = _Budget(portion.tokens)
    chunks = [todo[start : start + portion.texts] for start in range(0, len(todo), portion.texts)]
    cut = 0

    def prepare(chunk: list[int]) -> tuple[list[list[int]], list[tuple[int, int]] | None, int]:
        return first._read([texts[i] for i in chunk], positions=chunk)

    title = f"Embedding with {', '.join(group)}"
    with tqdm(total=len(todo), desc=title, unit="text", disable=not progress or len(todo) < 100) as bar:
        # A GPU need not wait for the tokenizer; on a CPU the two would contend for the same cores.
        for chunk, (prompts, spans, more_cut) in _ahead(prepare, chunks, threaded=device.type == "cuda"):
            cut += more_cut
            rows, pooled = _embed_chunk(group, prompts, spans, budget, bar)
            for name, vectors in pooled.items():
                out[name][[chunk[j] for j in rows]] = vectors
            _check_finite(group, texts, chunk, out)
            for name, store in _caches({name: e for name, e in group.items() if name in caches}).items():
                if store.path == caches[name].path:
                    store.store([texts[i] for i in chunk], out[name][chunk])
                else:  # of which of the two are these vectors?
                    warnings.warn(f"vectors of {name!r} are not cached: it changed while embedding", stacklevel=4)
    if cut:
        among = f"{len(todo)} texts" if len(todo) == len(texts) else f"the {len(todo)} texts that were not in the cache"
        warnings.warn(f"{cut} of {among} are longer than {_limit_told(first)} and were cut to fit", stacklevel=3)


def _limit_told(embedder: Embedder) -> str:
    """Return which limit applies to a text: the embedder's own, or what the prompt leaves of the model's."""
    limit, context = embedder._limit(embedder.max_tokens), embedder._context
    if context is None or limit == embedder.max_tokens:
        return f"{limit} tokens"
    return f"{limit} tokens (the {context} that the model reads, less the {context - limit} of the prompt)"


def _pooled(embedder: Embedder, hidden: Tensor, mask: Tensor) -> Tensor:
    """Pool a batch: (b, d), float32, on the model's device."""
    with torch.inference_mode():  # a module's own weights need no gradient here
        h = embedder.pooling(hidden, mask)
    if h.shape != (len(hidden), embedder.dimension):
        raise ValueError(
            f"the pooling {pooling_name(embedder.pooling)} of {embedder.name!r} made {tuple(h.shape)} of states of the "
            f"shape {tuple(hidden.shape)}; expected {(len(hidden), embedder.dimension)}"
        )
    return nn.functional.normalize(h.float(), dim=1) if embedder.unit_length else h.float()


def _check_finite(group: Mapping[str, Embedder], texts: list[str], rows: list[int], out: Mapping[str, Tensor]) -> None:
    """Refuse vectors with NaN or infinity before they are stored."""
    for name in group:
        bad = (~torch.isfinite(out[name][rows]).all(dim=1)).nonzero().flatten().tolist()
        if bad:
            place = min(rows[i] for i in bad)
            raise ValueError(
                f"{name!r} makes NaN or infinity for texts[{place}], {texts[place][:40]!r}; "
                "load it in float32 or bfloat16, and check its weights and its pooling"
            )


def _ahead(work: Callable[[Item], Made], items: Sequence[Item], *, threaded: bool) -> Iterator[tuple[Item, Made]]:
    """Yield each item with what `work` makes of it; threaded: the next is worked on while this one is used."""
    if not threaded:
        yield from ((item, work(item)) for item in items)
        return
    with ThreadPoolExecutor(1) as worker:
        coming = [worker.submit(work, item) for item in items[:1]]
        for position, item in enumerate(items):
            made = coming.pop().result()
            coming += [worker.submit(work, later) for later in items[position + 1 : position + 2]]
            yield item, made


def _embed_chunk(
    group: Mapping[str, Embedder],
    prompts: list[list[int]],
    spans: list[tuple[int, int]] | None,
    budget: _Budget,
    bar: tqdm,
) -> tuple[list[int], dict[str, Tensor]]:
    """Return in which order the prompts were read, and by name their vectors in that order, on the CPU.

    Prompts of about the same length share a batch, so that little is padded; the longest come first, so that memory
    peaks early. The vectors stay on the device up to the end: one transfer, and no wait between two batches.
    """
    device = next(iter(group.values())).model.device
    order = np.argsort([-len(ids) for ids in prompts], kind="stable").tolist()
    parts: dict[str, list[Tensor]] = {name: [] for name in group}
    done = 0
    while done < len(order):
        batch = budget.take(order[done:], prompts)
        try:
            pooled = _pool(group, [prompts[j] for j in batch], spans and [spans[j] for j in batch])
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise torch.OutOfMemoryError(
                    f"a prompt of {len(prompts[batch[0]])} tokens does not fit into the memory of {device}; "
                    "lower max_tokens, or load the model with dtype=torch.bfloat16"
                ) from error
            budget.halve(batch, prompts)
            continue
        for name, vectors in pooled.items():
            parts[name].append(vectors)
        done += len(batch)
        bar.update(len(batch))
    return order, {name: torch.cat(vectors).cpu() for name, vectors in parts.items()}


def _pool(
    group: Mapping[str, Embedder], prompts: list[list[int]], spans: list[tuple[int, int]] | None
) -> dict[str, Tensor]:
    """Return by name the vectors of one batch, (b, d), float32, on the model's device."""
    first = next(iter(group.values()))
    with torch.no_grad(), evaluating(first.model, *(embedder.pooling for embedder in group.values())):
        hidden, mask = _forward(first.model, prompts, first.input_format.attention)
        if spans:
            mask = keep_spans(mask, spans)
        return {name: _pooled(embedder, hidden, mask) for name, embedder in group.items()}


def pad(prompts: Sequence[list[int]], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Put prompts of different lengths into one batch, padded on the right.

    Parameters
    ----------
    prompts : Sequence[list[int]], b of them
        Token ids.
    device : torch.device or str
        Where the batch is made.

    Returns
    -------
    ids, mask : Tensor, (b, L), int64
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    real = torch.arange(int(lengths.max())) < lengths[:, None]
    both = torch.stack([torch.zeros_like(real, dtype=torch.int64), real.long()])
    both[0][real] = torch.tensor(list(chain.from_iterable(prompts)))
    if torch.device(device).type == "cuda":
        both = both.pin_memory()  # from pageable memory a copy would wait for all that the GPU has to do
    ids, mask = both.to(device, non_blocking=True)
    return ids, mask


def keep_spans(mask: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Keep of a mask only the positions of each text's span.

    Parameters
    ----------
    mask : Tensor, (b, L), padded on the right
        1 for a token, 0 for padding.
    spans : Sequence of (int, int), b of them
        Half-open: the first position is kept, the second is not.

    Returns
    -------
    Tensor, (b, L)
    """
    bounds = torch.tensor(spans, device=mask.device)
    places = torch.arange(mask.shape[1], device=mask.device)
    return mask * ((places >= bounds[:, :1]) & (places < bounds[:, 1:]))


def bidirectional_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a padding mask into an attention mask under which a decoder reads in both directions.

    Parameters
    ----------
    mask : Tensor, (b, L)
        1 for a token, 0 for padding.
    dtype : torch.dtype
        The model's.

    Returns
    -------
    Tensor, (b, 1, L, L)
        0 where a position is seen, the dtype's lowest number where it is padding; it is added to the attention scores.
    """
    hidden = (mask == 0)[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
    return torch.zeros(hidden.shape, dtype=dtype, device=mask.device).masked_fill(hidden, torch.finfo(dtype).min)


def _forward(model: PreTrainedModel, prompts: list[list[int]], attention: str = "causal") -> tuple[Tensor, Tensor]:
    """Return the hidden states (b, L, d), float32, and the mask (b, L) of a batch."""
    ids, mask = pad(prompts, model.device)
    seen = bidirectional_mask(mask, model.dtype) if attention == "full" else mask
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=seen, use_cache=False).last_hidden_state
    return hidden.float(), mask
