"""Sparse vectors as good as the embeddings that they are made of, without training.

The paper's recipe (:func:`~tokalign_helpers.retrieval.sparse.aligned_run`) scores a pair by E_g ĥ as it is. All texts
share most of that: a common part of the embeddings, and directions of E_g that many tokens have in common and that a
dot product over tokens therefore counts many times. The recipe here takes both away before it looks at tokens:

1. *soft whitening*, fitted on the documents, weakens what the embeddings have in common; then each is brought to
   length 1;
2. the **tight frame** Ẽ = E_g (E_gᵀE_g)^(−1/2) scores the tokens. In it (Ẽa)·(Ẽb) = a·b: with all tokens kept, the dot
   product over tokens *is* the cosine, and with K of them it approaches the cosine as K grows;
3. both sides keep their best tokens with a score above 0, as log(1 + scale · score), at length 1;
4. a query adds its literal tokens, weighted by how few documents hold them, at length 1: names and numbers that an
   embedding forgets.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy import sparse
from torch import Tensor

from tokalign_helpers.basics.checks import is_number, one_line, shown, whole_number
from tokalign_helpers.basics.files import replacing
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.reading.explain import tight_map
from tokalign_helpers.reading.postprocessing import Change, whiten
from tokalign_helpers.retrieval.index import Run, SparseIndex, sparse_run
from tokalign_helpers.retrieval.sparse import best_tokens, sparsify_queries, token_importance, unit_rows

KIND = "tokalign sparse recipe, 1"
PROBE = 64  # rows of E_g kept in a saved recipe, to recognise the decoder by
NUMBERS = ("scale", "own")
TENSORS = ("matrix", "offset", "frame", "importance", "probe")


@dataclass(frozen=True, eq=False)
class SparseRecipe:
    """The recipe, fitted to a collection of documents. Make one with :meth:`fit`.

    Parameters
    ----------
    decoder : TokenDecoder
    change : Change
        The soft whitening, fitted on the documents.
    frame : Tensor, (d, d)
        Applied before the decoder layer: :func:`~tokalign_helpers.reading.explain.tight_map`, or the identity.
    importance : ndarray, (V,), float32
        Of a query's literal tokens.
    k : int, from 1 to V
        Tokens kept of a document.
    m : int, from 0 to V
        Aligned tokens of a query.
    scale : float
        Weights are log(1 + scale · score).
    own : float
        How much a query's literal tokens count beside its aligned ones.
    """

    decoder: TokenDecoder
    change: Change
    frame: Tensor
    importance: np.ndarray
    k: int = 1000
    m: int = 1000
    scale: float = 200.0
    own: float = 1.0

    def __post_init__(self) -> None:
        v, d = self.decoder.vocabulary_size, self.decoder.dimension
        whole_number(self.k, "k", 1, v, called="V")
        whole_number(self.m, "m", 0, v, called="V")
        if not (is_number(self.scale) and 0 < self.scale < math.inf):
            raise ValueError(f"scale is {shown(self.scale)}; it must be a finite number above 0")
        if not (is_number(self.own) and 0 <= self.own < math.inf):
            raise ValueError(f"own is {shown(self.own)}; it must be a finite number, 0 or more")
        shapes = {"matrix": (d, d), "offset": (d,), "frame": (d, d), "importance": (v,)}
        found = {"matrix": self.change.matrix, "offset": self.change.offset, "frame": self.frame}
        for name, value in (*found.items(), ("importance", torch.from_numpy(self.importance))):
            if tuple(value.shape) != shapes[name]:
                raise ValueError(f"{name} has the shape {tuple(value.shape)}; this decoder needs {shapes[name]}")
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} holds NaN or Inf; fit the recipe again")

    @classmethod
    def fit(
        cls,
        decoder: TokenDecoder,
        h: Tensor,
        literal: Sequence[set[int]],
        *,
        power: float = 0.25,
        tight: bool = True,
        k: int = 1000,
        m: int = 1000,
        scale: float = 200.0,
        own: float = 1.0,
    ) -> "SparseRecipe":
        """Fit the recipe to documents; it sees no query and no judgement.

        Parameters
        ----------
        decoder : TokenDecoder
            Of the embedder that made h; of a vocabulary smaller than k or m, all tokens are kept.
        h : Tensor, (n, d)
            Embeddings of the documents, or of a sample of them.
        literal : Sequence[set[int]]
            Their literal tokens, from :meth:`Embedder.literal_tokens`.
        power : float, from 0 to 0.5
            Of the whitening; 0 only centres.
        tight : bool
            Whether to score in the tight frame rather than by E_g itself.
        k, m, scale, own
            As :class:`SparseRecipe`.

        Returns
        -------
        SparseRecipe

        Raises
        ------
        ValueError
            If there are not as many sets as embeddings, or as :func:`~tokalign_helpers.reading.postprocessing.whiten`,
            :func:`~tokalign_helpers.reading.explain.tight_map`,
            :func:`~tokalign_helpers.retrieval.sparse.token_importance` and :class:`SparseRecipe`.
        """
        plain, change, v = _linear(decoder), whiten(h, power), decoder.vocabulary_size
        if len(literal) != len(h):
            raise ValueError(f"{len(literal)} sets of literal tokens came with {len(h)} embeddings")
        frame = tight_map(decoder) if tight else torch.eye(decoder.dimension)
        k, m = min(whole_number(k, "k"), v), min(whole_number(m, "m", 0), v)
        return cls(plain, change, frame, token_importance(literal, v), k, m, scale, own)

    def mapped(self, h: Tensor) -> Tensor:
        """Return what the decoder layer reads: the embeddings whitened, at length 1, in the tight frame.

        Parameters
        ----------
        h : Tensor, (n, d)

        Returns
        -------
        Tensor, (n, d)
        """
        return torch.nn.functional.normalize(self.change(h.float()), dim=1) @ self.frame

    def documents(self, h: Tensor) -> sparse.csr_array:
        """Return the sparse vectors of documents.

        Parameters
        ----------
        h : Tensor, (n, d)

        Returns
        -------
        csr_array, (n, V), float32
            At most k tokens a row, of length 1; memory beyond this result does not grow with n.

        Raises
        ------
        ValueError
            As :meth:`TokenDecoder.top_tokens`.
        """
        return self._aligned(h, self.k)

    def queries(self, literal: Sequence[set[int]], h: Tensor) -> sparse.csr_array:
        """Return the sparse vectors of queries: aligned tokens, and literal ones.

        Parameters
        ----------
        literal : Sequence[set[int]], n of them
            From :meth:`Embedder.literal_tokens`.
        h : Tensor, (n, d)

        Returns
        -------
        csr_array, (n, V), float32

        Raises
        ------
        ValueError
            If there are not as many sets as embeddings, a token is not of the vocabulary, or as :meth:`documents`.
        """
        if len(literal) != len(h):
            raise ValueError(f"{len(literal)} sets of literal tokens came with {len(h)} embeddings")
        aligned = (
            self._aligned(h, self.m) if self.m else sparse.csr_array((len(h), len(self.importance)), dtype=np.float32)
        )
        if not self.own:
            return aligned
        named = unit_rows(sparsify_queries(self.decoder, literal, importance=self.importance))
        return sparse.csr_array(aligned + np.float32(self.own) * named)

    def run(
        self, queries: Mapping[str, set[int]], documents: Iterable[str], *, q: Tensor, h: Tensor, k: int = 100
    ) -> Run:
        """Search from end to end, as :func:`~tokalign_helpers.retrieval.sparse.aligned_run` does by the paper's recipe.

        Parameters
        ----------
        queries : Mapping[str, set[int]], n of them
            Name → literal tokens.
        documents : Sequence of str
            Names, in the order of the rows of h.
        q : Tensor, (n, d)
            Embeddings of the queries.
        h : Tensor, (m, d)
        k : int
            How many documents to return for a query.

        Returns
        -------
        Run

        Raises
        ------
        ValueError
            As :meth:`documents`, :meth:`queries` and :class:`SparseIndex`.
        """
        index = SparseIndex.of(documents, self.documents(h))
        return sparse_run(queries, index, q=self.queries(list(queries.values()), q), k=k)

    def save(self, path: str | Path) -> None:
        """Write the recipe to one file in the safetensors format, its settings as JSON in the header.

        Parameters
        ----------
        path : str or Path
            Appears whole or not at all; an older file is replaced.

        Raises
        ------
        OSError
            What the disk refuses.
        """
        tensors = {
            "matrix": self.change.matrix,
            "offset": self.change.offset,
            "frame": self.frame,
            "importance": torch.from_numpy(self.importance),
            "probe": _probe(self.decoder),
        }
        tensors = {name: value.detach().cpu().float().contiguous().clone() for name, value in tensors.items()}
        about = {"kind": KIND, "k": self.k, "m": self.m, "scale": self.scale, "own": self.own}
        about["sha256"] = _digest(tensors)
        with replacing(path) as partial:
            save_file(tensors, partial, {"recipe": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path, decoder: TokenDecoder) -> "SparseRecipe":
        """Read a saved recipe; its vectors are those of the recipe that was saved.

        Parameters
        ----------
        path : str or Path
        decoder : TokenDecoder
            Of the model that the recipe was fitted for.

        Returns
        -------
        SparseRecipe

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is no recipe, was cut short or changed, or is another model's.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there; write it with SparseRecipe.save")
        with one_line(f"{path} is no recipe that can be read; fit and save it again"):
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {}).get("recipe", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — no mapping
            if about.get("kind") != KIND or set(tensors) != set(TENSORS):
                raise ValueError("it holds something else")
            if about.get("sha256") != _digest(tensors):
                raise ValueError("its SHA-256 is another: it was changed")
            settings = {name: whole_number(about.get(name), name, 0) for name in ("k", "m")}
            numbers = {name: float(about[name]) for name in NUMBERS}
        probe = _probe(decoder)
        if tensors["probe"].shape != probe.shape or not torch.allclose(tensors["probe"], probe, rtol=0.02, atol=1e-3):
            raise ValueError(f"{path} was fitted for another model's decoder; load it with that one's")
        change = Change(tensors["matrix"], tensors["offset"])
        importance = tensors["importance"].numpy()
        return cls(_linear(decoder), change, tensors["frame"], importance, k=settings["k"], m=settings["m"], **numbers)

    def _aligned(self, h: Tensor, k: int) -> sparse.csr_array:
        weigh = lambda scores: np.log1p(self.scale * np.maximum(scores, 0))  # noqa: E731
        return unit_rows(best_tokens(self.decoder, h, k, weigh, self.mapped))


def keep_largest(coordinates: Tensor, k: int) -> Tensor:
    """Set all but the k largest coordinates of each row to 0: the largest on either side of 0.

    Parameters
    ----------
    coordinates : Tensor, (n, V)
        Such as the scores of all tokens.
    k : int, from 1 to V

    Returns
    -------
    Tensor, (n, V)

    Raises
    ------
    ValueError
        If the coordinates are not (n, V), or k is out of range.
    """
    if coordinates.ndim != 2:
        raise ValueError(f"the coordinates have the shape {tuple(coordinates.shape)}; expected (n, V)")
    k = whole_number(k, "k", 1, coordinates.shape[1], called="V")
    kept = coordinates.abs().topk(k, dim=1).indices
    return torch.zeros_like(coordinates).scatter(1, kept, coordinates.gather(1, kept))


def _linear(decoder: TokenDecoder) -> TokenDecoder:
    """Return the decoder layer without its bias, which is the same for all texts."""
    if decoder.head is None:
        return decoder
    if decoder.head.transform is not None:
        raise ValueError("the head of an encoder is not linear; this recipe needs a decoder layer that is one matrix")
    return TokenDecoder(decoder.weight, decoder.tokenizer)


def _probe(decoder: TokenDecoder) -> Tensor:
    """Return rows of E_g from all over the vocabulary, (at most `PROBE`, d), float32."""
    rows = torch.linspace(0, decoder.vocabulary_size - 1, min(PROBE, decoder.vocabulary_size)).long()
    return decoder.weight[rows.to(decoder.weight.device)].float().cpu()


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes and numbers."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(f"{name} {tuple(tensors[name].shape)} ".encode())
        found.update(tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()
