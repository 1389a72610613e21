"""Our sparse vectors in the ``SparseEncoder`` of sentence-transformers: its evaluators and search engines work on them.

Needs the extra ``interop``: in a checkout, ``pip install -e '.[interop]'``. Nothing else in the package needs it.
"""

from typing import TypedDict

import numpy as np
from scipy import sparse
from sentence_transformers import SparseEncoder
from sentence_transformers.models import Module, Router
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.retrieval.sparse import sparsify_documents, sparsify_queries, to_torch


class _Features(TypedDict, total=False):
    """What one module of sentence-transformers leaves to the next."""

    texts: list[str]
    sentence_embedding: Tensor


class _Aligned(Module):
    """Texts in, sparse vectors out; the work is done by the package's own functions."""

    def __init__(self, embedder: Embedder, k: int, weights: str) -> None:
        super().__init__()
        self.embedder, self.k, self.weights = embedder, k, weights
        self.max_seq_length = embedder.max_tokens

    def tokenize(self, texts: list[str], **_: object) -> _Features:
        return {"texts": list(texts)}

    preprocess = tokenize  # its name from sentence-transformers 5.3 on

    def forward(self, features: _Features, **_: object) -> _Features:
        embedder, texts = self.embedder, features["texts"]
        h = embedder.embed(texts, cache=False, progress=False)
        features["sentence_embedding"] = to_torch(self.vectors(texts, h)).to_dense()
        return features

    def vectors(self, texts: list[str], h: Tensor) -> sparse.csr_array:
        return sparsify_documents(self.embedder.decoder, h, self.k, weights=self.weights)

    def get_sentence_embedding_dimension(self) -> int:
        return self.embedder.decoder.vocabulary_size

    get_embedding_dimension = get_sentence_embedding_dimension

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.embedder.tokenizer

    def save(self, *_: object, **__: object) -> None:
        raise NotImplementedError("save the embedder's model; this encoder is made again with sparse_encoder")


class _AlignedQuery(_Aligned):
    """Literal tokens and k aligned ones."""

    def __init__(self, embedder: Embedder, m: int, importance: np.ndarray | None) -> None:
        super().__init__(embedder, m, "raw")
        self.importance = importance

    def vectors(self, texts: list[str], h: Tensor) -> sparse.csr_array:
        literal = self.embedder.literal_tokens(texts)
        return sparsify_queries(self.embedder.decoder, literal, h, self.k, importance=self.importance)


def sparse_encoder(
    embedder: Embedder, k: int = 1000, m: int = 100, *, weights: str = "raw", importance: np.ndarray | None = None
) -> SparseEncoder:
    """Make a SparseEncoder whose ``encode_document`` and ``encode_query`` give the vectors of this package.

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
    router = Router.for_query_document(
        query_modules=[_AlignedQuery(embedder, m, importance)],
        document_modules=[_Aligned(embedder, k, weights)],
        default_route="document",
    )
    return SparseEncoder(modules=[router], device="cpu")
