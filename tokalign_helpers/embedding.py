"""Text → prompt → tokens → hidden states → one vector.

An :class:`Embedder` is a frozen value: a model without its decoder layer (f̂ in the paper), a tokenizer, a pooling, a
template, and the decoder layer of the backbone, so that what it embeds can be read again.
"""

import hashlib
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tokalign_helpers import pooling as pooling_module
from tokalign_helpers.cache import EmbeddingCache, weights_digest
from tokalign_helpers.decoding import TokenDecoder
from tokalign_helpers.hub import MaskedHead, decoder_layer, load_body, settings_folder, weights_folder
from tokalign_helpers.pooling import Pooling, last_token

EOL = 'This sentence: "{text}" means in one word: "'
SLOT = "{text}"
ASKED = "{instruction}"
EOL_ABOUT = f'This sentence: "{SLOT}" The {ASKED} in one word: "'  # asked after the text, next to the answer
SPANS = ("all", "text", "mask")
ATTENTIONS = ("causal", "full")
CHUNK = 1024  # texts embedded and cached at a time: bounds the memory, and what an interrupted run can lose
BATCH_TOKENS = 1024  # padded tokens in one forward pass: more are slower on a CPU, whose caches they overflow


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
        See :mod:`tokalign_helpers.pooling`.
    template : str
        The prompt; ``{text}`` stands for the text, once. Other braces are ordinary characters.
    max_tokens : int
        A longer text is cut to so many tokens. The template is never cut.
    instruction_format : str
        How this embedder is asked for something: holds ``{instruction}`` and ``{text}``. Empty if it cannot be asked.
    span : str
        Which positions the pooling sees. ``all``; ``text``: those from the text on, not the instruction before it;
        ``mask``: only that of the tokenizer's mask token, which the template holds.
    attention : str
        ``causal``: as the model was built (for an encoder: in both directions). ``full``: every token sees every other.
    brackets : tuple[str, str]
        Tokens set before and after what the model reads, each empty or a single token; a special token that the
        tokenizer sets there itself is not set twice.
    query_template : str
        The prompt of a search query, where it differs from that of a document.
    query_brackets : tuple[str, str]
        The same for the brackets; both empty: as those of a document.
    head : MaskedHead, optional
        What an encoder has around its decoder layer.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    unembedding: Tensor
    pooling: Pooling = last_token
    template: str = SLOT
    max_tokens: int = 512
    instruction_format: str = ""
    span: str = "all"
    attention: str = "causal"
    brackets: tuple[str, str] = ("", "")
    query_template: str = ""
    query_brackets: tuple[str, str] = ("", "")
    head: MaskedHead | None = None

    def __post_init__(self) -> None:
        if self.template.count(SLOT) != 1:
            raise ValueError(f"the template {self.template!r} must contain {SLOT} exactly once")
        if not self.tokenizer.is_fast:
            raise ValueError(f"the tokenizer of {self.name!r} gives no character offsets; load its fast version")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if self.span not in SPANS or self.attention not in ATTENTIONS:
            raise ValueError(f"span is one of {SPANS} and attention of {ATTENTIONS}; got {(self.span, self.attention)}")
        if self.span == "mask" and (self.tokenizer.mask_token or SLOT) not in self.template.replace(SLOT, ""):
            raise ValueError(f"the template {self.template!r} does not hold the tokenizer's mask token")
        for bracket in filter(None, self.brackets):
            if len(self.tokenizer(bracket, add_special_tokens=False).input_ids) != 1:
                raise ValueError(f"the bracket {bracket!r} is not a single token of {self.name!r}")
        context, asked = self._context, self._overhead
        if context and asked >= context:
            raise ValueError(f"the prompt alone has {asked} tokens; {self.name!r} reads at most {context}")

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        pooling: Pooling,
        template: str = SLOT,
        backbone: str | Path | None = None,
        name: str | None = None,
        device: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> "Embedder":
        """Load any decoder-LLM embedder from a local folder or the Hugging Face hub.

        Parameters
        ----------
        path : str or Path
            The embedder's weights.
        pooling, template
            As the embedder was trained; see its model card.
        backbone : str or Path, optional
            The LLM that the embedder was made from, whose decoder layer reads the embeddings. Default: `path` itself,
            for an LLM used as it is (raw or with a prompt).
        name : str, optional
            Default: the last part of `path`.
        device : str, optional
            Default: a GPU if there is one, else the CPU.
        dtype : torch.dtype
            Of the model's weights.

        Returns
        -------
        Embedder

        Raises
        ------
        ValueError
            If the backbone's decoder layer does not fit the embedder's dimension.
        HubError
            If there is no model of that name; the message says what to do.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        folder, origin = weights_folder(path), backbone or path
        model, tokenizer = load_body(folder, dtype, device), AutoTokenizer.from_pretrained(folder)
        unembedding, head = decoder_layer(origin, dtype=dtype, device=device)
        check_backbone(path, model, tokenizer, origin, unembedding)
        return cls(name or Path(path).name, model, tokenizer, unembedding, pooling, template, head=head)

    def embed(self, texts: Sequence[str], *, cache: bool = True, progress: bool = True) -> Tensor:
        """Embed texts.

        Parameters
        ----------
        texts : Sequence[str], n of them
        cache : bool
            Look the vectors up in the cache on disk first, and keep new ones there.
        progress : bool
            Show a bar when there is more than one batch of work.

        Returns
        -------
        Tensor, (n, d), float32, on the CPU
            Not normalised: the scale carries the weights of the tokens.

        Raises
        ------
        TypeError
            If `texts` is one string, or holds something that is not a string.
        ValueError
            If `texts` is empty or one of them has no tokens.
        """
        return embed_all({self.name: self}, texts, cache=cache, progress=progress)[self.name]

    def literal_tokens(self, texts: Sequence[str]) -> list[set[int]]:
        """Return T_s of each text: its distinct token ids, without the template and without special tokens.

        Parameters
        ----------
        texts : Sequence[str]

        Returns
        -------
        list[set[int]]
        """
        special = set(self.tokenizer.all_special_ids)
        return [set(ids) - special for ids in self._tokenize(check_texts(texts)).input_ids]

    def with_template(self, template: str, name: str | None = None) -> "Embedder":
        """Return the same embedder under another prompt.

        Parameters
        ----------
        template : str, with ``{text}`` in it once
        name : str, optional

        Returns
        -------
        Embedder
        """
        return replace(self, template=template, name=name or self.name)

    def with_instruction(self, instruction: str) -> "Embedder":
        """Return the same embedder asked for something about the text.

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
            If the instruction is blank, this embedder has no place for one, or the prompt gets longer than the model
            reads.
        """
        if not isinstance(instruction, str) or not instruction.strip():
            raise ValueError(f"the instruction is {instruction!r}; say what to look for, such as 'topic'")
        if ASKED not in self.instruction_format:
            raise ValueError(
                f"{self.name!r} has no place for an instruction; write a prompt with with_template instead"
            )
        filled = self.instruction_format.replace(ASKED, instruction.strip().replace(SLOT, "text"))
        return self.with_template(filled, f"{self.name}: {instruction.strip()}")

    def for_queries(self) -> "Embedder":
        """Return the same embedder as it reads search queries; itself, where it reads them as it does documents.

        Returns
        -------
        Embedder
        """
        if not self.query_template and not any(self.query_brackets):
            return self
        brackets = self.query_brackets if any(self.query_brackets) else self.brackets
        return replace(self, template=self.query_template or self.template, brackets=brackets)

    @cached_property
    def decoder(self) -> TokenDecoder:
        """The backbone's decoder layer, ready to read this embedder's vectors."""
        return TokenDecoder(self.unembedding, self.tokenizer, self.head)

    @property
    def dimension(self) -> int:
        """d, the length of an embedding."""
        return self.unembedding.shape[1]

    @property
    def fingerprint(self) -> str:
        """Names all that a vector depends on but the text: weights, tokenizer, code, pooling, template, truncation."""
        digest = hashlib.sha256(weights_digest(self.model).encode())
        digest.update(self.tokenizer.backend_tokenizer.to_str().encode())
        for module in (inspect.getmodule(embed_all), pooling_module):
            digest.update(Path(module.__file__).read_bytes())
        code = getattr(self.pooling, "__code__", None)
        digest.update(f"{self.pooling.__qualname__}{code and (code.co_code, code.co_consts)}".encode())
        digest.update(repr((self.template, self.max_tokens, self.span, self.attention, self.brackets)).encode())
        return digest.hexdigest()[:32]

    def _tokenize(self, texts: list[str]) -> "object":
        return self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)

    def prompts(self, texts: Sequence[str], *, max_tokens: int | None = None) -> tuple[list[list[int]], int]:
        """Return what the model reads: the token ids of each text in its template, and how many texts were cut.

        Parameters
        ----------
        texts : Sequence[str]
        max_tokens : int, optional
            Default: the embedder's own.

        Returns
        -------
        ids : list[list[int]]
        cut : int

        Raises
        ------
        ValueError
            If a text has no tokens.
        """
        written, cut = self._written(texts, max_tokens or self.max_tokens)
        return [self._bracketed(ids) for ids in self.tokenizer(written, verbose=False).input_ids], cut

    def pooled_spans(self, texts: Sequence[str]) -> list[tuple[int, int]] | None:
        """Return from which to before which position of its prompt each text is pooled; None: all of them.

        Parameters
        ----------
        texts : Sequence[str]

        Returns
        -------
        list of (int, int), or None
        """
        if self.span == "all":
            return None
        written, _ = self._written(texts, self.max_tokens)
        read = self.tokenizer(written, return_offsets_mapping=True, verbose=False)
        begin, spans = len(self.template.split(SLOT)[0].rstrip(" ")), []  # the space before a word is the word's
        for ids, offsets in zip(read.input_ids, read.offset_mapping, strict=True):
            before, after = self._around(ids)
            start, end = 0, len(before) + len(ids) + len(after)
            if self.span == "mask":
                start = len(before) + len(ids) - 1 - ids[::-1].index(self.tokenizer.mask_token_id)
                end = start + 1
            elif begin:
                start = len(before) + next(i for i, (_, stop) in enumerate(offsets) if stop > begin)
            spans.append((start, end))
        return spans

    @property
    def _context(self) -> int | None:
        """How many tokens the model reads at most; some encoders keep two of their positions for themselves."""
        places = getattr(self.model.config, "max_position_embeddings", None)
        return min(places, self.tokenizer.model_max_length) if places else None

    @property
    def _overhead(self) -> int:
        """Tokens that are not the text's: template, special tokens, brackets."""
        return len(self._bracketed(self.tokenizer(self.template.replace(SLOT, "")).input_ids))

    @cached_property
    def _bracket_ids(self) -> tuple[list[int], list[int]]:
        before, after = (self.tokenizer(bracket, add_special_tokens=False).input_ids for bracket in self.brackets)
        return before, after

    def _around(self, ids: list[int]) -> tuple[list[int], list[int]]:
        """Return the brackets that a prompt lacks: a special token that stands there already is not set again."""
        before, after = self._bracket_ids
        special = set(self.tokenizer.all_special_ids)
        twice = before == ids[:1] and special.issuperset(before), after == ids[-1:] and special.issuperset(after)
        return [] if twice[0] else before, [] if twice[1] else after

    def _bracketed(self, ids: list[int]) -> list[int]:
        if not any(self.brackets):
            return ids
        before, after = self._around(ids)
        return before + ids + after

    def _written(self, texts: Sequence[str], limit: int) -> tuple[list[str], int]:
        """Put each text, cut to the limit, into the template; say how many were cut."""
        context = self._context
        limit = min(limit, context - self._overhead) if context else limit
        prefix, suffix = self.template.split(SLOT)
        plain = self._tokenize(list(texts))
        cut = 0
        prompts = []
        for position, (text, ids, offsets) in enumerate(zip(texts, plain.input_ids, plain.offset_mapping, strict=True)):
            if not ids:
                raise ValueError(f"texts[{position}] is {text!r}, which has no tokens")
            if len(ids) > limit:
                text = text[: offsets[limit - 1][1]]
                cut += 1
            prompts.append(prefix + text + suffix)
        return prompts, cut


def embed_all(
    embedders: Mapping[str, Embedder], texts: Sequence[str], *, cache: bool = True, progress: bool = True
) -> dict[str, Tensor]:
    """Embed texts with several embedders; those that differ only in pooling share one pass through the model.

    Parameters
    ----------
    embedders : Mapping[str, Embedder]
    texts : Sequence[str], n of them
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
    caches = {name: EmbeddingCache(e.fingerprint, e.dimension) for name, e in embedders.items()} if cache else {}
    missing = {name: set(range(len(texts))) for name in embedders}
    for name, store in caches.items():
        missing[name] = set(store.load(texts, out[name]))
    for group in _shared_passes(embedders):
        todo = sorted(set().union(*(missing[name] for name in group)))
        if todo:
            _embed_group({name: embedders[name] for name in group}, texts, todo, out, caches, progress)
    return out


def check_texts(texts: Sequence[str]) -> list[str]:
    """Refuse what is not a non-empty sequence of non-blank strings, naming the culprit.

    Parameters
    ----------
    texts : Sequence[str]

    Returns
    -------
    list[str]

    Raises
    ------
    TypeError
        If `texts` is one string, or holds something that is not a string.
    ValueError
        If `texts` is empty or one of them is blank.
    """
    if isinstance(texts, str):
        raise TypeError(f"texts is one string; put it in a list: [{texts[:30]!r}]")
    texts = list(texts)
    if not texts:
        raise ValueError("texts is empty; give at least one text")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{position}] is {text!r}; every text must be a str")
        if not text.strip():
            raise ValueError(f"texts[{position}] is {text!r}, which has no tokens; leave blank texts out")
    return texts


def load_llm(
    path: str | Path, *, device: str | None = None, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Tensor]:
    """Load an LLM and take it apart: the body f, the tokenizer, the decoder layer's matrix E_g.

    Parameters
    ----------
    path : str or Path
        A local folder, or a name on the Hugging Face hub. Code from there is never run.
    device : str, optional
        Default: a GPU if there is one, else the CPU.
    dtype : torch.dtype

    Returns
    -------
    model : PreTrainedModel
        f, final norm included, in evaluation mode.
    tokenizer : PreTrainedTokenizerBase
    unembedding : Tensor, (V, d)
    """
    tokenizer = AutoTokenizer.from_pretrained(path)
    llm = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    llm.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    llm.requires_grad_(False)
    return llm.base_model, tokenizer, llm.get_output_embeddings().weight


def check_backbone(
    source: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    backbone: str | Path,
    unembedding: Tensor,
    revision: str = "main",
) -> None:
    """Refuse a decoder layer that does not read the model's vectors; warn where the vocabularies differ.

    Parameters
    ----------
    source : str or Path
        Where the model is from.
    model : PreTrainedModel
    tokenizer : PreTrainedTokenizerBase
    backbone : str or Path
        Where the decoder layer is from.
    unembedding : Tensor, (V, d)
    revision : str
        Of the backbone.

    Raises
    ------
    ValueError
        If the widths differ.
    """
    width = _width(model, unembedding)
    if unembedding.shape[1] != width:
        raise ValueError(
            f"the decoder layer of {backbone} reads vectors of {unembedding.shape[1]} numbers, "
            f"but {source} makes {width}: {backbone} is not its backbone"
        )
    if str(backbone) != str(source):
        other = AutoTokenizer.from_pretrained(settings_folder(backbone, revision))
        if tokenizer.get_vocab() != other.get_vocab():
            warnings.warn(f"{source} and its backbone {backbone} have different vocabularies", stacklevel=3)


def _width(model: PreTrainedModel, unembedding: Tensor) -> int:
    """Length of the model's output vectors, by asking it: configurations name it in too many ways."""
    ids = torch.zeros(1, 1, dtype=torch.int64, device=unembedding.device)
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False).last_hidden_state.shape[-1]


def _shared_passes(embedders: Mapping[str, Embedder]) -> list[list[str]]:
    groups: dict[tuple, list[str]] = {}
    for name, e in embedders.items():
        how = (id(e.model), id(e.tokenizer), e.template, e.max_tokens, e.span, e.attention, e.brackets)
        groups.setdefault(how, []).append(name)
    return list(groups.values())


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
    cut = 0
    title = f"Embedding with {', '.join(group)}"
    with tqdm(total=len(todo), desc=title, unit="text", disable=not progress or len(todo) < 100) as bar:
        for start in range(0, len(todo), CHUNK):
            chunk = todo[start : start + CHUNK]
            prompts, more_cut = first.prompts([texts[i] for i in chunk])
            spans = first.pooled_spans([texts[i] for i in chunk])
            cut += more_cut
            for batch in _batches(prompts):
                hidden, mask = _forward(first.model, [prompts[j] for j in batch], first.attention)
                if spans:
                    mask = within(mask, [spans[j] for j in batch])
                rows = [chunk[j] for j in batch]
                for name, embedder in group.items():
                    out[name][rows] = embedder.pooling(hidden, mask).float().cpu()
                bar.update(len(batch))
            for name, store in caches.items():
                if name in group:
                    store.store([texts[i] for i in chunk], out[name][chunk])
    if cut:
        warnings.warn(
            f"{cut} of {len(todo)} texts are longer than {first.max_tokens} tokens and were cut to that length",
            stacklevel=3,
        )


def _batches(prompts: list[list[int]]) -> Iterator[list[int]]:
    """Group texts of about the same length, so that little is padded; the longest first, so that memory peaks early."""
    order = np.argsort([-len(ids) for ids in prompts], kind="stable").tolist()
    while order:
        size = max(1, BATCH_TOKENS // len(prompts[order[0]]))
        yield order[:size]
        del order[:size]


def pad(prompts: Sequence[list[int]], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Put prompts of different lengths into one batch, padded on the right.

    Parameters
    ----------
    prompts : Sequence[list[int]], b of them
    device : torch.device or str

    Returns
    -------
    ids, mask : Tensor, (b, L), int64
    """
    length = max(map(len, prompts))
    ids = torch.zeros(len(prompts), length, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
        mask[row, : len(prompt)] = 1
    return ids.to(device), mask.to(device)


def within(mask: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Keep of a mask only the positions of each text's span.

    Parameters
    ----------
    mask : Tensor, (b, L), padded on the right
    spans : Sequence of (int, int), b of them
        From the first position on, up to before the second.

    Returns
    -------
    Tensor, (b, L)
    """
    bounds = torch.tensor(spans, device=mask.device)
    places = torch.arange(mask.shape[1], device=mask.device)
    return mask * ((places >= bounds[:, :1]) & (places < bounds[:, 1:]))


def see_everything(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a padding mask into an attention mask under which a decoder reads in both directions.

    Parameters
    ----------
    mask : Tensor, (b, L)
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
    seen = see_everything(mask, model.dtype) if attention == "full" else mask
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=seen, use_cache=False).last_hidden_state
    return hidden.float(), mask
