"""Pictures of an idea, drawn from a real model's numbers: the path of a text to its tokens, the cone of embeddings."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from torch import Tensor

from tokalign_helpers.basics.checks import whole_number
from tokalign_helpers.course.plots import BEGINS_WORD, BLUE, FIRST, GREY, IN_TEXT, INK, NEITHER
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.reading.alignment import aligned_tokens
from tokalign_helpers.reading.layers import token_states

CELLS = 14  # numbers shown of a vector
TOKENS = 12  # of the text, at most
MODEL = ("#D6E8F4", "#A9CFE8")  # light blues, with a blue edge: the language model, its last layer included
LINE = "#555555"


def draw_path(embedder: Embedder, text: str, *, shown: int = 6) -> Axes:
    """Draw the path of a text: tokens → states → pooling → embedding → decoder layer → scores, with its own numbers.

    Parameters
    ----------
    embedder : Embedder
        Of a language model, without a template: every token of its input is one of the text.
    text : str
        Short: of a longer one only the first tokens are drawn.
    shown : int
        Aligned tokens.

    Returns
    -------
    Axes
    """
    shown = whole_number(shown, "shown")
    (ids,), _ = embedder.prompts([text])
    ids, states = ids[:TOKENS], token_states(embedder, text)[:TOKENS]
    h = embedder.embed([text])[0]
    best = aligned_tokens(embedder, [text], k=max(shown, 100))
    _, ax = plt.subplots(figsize=(11, 4.1), layout="constrained")
    ax.set(xlim=(-1, 114), ylim=(-8, 44))
    ax.set_axis_off()
    rows = np.linspace(36, 4, len(ids))
    scale = float(states.abs().median()) * 1.5
    for token, state, y in zip(ids, states, rows, strict=True):
        _box(ax, 0, y - 1.15, 13, 2.3, embedder.decoder.token(token))
        _arrow(ax, (13.3, y), (17.2, y))
        _arrow(ax, (31.2, y), (34.6, y))
        _strip(ax, 35, y - 0.9, 17, state, scale)
    rounded = "round,pad=0.2,rounding_size=1.5"
    ax.add_patch(FancyBboxPatch((17.5, 1), 13.5, 38, boxstyle=rounded, fc=MODEL[0], ec=BLUE, lw=1.6))
    ax.text(24.2, 20, "language\nmodel\nwithout its\nlast layer", ha="center", va="center", color=INK)
    for y in rows:
        _arrow(ax, (52.4, y), (58.6, 20 + (y - 20) * 0.12))
    _strip(ax, 59, 18.4, 17, h, float(h.abs().median()) * 1.5, height=3.2)
    _arrow(ax, (76.4, 20), (79.4, 20))
    for i in range(13):
        ax.add_patch(Rectangle((80, 6.5 + i * 2.1), 6.5, 1.6, fc=MODEL[i % 2], ec=BLUE, lw=0.8))
    top = best.head(shown)
    lift = top["score"] - best["score"].iloc[-1]
    for row, length, y in zip(top.itertuples(), lift / lift.max(), np.linspace(33, 7, shown), strict=True):
        color = IN_TEXT if row.folded_in_text else BEGINS_WORD if row.begins_word else NEITHER
        ax.add_patch(Rectangle((90, y - 1.1), 10 * length, 2.2, fc=color, lw=0))
        ax.text(101, y, row.token, va="center", ha="left", family=["monospace", *plt.rcParams["font.family"]])
    _arrow(ax, (87, 20), (89.4, 20))
    labels = {
        6.5: "tokens",
        24.2: "model f",
        43.5: "states",
        67.5: f"embedding h:\n{len(h)} numbers",
        83.2: f"decoder layer $E_g$:\n{embedder.decoder.vocabulary_size:,} rows",
        102: "scores $E_g h$:\naligned tokens",
    }
    for x, label in labels.items():
        ax.text(x, -1.5, label, ha="center", va="top", color=INK)
    ax.text(55.5, 38.5, "pooling", ha="center", va="center", color=INK)
    return ax


def draw_cone(h: Tensor, u: Tensor, *, v: float, seed: int = 0, shown: int = 200) -> Axes:
    """Draw embeddings as arrows in the plane of u_1 and the direction across it in which they differ most.

    Parameters
    ----------
    h : Tensor, (n, d)
        Raw embeddings.
    u : Tensor, (d,)
        u_1, the first principal component, a unit vector.
    v : float
        How far training moves an embedding along u, such as v_1; the shifted ones are drawn beside the raw ones.
    seed : int
        Seed of the choice of the embeddings that are drawn.
    shown : int
        How many embeddings to draw.

    Returns
    -------
    Axes
        Both axes in the units of the embeddings, at one scale. Raw embeddings grey, the moved ones blue.
    """
    across = h - torch.outer(h @ u, u)
    second = torch.linalg.svd(across - across.mean(dim=0), full_matrices=False).Vh[0]
    some = torch.randperm(len(h), generator=torch.Generator().manual_seed(seed))[:shown]
    x, y = (h[some] @ u).numpy(), (h[some] @ second).numpy()
    y = y - y.mean()
    _, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
    for shift, color in ((0.0, GREY), (v, BLUE)):
        ends = np.column_stack([x + shift, y])
        ax.quiver(
            np.zeros(len(x)),
            np.zeros(len(x)),
            *ends.T,
            angles="xy",
            scale_units="xy",
            scale=1,
            color=color,
            width=0.0016,
            headwidth=5,
            alpha=0.55,
        )
    ax.scatter([0], [0], color=INK, zorder=3, s=18)
    middle, top = float(np.mean(x)), float(np.abs(y).max()) * 1.15
    ax.annotate("", (middle + v, top), (middle, top), arrowprops={"arrowstyle": "-|>", "color": FIRST, "lw": 2.2})
    ax.text(
        middle + v / 2,
        top * 1.06,
        f"moved by {v:.0f} along $u_1$".replace("-", "−"),
        ha="center",
        va="bottom",
        color=FIRST,
    )
    ax.set_aspect("equal")
    ends = np.concatenate([x, x + v, [0]])
    ax.set(
        xlabel="along $u_1$",
        ylabel="along the direction of\nmost spread across $u_1$",
        ylim=(-top, top * 1.4),
        xlim=(ends.min() - 3, ends.max() + 3),
    )
    return ax


def _strip(ax: Axes, x: float, y: float, width: float, vector: Tensor, scale: float, *, height: float = 1.8) -> None:
    """Draw some numbers of a vector as coloured cells, blue below 0 and red above; three dots represent the others."""
    cell = (width - 2) / CELLS
    for i, value in enumerate(vector[torch.linspace(0, len(vector) - 1, CELLS).long()].tolist()):
        shade = plt.get_cmap("RdBu_r")(0.5 + 0.5 * np.tanh(value / scale))
        ax.add_patch(Rectangle((x + i * cell, y), cell * 0.92, height, fc=shade, lw=0))
    ax.text(x + width - 1.8, y + height / 2, "…", va="center", color=INK)


def _box(ax: Axes, x: float, y: float, width: float, height: float, text: str) -> None:
    ax.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.1,rounding_size=0.6", fc="white", ec=LINE, lw=1.2)
    )
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=10, color=INK, family="monospace")


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=LINE, lw=1.2))
