"""Figures say in words what they show, and a notebook stores it."""

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from tokalign_helpers.course import plots
from tokalign_helpers.course.alt_text import MOST, alt_text


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_points_are_named_with_their_numbers():
    table = pd.DataFrame({"direction": ["u_1", "at random"], "value": [0.272, 0.048], "low": np.nan, "high": np.nan})
    title = "Only $u_1$ brings out the tokens, and that for \\$3"
    text = alt_text(plots.plot_controls(table, title, before=0.05).figure)
    assert text.startswith("Only u_1 brings out the tokens, and that for $3. Points; across: GAR, share; rows: ")
    assert text.endswith("rows: u_1 0.272, at random 0.048; series: no shift.")


def test_panels_are_told_apart():
    table = pd.DataFrame({"embedder": ["smol-eol", "smol-sim"] * 2, "rate": ["LAR", "LAR", "GAR", "GAR"], "low": 0.1})
    text = alt_text(plots.plot_rates(table.assign(value=[0.5, 0.4, 0.3, 0.2], high=0.6), "GAR rises")[0].figure)
    assert text.startswith("GAR rises. Points; across: LAR, share; rows: smol-eol 0.50, smol-sim 0.40.")
    assert "across: GAR, share; rows: smol-eol 0.30, smol-sim 0.20." in text


def test_bars_a_drawing_and_a_long_figure():
    parts = pd.DataFrame({"token": [" the", " parrot"], "first": [3.0, -1.0], "rest": [-2.0, 4.0]})
    text = alt_text(plots.plot_contribution(parts, "What each part adds").figure)
    assert text.startswith("What each part adds. Bars; ") and "series: first component, all the rest." in text
    ax = plt.subplots()[1]
    ax.set_axis_off()
    ax.set_title("From a text to its tokens?")
    assert alt_text(ax.figure) == "From a text to its tokens?"
    ax.set_title("word " * 300)
    assert len(alt_text(ax.figure)) <= MOST and alt_text(ax.figure).endswith("…")
    assert alt_text(plt.figure()) == "A figure without a title."


@pytest.mark.slow
def test_a_notebook_stores_it_with_the_picture(tmp_path):
    source = (
        "from tokalign_helpers.course.alt_text import describe_figures\ndescribe_figures()\n"
        "import matplotlib.pyplot as plt\nax = plt.subplots()[1]\n_ = ax.set_title('One line, rising')"
    )
    again = "ax = plt.subplots()[1]\n_ = ax.set_title('Another')"
    notebook = new_notebook(cells=[new_code_cell(source), new_code_cell(again)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    NotebookClient(notebook, timeout=120).execute()
    stored = [nbformat.from_dict(cell.outputs[-1]) for cell in notebook.cells]
    assert [output.metadata["image/png"]["alt"].partition(".")[0] for output in stored] == [
        "One line, rising",
        "Another",
    ]
    assert all(output.data["image/png"] for output in stored)
