"""What a figure shows, in words, for readers who do not see it; notebooks store it beside the picture."""

import re
import sys
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MOST = 500  # characters


def alt_text(figure: Figure) -> str:
    """Describe a figure: its title, and for each panel what its axes, rows, marked numbers and series are.

    Parameters
    ----------
    figure : Figure

    Returns
    -------
    str
        One line of at most 500 characters.
    """
    heading = figure.get_suptitle()
    shared = _rows(figure.axes[0]) if figure.axes else []
    panels = [_panel(ax, shared, first=number == 0) for number, ax in enumerate(figure.axes) if ax.get_visible()]
    series = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    parts = [heading, *panels, f"Series: {', '.join(series)}" if series else ""]
    text = " ".join(_sentence(_plain(part)) for part in parts if part.strip()) or "A figure without a title."
    return text if len(text) <= MOST else f"{text[: MOST - 1].rsplit(' ', 1)[0]} …"


def describe_figures() -> None:
    """Let the notebook that this runs in store :func:`alt_text` with every figure, as the picture's metadata ``alt``.

    The site and nbconvert write it into the page. JupyterLab 4 shows pictures without a text and ignores it. Outside of
    a notebook nothing happens.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        # Of the bundle's formatter, because matplotlib's inline mode takes away and replaces the one of PNG.
        shell.display_formatter.mimebundle_formatter.for_type(Figure, _metadata)


def _metadata(figure: Figure, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
    """Return no data and the picture's metadata, in the form that IPython merges with other formatters'."""
    return {}, {"image/png": {"alt": alt_text(figure)}}


def _rows(ax: Axes) -> list[str]:
    """Return the names at the vertical axis; none where there are numbers."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    return names if any(re.search(r"[^\W\d_]{2}", name) for name in names) else []


def _panel(ax: Axes, shared: list[str], *, first: bool) -> str:
    """Describe one panel; of the rows that all panels share, the later ones say only the numbers that are marked."""
    title = ax.get_title("left") or ax.get_title()
    if not ax.axison:
        return title
    lines = any(np.size(line.get_xdata()) > 2 for line in ax.lines)
    kind = "Bars" if len(ax.patches) > 1 else "Lines" if lines else "Points"
    legend = ax.get_legend()
    rows, said = _rows(ax) or shared, [text.get_text() for text in ax.texts if text.get_text()]
    if marked := len(rows) == len(said):
        rows = [f"{row} {number}" for row, number in zip(rows, said, strict=True)]
    parts = [
        f"{title}. {kind}",
        f"across: {ax.get_xlabel()}" if ax.get_xlabel() else "",
        f"upwards: {ax.get_ylabel()}" if ax.get_ylabel() else "",
        f"rows: {', '.join(rows)}" if rows and (first or marked or rows != shared) else "",
        f"series: {', '.join(text.get_text() for text in legend.get_texts())}" if legend else "",
    ]
    return "; ".join(part for part in parts if part).removeprefix(". ")


def _plain(text: str) -> str:
    """Write formulas as a reader would type them, on one line."""
    text = re.sub(r"(?<!\\)\$([^$]*)\$", lambda found: re.sub(r"[{}\\]", "", found[1]), text)
    return " ".join(text.replace(r"\$", "$").split())


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
