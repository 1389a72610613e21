"""Principal components of embeddings: what changed between an LLM and its embedder, and changing it by hand.

Notation of the paper (section 4): h from the raw LLM, ĥ from the embedder, u_j the j-th right singular vector of the
stacked h, counted from 1. Everything here works on embeddings; nothing needs a model but :func:`sweep`, which reads
the changed ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tokalign_helpers.basics.checks import check_texts, whole_number
from tokalign_helpers.basics.files import replacing
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.reading.alignment import align
from tokalign_helpers.reading.vocabulary import token_kinds

ROWS = 8192  # embeddings in one step of the fit: memory does not grow with n


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Orthonormal directions of embeddings, the one that carries most first.

    Parameters
    ----------
    directions : Tensor, (m, d), float32
        u_1, …, u_m as rows.
    energies : Tensor, (m,), float64
        Squared singular values: the sum of (hᵀu_j)² over the texts.
    total : float
        The sum of ‖h‖² over the texts; the energies of all components add up to it.
    center : Tensor, (d,), float32
        What was subtracted before the fit: zeros, or the mean.
    n : int
        Texts seen.

    Examples
    --------
    >>> import torch
    >>> import tokalign_helpers as ta
    >>> h = torch.tensor([[3.0, 1.0], [5.0, -1.0]])
    >>> components = ta.PrincipalComponents.fit(h)
    >>> components.direction(1)
    tensor([ 0.9981, -0.0621])
    >>> components.adjust(h, amount=-4.0)
    tensor([[-0.9923,  1.2485],
            [ 1.0077, -0.7515]])
    """

    directions: Tensor
    energies: Tensor
    total: float
    center: Tensor
    n: int

    @classmethod
    def fit(
        cls, h: Tensor | Iterable[Tensor], m: int | None = None, *, centered: bool = False
    ) -> "PrincipalComponents":
        """Find the components of embeddings, exactly, for any number of texts.

        The right singular vectors of the (n, d) matrix are the eigenvectors of its (d, d) Gram matrix, which is summed
        up in float64, a few thousand rows at a time.

        Parameters
        ----------
        h : Tensor, (n, d), or an iterable of such chunks
            Embeddings, one row for each text.
        m : int, optional
            How many components. Default: as many as there are.
        centered : bool
            Subtract the mean first. The paper does not: its u_1 is close to the mean itself.

        Returns
        -------
        PrincipalComponents
            The sign of each u_j is the one for which the mean of hᵀu_j is not negative.

        Raises
        ------
        ValueError
            If there is no text, an embedding holds NaN or Inf, or m is not a whole number from 1 to the rank.
        """
        gram, mean, n = _moments(h)
        center = mean if centered else torch.zeros_like(mean)
        if centered:
            gram = gram - n * torch.outer(mean, mean)
        energies, vectors = torch.linalg.eigh(gram)
        energies, vectors = energies.flip(0).clamp(min=0), vectors.flip(1).T
        rank = int((energies > energies[0] * 1e-12).sum()) if energies[0] > 0 else 0
        if rank == 0:
            raise ValueError("the embeddings are all the same; nothing varies")
        m = (
            rank
            if m is None
            else whole_number(m, "the number of components", 1, rank, called=f"the rank of these {n} embeddings")
        )
        vectors, kept = vectors[:m], energies[:m]
        flip = torch.where(vectors @ mean < 0, -1.0, 1.0)
        if centered:  # the mean of hᵀu_j is no guide where the mean was removed: the largest entry is
            largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).squeeze(1)
            flip = torch.where(largest < 0, -1.0, 1.0)
        directions = (vectors * flip.unsqueeze(1)).float()
        return cls(directions, kept, float(energies.sum()), center.float(), n)

    @property
    def shares(self) -> Tensor:
        """Share of the whole energy that each component carries, (m,)."""
        return self.energies / self.total

    def direction(self, j: int) -> Tensor:
        """Return u_j.

        Parameters
        ----------
        j : int, from 1
            The number of the component.

        Returns
        -------
        Tensor, (d,)

        Raises
        ------
        ValueError
            If there is no such component.
        """
        return self.directions[whole_number(j, "j", 1, len(self.directions)) - 1]

    def variation(self, before: Tensor, after: Tensor) -> Tensor:
        """Return v_j, how far the embeddings moved along each component: mean of (ĥ − h)ᵀ u_j (paper, section 4.1).

        Parameters
        ----------
        before, after : Tensor, (n, d)
            Of the same texts, in the same order.

        Returns
        -------
        Tensor, (m,)

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if before.shape != after.shape:
            raise ValueError(f"before is {tuple(before.shape)} and after {tuple(after.shape)}; they must be pairs")
        return (self._checked(after) - self._checked(before)).mean(dim=0) @ self.directions.T

    def contribution(self, h: Tensor, j: int = 1) -> tuple[Tensor, Tensor]:
        """Split embeddings into their part along u_j and the rest; decoded, the two add up to E_g h (section 4.2).

        Parameters
        ----------
        h : Tensor, (n, d)
            Embeddings, one row for each text.
        j : int, from 1
            The number of the component.

        Returns
        -------
        part, rest : Tensor, (n, d)
        """
        u = self.direction(j)
        part = torch.outer(self._checked(h) @ u, u)
        return part, h - part

    def adjust(self, h: Tensor, amount: float, j: int = 1) -> Tensor:
        """Move embeddings along u_j: h + λ u_j (section 4.3).

        Parameters
        ----------
        h : Tensor, (n, d)
            Embeddings, one row for each text.
        amount : float
            λ, in the units of the embeddings.
        j : int, from 1
            The number of the component.

        Returns
        -------
        Tensor, (n, d)

        Raises
        ------
        ValueError
            If λ is not a finite number or the shapes do not fit.
        """
        return move_along(self._checked(h), self.direction(j), amount)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file; it appears whole or not at all.

        Parameters
        ----------
        path : str or Path
            Where to write.
        """
        path = Path(path)
        tensors = {"directions": self.directions, "energies": self.energies, "center": self.center}
        about = {"n": str(self.n), "total": repr(self.total)}
        with replacing(path) as partial:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, about)

    @classmethod
    def load(cls, path: str | Path) -> "PrincipalComponents":
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path : str or Path
            The file to read.

        Returns
        -------
        PrincipalComponents

        Raises
        ------
        ValueError
            If the file is damaged or holds something else.
        """
        try:
            with safe_open(path, "pt") as file:
                kept, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
            return cls(kept["directions"], kept["energies"], float(about["total"]), kept["center"], int(about["n"]))
        except (SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no principal components ({error!r})") from error

    def _checked(self, h: Tensor) -> Tensor:
        if h.ndim != 2 or h.shape[1] != self.directions.shape[1]:
            raise ValueError(
                f"the embeddings have the shape {tuple(h.shape)}; expected (n, {self.directions.shape[1]})"
            )
        return h


def move_along(h: Tensor, direction: Tensor, amount: float) -> Tensor:
    """Return h + λ·direction.

    Parameters
    ----------
    h : Tensor, (n, d)
        Embeddings, one row for each text.
    direction : Tensor, (d,)
        Such as a principal component.
    amount : float
        λ, in the units of h.

    Returns
    -------
    Tensor, (n, d)

    Raises
    ------
    ValueError
        If λ is not a finite number.
    """
    if not np.isfinite(amount):
        raise ValueError(f"the amount λ is {amount}; it must be a finite number")
    return h + float(amount) * direction


def random_directions(d: int, n: int, *, seed: int = 0) -> Tensor:
    """Draw random unit vectors: the control for any claim about a direction.

    Parameters
    ----------
    d, n : int
        The length of the vectors, and how many to draw.
    seed : int
        Seed of the random choice; the same seed gives the same directions.

    Returns
    -------
    Tensor, (n, d)

    Raises
    ------
    ValueError
        If d or n is not such a number.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> u = ta.random_directions(576, 20)
    >>> u.shape, round(float(u[0].norm()), 3)
    (torch.Size([20, 576]), 1.0)
    """
    shape = whole_number(n, "n", 0), whole_number(d, "d")
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def sweep(
    embedder: Embedder, h: Tensor, texts: Sequence[str], direction: Tensor, amounts: Iterable[float], k: int = 10
) -> pd.DataFrame:
    """Read embeddings that were moved along a direction by different amounts.

    Parameters
    ----------
    embedder : Embedder
        Whose decoder layer reads them.
    h : Tensor, (n, d)
        Embeddings before they are moved.
    texts : Sequence[str], n of them
        The texts that were embedded.
    direction : Tensor, (d,)
        Such as a principal component.
    amounts : Iterable[float]
        λ.
    k : int
        Of Hit@K, and of the tokens whose kinds are counted.

    Returns
    -------
    DataFrame, one row for each amount
        ``amount``, ``Hit@K``, ``LAR``, ``GAR`` (by ids, as the paper defines them) and ``content words``, the share of
        content words among the k best tokens.

    Raises
    ------
    TypeError, ValueError
        As :func:`~tokalign_helpers.reading.alignment.align`.
    """
    texts, k = check_texts(texts), whole_number(k, "k")
    content = token_kinds(embedder.decoder) == "content word"
    rows = []
    for amount in amounts:
        alignment = align(embedder, texts, move_along(h, direction, amount), k=k)
        meaningful = float(content[alignment.aligned[:, :k].numpy()].mean())
        rows.append((float(amount), alignment.hit_at(k), alignment.lar, alignment.gar, meaningful))
    return pd.DataFrame(rows, columns=["amount", "Hit@K", "LAR", "GAR", "content words"])


def _moments(h: Tensor | Iterable[Tensor]) -> tuple[Tensor, Tensor, int]:
    """Return Gram matrix (d, d), mean (d,) and number of rows, summed in float64."""
    chunks = h.split(ROWS) if isinstance(h, Tensor) else h
    gram: Tensor | None = None
    total, n = torch.zeros(()), 0
    for chunk in chunks:
        if chunk.ndim != 2 or (gram is not None and chunk.shape[1] != len(gram)):
            raise ValueError(f"embeddings of the shape {tuple(chunk.shape)} are not rows of one (n, d) matrix")
        if not torch.isfinite(chunk).all():
            bad = n + int((~torch.isfinite(chunk)).any(dim=1).nonzero()[0])
            raise ValueError(f"embedding {bad} holds NaN or Inf; it cannot be fitted")
        rows = chunk.double()
        gram = rows.T @ rows if gram is None else gram.addmm_(rows.T, rows)
        total, n = total + rows.sum(0), n + len(rows)
    if gram is None or n == 0:
        raise ValueError("there are no embeddings; give at least one")
    return gram, total / n, n
