"""Our sparse vectors in the ``SparseEncoder`` of sentence-transformers: its evaluators and search engines work on them.

Needs the extra ``interop``: in a checkout, ``pip install -e '.[interop]'``. Nothing else in the package needs it.

An encoder made here is saved and loaded as any other, and MTEB takes it for what it is, a sparse encoder (the extra
``mteb``; ``tests/unit/test_mteb.py`` has a task made of a collection of one's own)::

    encoder = sparse_encoder(ta.load_embedder("smol-eol"), weights="log")
    print(mteb.evaluate(encoder, mteb.get_task("NFCorpus")).to_dataframe())

MTEB's nDCG@10 is that of :func:`~tokalign_helpers.retrieval.evaluation.evaluate_run`, except where a query shares
tokens with fewer than ten documents: MTEB then ranks documents with a score of 0 as well; our index leaves them out.

An encoder's one module is :class:`AlignedTokens` and not a chain of stock ones, which could do the documents of the
paper's recipe only: they have no place for words after the text (``means in one word:``), for a query's literal tokens
beside its aligned ones, or for a logarithm and a length after the cut. So the vectors are those of this package;
nothing is approximated.
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy import sparse
from sentence_transformers import SparseEncoder
from sentence_transformers.models import Module
from sentence_transformers.sparse_encoder.model_card import SparseEncoderModelCardData
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokalign_helpers.basics.checks import one_line, shown
from tokalign_helpers.basics.files import replacing, write_text
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.models.heads import Head
from tokalign_helpers.models.hub import load_body, load_tokenizer, move_to
from tokalign_helpers.models.input_format import InputFormat
from tokalign_helpers.models.keys import NotKeyableError, describe, digest
from tokalign_helpers.models.published import POOLINGS
from tokalign_helpers.retrieval.recipe import SparseRecipe
from tokalign_helpers.retrieval.sparse import sparsify_documents, sparsify_queries

KIND = "tokalign sparse encoder, 1"
CONFIG, TENSORS, RECIPE, BACKBONE = "config.json", "decoder.safetensors", "recipe.safetensors", "backbone"
CUT = ("k", "m", "weights", "importance")  # what the vectors depend on besides the embedder; or, with a recipe:
CUT_BY_RECIPE = tuple(field.name for field in fields(SparseRecipe) if field.name != "decoder")


class _Features(TypedDict, total=False):
    """What one module of sentence-transformers leaves to the next."""

    texts: list[str]
    prompt: str
    sentence_embedding: Tensor


class AlignedTokens(Module):
    """Texts in, sparse vectors out; the work is done by the package's own functions.

    Made by :func:`sparse_encoder`, by :func:`recipe_encoder`, and by sentence-transformers when it loads a saved one.

    Parameters
    ----------
    embedder : Embedder
    k, m, weights, importance
        As :func:`sparse_encoder`; not read where there is a recipe.
    recipe : SparseRecipe, optional
        Default: the paper's recipe.
    """

    forward_kwargs = {"task"}  # noqa: RUF012 — what sentence-transformers reads: is this a query?

    def __init__(
        self,
        embedder: Embedder,
        k: int = 1000,
        m: int = 100,
        weights: str = "raw",
        importance: np.ndarray | None = None,
        recipe: SparseRecipe | None = None,
    ) -> None:
        super().__init__()
        self.embedder, self.recipe = embedder, recipe
        self.k, self.m, self.weights, self.importance = k, m, weights, importance
        self._card: SparseEncoderModelCardData | None = None

    @property
    def max_seq_length(self) -> int:
        """How many tokens of a text are read at most."""
        return self.embedder.max_tokens

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self.embedder = self.embedder.with_input_format(max_tokens=value)
        self._identify()

    def on_model_ready(self, model: SparseEncoder) -> None:
        """Name the encoder after its embedder; sentence-transformers calls this, from version 6 on.

        MTEB keeps results by name and revision; without them it takes every encoder for the same one, and reports the
        score of an earlier one. An encoder from the hub has both already, and a name that was given stays.

        Parameters
        ----------
        model : SparseEncoder
        """
        card = model.model_card_data
        if not card.base_model:
            card.model_name = card.model_name or "tokalign/" + re.sub(r"[^\w.-]+", "-", self.embedder.name)
            self._card = card
            self._identify()

    def _identify(self) -> None:
        if self._card is not None:
            self._card.base_model_revision = self._revision()

    def _revision(self) -> str:
        """Return a hash of all that the vectors depend on, except the texts."""
        how = [getattr(self.recipe or self, name) for name in (CUT_BY_RECIPE if self.recipe else CUT)]
        try:
            return digest([self.embedder.key_parts(), describe([self.embedder.unembedding, self.embedder.head, *how])])
        except NotKeyableError:
            return uuid.uuid4().hex  # what cannot be recognised gets no result of another

    def tokenize(self, texts: list[str], *, prompt: str | None = None, **_: object) -> _Features:
        """Pass the texts on; the embedder itself tokenizes them, in its template.

        Parameters
        ----------
        texts : list[str]
        prompt : str, optional
            Set before every text.

        Returns
        -------
        dict
        """
        return {"texts": list(texts), "prompt": prompt or ""}

    preprocess = tokenize  # its name from sentence-transformers 5.3 on

    def forward(self, features: _Features, task: str | None = None, **_: object) -> _Features:
        """Add the vectors: of queries where the task is ``query``, else of documents.

        Parameters
        ----------
        features : dict
            From :meth:`tokenize`.
        task : str, optional

        Returns
        -------
        dict
        """
        texts, prompt, asked = features["texts"], features["prompt"], task == "query"
        embedder = self.embedder.for_queries() if asked else self.embedder
        with torch.inference_mode(False):
            h = embedder.embed([prompt + text for text in texts], cache=False, progress=False)
        vectors = self._queries(texts, h) if asked else self._documents(h)
        features["sentence_embedding"] = torch.from_numpy(vectors.toarray())
        return features

    def _documents(self, h: Tensor) -> sparse.csr_array:
        if self.recipe:
            return self.recipe.documents(h)
        return sparsify_documents(self.embedder.decoder, h, self.k, weights=self.weights)

    def _queries(self, texts: list[str], h: Tensor) -> sparse.csr_array:
        literal = self.embedder.literal_tokens(texts)
        if self.recipe:
            return self.recipe.queries(literal, h)
        return sparsify_queries(self.embedder.decoder, literal, h, self.m, importance=self.importance)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AlignedTokens":
        """Move the embedder to another device; called by `to`, which sees no tensor here: it is no module."""
        here = self.embedder.model.device
        there = fn(torch.empty(0, device=here)).device
        if there != here:
            self.embedder = _moved(self.embedder, there)
            if self.recipe:
                plain = TokenDecoder(self.embedder.unembedding, self.embedder.tokenizer)
                self.recipe = replace(self.recipe, decoder=plain)
        return super()._apply(fn, recurse)

    def get_sentence_embedding_dimension(self) -> int:
        """Return V, the length of a vector.

        Returns
        -------
        int
        """
        return self.embedder.decoder.vocabulary_size

    get_embedding_dimension = get_sentence_embedding_dimension

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The embedder's own."""
        return self.embedder.tokenizer

    def save(self, output_path: str, *_: object, **__: object) -> None:
        """Write the backbone with its adapters merged, the decoder layer, and how texts are read and cut.

        Parameters
        ----------
        output_path : str
            A folder, which sentence-transformers names.

        Raises
        ------
        ValueError
            If the embedder pools by a function of its own, or its decoder layer has further layers before it.
        """
        folder, embedder = Path(output_path), self.embedder
        about: dict[str, object] = {"kind": KIND, "name": embedder.name, "pooling": _named_pooling(embedder)}
        about |= {"input format": embedder.input_format.parts(), "unit length": embedder.unit_length}
        about |= {"k": self.k, "m": self.m, "weights": self.weights, "dtype": str(embedder.unembedding.dtype)[6:]}
        tensors = _decoder_tensors(embedder)
        if self.importance is not None:
            tensors["importance"] = torch.from_numpy(np.ascontiguousarray(self.importance, dtype=np.float32))
        folder.mkdir(parents=True, exist_ok=True)
        embedder.model.save_pretrained(folder / BACKBONE)
        embedder.tokenizer.save_pretrained(folder / BACKBONE)
        with replacing(folder / TENSORS) as partial:
            save_file(tensors, partial)
        if self.recipe:
            self.recipe.save(folder / RECIPE)
        write_text(folder / CONFIG, json.dumps(about, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **given: object) -> "AlignedTokens":
        """Read what :meth:`save` wrote; sentence-transformers calls this.

        Parameters
        ----------
        model_name_or_path : str
            A folder or a name on the hub.
        subfolder : str
        **given
            What sentence-transformers says about the hub: ``token``, ``cache_folder``, ``revision``,
            ``local_files_only``.

        Returns
        -------
        AlignedTokens

        Raises
        ------
        ValueError
            If the files are not those of such an encoder.
        """
        hub = {key: given[key] for key in ("token", "cache_folder", "revision", "local_files_only") if key in given}
        folder = Path(cls.load_dir_path(model_name_or_path, subfolder=subfolder, **hub) or "")
        with one_line(f"{folder} is no sparse encoder that can be read; save it again"):
            about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if about.get("kind") != KIND:
                raise ValueError(f"its kind is {shown(about.get('kind'))}")
            tensors = load_file(folder / TENSORS)
            embedder = _embedder(folder / BACKBONE, about, tensors)
            settings = {name: about[name] for name in ("k", "m", "weights")}
        recipe = SparseRecipe.load(folder / RECIPE, embedder.decoder) if (folder / RECIPE).is_file() else None
        importance = tensors["importance"].numpy() if "importance" in tensors else None
        return cls(embedder, **settings, importance=importance, recipe=recipe)


def sparse_encoder(
    embedder: Embedder, k: int = 1000, m: int = 100, *, weights: str = "raw", importance: np.ndarray | None = None
) -> SparseEncoder:
    """Make a SparseEncoder whose ``encode_document`` and ``encode_query`` give the vectors of the paper's recipe.

    It is saved by ``save_pretrained(folder)`` and loaded by ``SparseEncoder(folder, trust_remote_code=True)``: from
    version 6 on, sentence-transformers asks for that word wherever a module is not its own. No code lies in the folder;
    what runs is this package. For MTEB it has a name, and a revision that changes with whatever changes its vectors; a
    name of your own is ``encoder.model_card_data.model_name``.

    Parameters
    ----------
    embedder : Embedder
        The embedder whose vectors are decoded.
    k : int
        Tokens kept of a document.
    m : int
        Aligned tokens added to a query.
    weights : str
        As :func:`~tokalign_helpers.retrieval.sparse.sparsify_documents`.
    importance : ndarray, (V,), optional
        As :func:`~tokalign_helpers.retrieval.sparse.sparsify_queries`.

    Returns
    -------
    SparseEncoder
        Plain ``encode`` encodes documents.
    """
    return _encoder(AlignedTokens(embedder, k, m, weights, importance))


def recipe_encoder(embedder: Embedder, recipe: SparseRecipe) -> SparseEncoder:
    """Make a SparseEncoder of a fitted recipe; saved and loaded as that of :func:`sparse_encoder`.

    Parameters
    ----------
    embedder : Embedder
        That of the documents to which the recipe was fitted.
    recipe : SparseRecipe

    Returns
    -------
    SparseEncoder
        Plain ``encode`` encodes documents.
    """
    return _encoder(AlignedTokens(embedder, recipe=recipe))


def _encoder(module: AlignedTokens) -> SparseEncoder:
    return SparseEncoder(modules=[module], device=str(module.embedder.model.device), similarity_fn_name="dot")


def _named_pooling(embedder: Embedder) -> str:
    for name, pooling in POOLINGS.items():
        if embedder.pooling is pooling:
            return name
    raise ValueError(
        f"{embedder.name!r} pools by {shown(embedder.pooling)}, which a file cannot hold; only {', '.join(POOLINGS)} "
        "can be saved"
    )


def _token_embeddings(model: PreTrainedModel) -> Tensor:
    return model.get_input_embeddings().get_parameter("weight")


def _shares_token_embeddings(embedder: Embedder) -> bool:
    return embedder.unembedding.data_ptr() == _token_embeddings(embedder.model).data_ptr()


def _moved(embedder: Embedder, device: torch.device) -> Embedder:
    """Return the embedder on another device; its model is moved in place, as PyTorch moves models."""
    shared, head = _shares_token_embeddings(embedder), embedder.head
    model = move_to(embedder.model, device)
    unembedding = _token_embeddings(model).detach() if shared else embedder.unembedding.to(device)
    if head is not None:
        bias, transform = head.bias, head.transform
        head = replace(
            head,
            bias=None if bias is None else bias.to(device),
            transform=None if transform is None else move_to(transform, device),
        )
    return replace(embedder, model=model, unembedding=unembedding, head=head)


def _decoder_tensors(embedder: Embedder) -> dict[str, Tensor]:
    """Return E_g and the bias; nothing for an E_g that the backbone has already, as its own token embeddings."""
    head = embedder.head
    if head is not None and head.transform is not None:
        raise ValueError(f"the decoder layer of {embedder.name!r} has further layers before it; it cannot be saved")
    found: dict[str, Tensor] = {}
    if not _shares_token_embeddings(embedder):
        found["unembedding"] = embedder.unembedding
    if head is not None and head.bias is not None:
        found["bias"] = head.bias
    return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}


def _embedder(folder: Path, about: Mapping, tensors: Mapping[str, Tensor]) -> Embedder:
    """Make the embedder again from its saved parts."""
    dtypes: Mapping[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    model = load_body(folder, dtypes[about["dtype"]])
    form: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in about["input format"].items()
    }
    if unknown := set(form) - {field.name for field in fields(InputFormat)}:
        raise ValueError(f"its input format has the entry {min(unknown)!r}; a newer version wrote it")
    unembedding = tensors["unembedding"] if "unembedding" in tensors else _token_embeddings(model).detach()
    bias = tensors.get("bias")
    return Embedder(
        about["name"],
        model,
        load_tokenizer(folder),
        unembedding,
        POOLINGS[about["pooling"]],
        InputFormat(**form),
        unit_length=about["unit length"],
        head=None if bias is None else Head(unembedding.shape[1], bias),
    )
