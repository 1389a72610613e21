"""Changes of finished embeddings that need no training, each written as one affine map so that they can be compared.

Notation of :mod:`~tokalign_helpers.reading.spectrum`: h an embedding, u_j the principal components, E_g
the decoder layer's matrix. A change is h ↦ Ah + b. Every function here returns one; apply it by calling it. What is
fitted on embeddings needs other embeddings to be judged on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokalign_helpers.basics.checks import check_texts, shown, whole_number
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.reading.spectrum import PrincipalComponents


@dataclass(frozen=True, eq=False)
class Change:
    """An affine map of embeddings.

    Parameters
    ----------
    matrix : Tensor, (d, d), symmetric
        A.
    offset : Tensor, (d,)
        b.
    """

    matrix: Tensor
    offset: Tensor

    def __call__(self, h: Tensor) -> Tensor:
        """Apply the change to every row.

        Parameters
        ----------
        h : Tensor, (n, d)

        Returns
        -------
        Tensor, (n, d)
            In the coordinates of h, so that the decoder layer still reads it.

        Raises
        ------
        ValueError
            If h is not (n, d) with the change's d.
        """
        if h.ndim != 2 or h.shape[1] != len(self.offset):
            raise ValueError(f"the embeddings have the shape {tuple(h.shape)}; expected (n, {len(self.offset)})")
        return h @ self.matrix.T + self.offset

    @property
    def dimensions(self) -> int:
        """How many numbers a changed embedding needs: the rank of A."""
        return int(torch.linalg.matrix_rank(self.matrix.double(), rtol=1e-5))

    def then(self, after: "Change") -> "Change":
        """Return the change that does this one first and `after` next.

        Parameters
        ----------
        after : Change
            The second change.

        Returns
        -------
        Change

        Raises
        ------
        ValueError
            If the two are of embeddings of different widths.
        """
        offset = after(self.offset.unsqueeze(0))[0]
        return Change(after.matrix @ self.matrix, offset)


def no_change(d: int) -> Change:
    """Return the change that leaves everything as it is: what all others are compared with.

    Parameters
    ----------
    d : int
        The length of the embeddings.

    Returns
    -------
    Change
    """
    return Change(torch.eye(d), torch.zeros(d))


def shift_first(h: Tensor) -> Change:
    """Move all embeddings by the same λ u_1, with λ = −mean of hᵀu_1 (notebook 03; paper, section 4.3).

    Parameters
    ----------
    h : Tensor, (n, d)
        What u_1 and λ are found on.

    Returns
    -------
    Change
    """
    u = PrincipalComponents.fit(h, 1).direction(1)
    return Change(torch.eye(h.shape[1]), -(h @ u).mean() * u)


def remove_top(h: Tensor, n: int, *, centered: bool = True) -> Change:
    """Subtract the mean, if asked, and remove each embedding's own part along u_1, …, u_n.

    With a mean and n > 0 this is "all-but-the-top" (Mu and Viswanath 2018); with a mean and n = 0 it is centring;
    without a mean and n = 1 every text gets a λ of its own, −hᵀu_1.

    Parameters
    ----------
    h : Tensor, (m, d)
        What mean and directions are found on.
    n : int, from 0
        How many directions to remove.
    centered : bool
        Subtract the mean first, also before the directions are found.

    Returns
    -------
    Change

    Raises
    ------
    ValueError
        If n is negative, or more than the components that there are.
    """
    n = whole_number(n, "n", 0)
    matrix = torch.eye(h.shape[1])
    if n:
        top = PrincipalComponents.fit(h, n, centered=centered).directions
        matrix = matrix - top.T @ top
    mean = h.double().mean(dim=0).float() if centered else torch.zeros(h.shape[1])
    return Change(matrix, -(matrix @ mean))


def whiten(h: Tensor, power: float = 0.5) -> Change:
    """Subtract the mean and weaken each direction by its variance: A = Σ^(−power).

    The covariance Σ is shrunk towards a multiple of the identity as Ledoit and Wolf (2004) do: a few hundred texts
    cannot tell the variances of several hundred directions.

    Parameters
    ----------
    h : Tensor, (n, d)
        What mean and covariance are found on.
    power : float, from 0 to 0.5
        0.5 makes all variances 1 (whitening); less is "soft"; 0 is centring.

    Returns
    -------
    Change

    Raises
    ------
    ValueError
        If the power is out of range, h is not (n, d) with n > 0, an embedding holds NaN or Inf, or all are the same.
    """
    if not 0 <= power <= 0.5:
        raise ValueError(f"the power is {power}; it must be from 0 (centring) to 0.5 (whitening)")
    if not isinstance(h, Tensor) or h.ndim != 2 or not len(h):
        raise ValueError(f"whitening needs a tensor of embeddings, (n, d) with n > 0; got {shown(h)}")
    if not torch.isfinite(h).all():
        raise ValueError("an embedding holds NaN or Inf; it cannot be whitened")
    mean = sum(part.double().sum(dim=0) for part in h.detach().cpu().split(8192)) / len(h)
    variances, directions = torch.linalg.eigh(_shrunk_covariance(h, mean))
    if not variances[0] > 0:
        raise ValueError("the embeddings are all the same; there is no variance to whiten")
    matrix = (directions * variances**-power) @ directions.T
    return Change(matrix.float(), -(matrix @ mean).float())


def spectrum_basis(weight: Tensor, share: float) -> Tensor:
    """Return the middle of the spectrum of E_g: its right singular vectors, as many left out at either end.

    Parameters
    ----------
    weight : Tensor, (V, d)
        E_g.
    share : float, above 0, up to 1
        Of the d directions, how many to keep.

    Returns
    -------
    Tensor, (d, kept), float32
        Orthonormal columns, from the largest singular value to the smallest. ``h @ basis`` is the short embedding.

    Raises
    ------
    ValueError
        If the share is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share is {share}; it must be above 0 and at most 1")
    _, vectors = torch.linalg.eigh(gram_matrix(weight))
    d = len(vectors)
    kept = max(1, round(share * d))
    start = (d - kept) // 2
    return vectors.flip(1)[:, start : start + kept].float()


def embed_filter(weight: Tensor, share: float) -> Change:
    """Project embeddings on the middle of the spectrum of E_g (EmbedFilter, Wu et al. 2026). Sees no text.

    Parameters
    ----------
    weight : Tensor, (V, d)
        E_g.
    share : float, above 0, up to 1
        Of the d directions, how many to keep.

    Returns
    -------
    Change
        Cosines are those of the short embeddings ``h @ spectrum_basis(weight, share)``.
    """
    basis = spectrum_basis(weight, share)
    return Change(basis @ basis.T, torch.zeros(len(basis)))


def frequency_direction(weight: Tensor, counts: Tensor) -> Tensor:
    """Return the direction w that best writes how frequent tokens are: least squares of log count on E_g w + c.

    Parameters
    ----------
    weight : Tensor, (V, d)
        E_g.
    counts : Tensor, (V,)
        How often each token occurs, from :func:`token_counts`. Tokens with 0 are left out.

    Returns
    -------
    Tensor, (d,), float32
        Of length 1. Moving an embedding along it raises the scores of frequent tokens.

    Raises
    ------
    ValueError
        If there is no count for every token, or fewer tokens occur than E_g has columns.
    """
    if counts.shape != weight.shape[:1]:
        raise ValueError(f"{tuple(counts.shape)} counts for {len(weight)} tokens")
    seen = counts > 0
    if int(seen.sum()) <= weight.shape[1]:
        raise ValueError(f"only {int(seen.sum())} tokens occur; a fit of {weight.shape[1]} numbers needs more")
    rows, target = weight[seen].detach().cpu().double(), counts[seen].double().log()
    fitted = torch.linalg.lstsq(rows - rows.mean(dim=0), (target - target.mean()).unsqueeze(1)).solution[:, 0]
    return torch.nn.functional.normalize(fitted, dim=0).float()


def token_counts(embedder: Embedder, texts: Sequence[str]) -> Tensor:
    """Count how often each token occurs in texts.

    Parameters
    ----------
    embedder : Embedder
        Whose tokenizer cuts them.
    texts : Sequence[str]
        The texts to count in.

    Returns
    -------
    Tensor, (V,), int64
        Tokens that the decoder layer has no row for are not counted.

    Raises
    ------
    TypeError, ValueError
        As :func:`~tokalign_helpers.basics.checks.check_texts`.
    """
    ids = embedder.tokenizer(check_texts(texts), add_special_tokens=False, verbose=False).input_ids
    rows = embedder.decoder.vocabulary_size
    found = [token for row in ids for token in row if token < rows]
    return torch.bincount(torch.tensor(found, dtype=torch.int64), minlength=rows)


def gram_matrix(weight: Tensor) -> Tensor:
    """Return E_gᵀE_g, added up a part of the rows at a time; its eigenvectors are the right singular vectors of E_g.

    Parameters
    ----------
    weight : Tensor, (V, d)
        E_g.

    Returns
    -------
    Tensor, (d, d), float64
    """
    return sum(rows.T @ rows for rows in (part.double() for part in weight.detach().cpu().split(8192)))


def _shrunk_covariance(h: Tensor, mean: Tensor) -> Tensor:
    """Return the covariance as Ledoit and Wolf shrink it, (d, d), float64; h is read a part of its rows at a time."""
    n, d = h.shape
    products, fourth = torch.zeros(d, d, dtype=torch.float64), 0.0
    for part in h.detach().cpu().split(8192):
        rows = part.double() - mean
        products += rows.T @ rows
        fourth += float((rows.square().sum(dim=1) ** 2).sum())
    covariance = products / n
    target = float(covariance.trace()) / d
    spread = float(covariance.square().sum()) - d * target**2  # the distance from the target, squared
    noise = (fourth / n - float(covariance.square().sum())) / n
    share = 1.0 if spread <= 0 else min(max(noise, 0.0) / spread, 1.0)
    return (1 - share) * covariance + share * target * torch.eye(d, dtype=torch.float64)
