"""What the training minimizes."""

import torch
from torch import Tensor


def info_nce(anchors: Tensor, positives: Tensor, negatives: Tensor, same: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss: each anchor must find its positive among all positives and all hard negatives.

    Parameters
    ----------
    anchors, positives : Tensor, (b, d)
        Embeddings; the positive of an anchor is in the same row.
    negatives : Tensor, (m, d)
        Hard negatives; there may be none.
    same : Tensor, (b, b), bool
        Where a positive of another row belongs to this anchor as well (the same text, or the same anchor twice): it
        is not taken for a negative.
    temperature : float
        Divides the cosines.

    Returns
    -------
    Tensor, scalar
        Mean cross-entropy over the anchors (van den Oord et al. 2018; hard negatives as Gao et al. 2021, eq. 5).
    """
    unit = [torch.nn.functional.normalize(x.float(), dim=1) for x in (anchors, positives, negatives)]
    among_positives = (unit[0] @ unit[1].T / temperature).masked_fill(same, float("-inf"))
    logits = torch.cat([among_positives, unit[0] @ unit[2].T / temperature], dim=1)
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(anchors), device=logits.device))


def distillation_loss(anchors: Tensor, positives: Tensor, grades: Tensor, temperature: float) -> Tensor:
    """Return how far the batch's own distribution is from the teacher's, both ways.

    Parameters
    ----------
    anchors, positives : Tensor, (b, d)
        Embeddings; the positive of an anchor is in the same row.
    grades : Tensor, (b, b)
        The teacher's logits of every anchor (row) with every positive (column).
    temperature : float
        The own logits are cosines divided by it.

    Returns
    -------
    Tensor, scalar
        KL(teacher ‖ own) of "which positive belongs to this anchor", and of "which anchor belongs to this positive",
        averaged over the batch and over the two.
    """
    unit = [torch.nn.functional.normalize(x.float(), dim=1) for x in (anchors, positives)]
    own = unit[0] @ unit[1].T / temperature
    ways = [
        torch.nn.functional.kl_div(mine.log_softmax(1), theirs.log_softmax(1), reduction="batchmean", log_target=True)
        for mine, theirs in ((own, grades), (own.T, grades.T))
    ]
    return torch.stack(ways).mean()


def ranking_loss(anchors: Tensor, others: Tensor, ratings: Tensor, temperature: float) -> Tensor:
    """Return the loss of pairs that people rated: of two pairs the better rated one must have the larger cosine.

    Parameters
    ----------
    anchors, others : Tensor, (b, d)
        Embeddings of the two sides of b pairs.
    ratings : Tensor, (b,)
        People's ratings of the pairs.
    temperature : float
        Divides the cosines.

    Returns
    -------
    Tensor, scalar
        log(1 + Σ exp((cos_j − cos_i) / τ)) over all i rated above j (CoSENT).
    """
    cosines = torch.cosine_similarity(anchors.float(), others.float()) / temperature
    wrong = (cosines.unsqueeze(0) - cosines.unsqueeze(1))[ratings.unsqueeze(1) > ratings.unsqueeze(0)]
    return torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), dim=0)
