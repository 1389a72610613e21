import numpy as np
import pytest
import torch

from tokalign_helpers.reading.clusters import cluster_agreement, neighbour_agreement

GENERATOR = torch.Generator().manual_seed(0)
CENTRES = torch.nn.functional.normalize(torch.randn(3, 16, generator=GENERATOR), dim=1)
LABELS = ["a", "b", "c"] * 20
APART = CENTRES.repeat(20, 1) * 5 + 0.1 * torch.randn(60, 16, generator=GENERATOR)
MIXED = torch.randn(60, 16, generator=GENERATOR)


@pytest.mark.parametrize("measure", ["v", "rand"])
def test_groups_that_are_apart_agree_with_their_labels(measure):
    assert cluster_agreement(APART, LABELS, measure=measure).estimate == pytest.approx(1)
    found = cluster_agreement(MIXED, LABELS, measure=measure)
    assert found.estimate < 0.25
    assert found.low < found.high
    assert found == cluster_agreement(MIXED, LABELS, measure=measure)


def test_neighbours_by_a_plain_loop():
    found = neighbour_agreement(MIXED, LABELS, 4)
    for i in range(60):
        others = [j for j in range(60) if j != i]
        near = sorted(others, key=lambda j: -float(torch.cosine_similarity(MIXED[i], MIXED[j], dim=0)))[:4]
        assert found[i] == pytest.approx(np.mean([LABELS[j] == LABELS[i] for j in near]))
    assert (neighbour_agreement(APART, LABELS, 5) == 1).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="59 labels for 60 embeddings"):
        cluster_agreement(MIXED, LABELS[:-1])
    with pytest.raises(ValueError, match="known: v, rand"):
        cluster_agreement(MIXED, LABELS, measure="f")
    with pytest.raises(ValueError, match="from 1 to 59"):
        neighbour_agreement(MIXED, LABELS, 60)
    broken = MIXED.clone()
    broken[7, 3] = torch.nan
    for agreement in (cluster_agreement, neighbour_agreement):
        with pytest.raises(ValueError, match="embedding 7 holds NaN or Inf"):
            agreement(broken, LABELS)
        for odd in (torch.ones(60), torch.ones(0, 3)):
            with pytest.raises(ValueError, match=r"the embeddings have the shape \((60,|0, 3)\); expected \(n, d\)"):
                agreement(odd, LABELS)
