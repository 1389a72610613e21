"""What an import of the package costs, and that nobody notices that names are looked up late."""

import ast
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import tokalign_helpers as ta

SLOW = (
    "torch", "transformers", "pandas", "scipy", "sklearn", "matplotlib", "seaborn", "peft", "bm25s",
    "ipywidgets", "IPython", "mwparserfromhell", "platformdirs",
)  # fmt: skip
NOT_TO_EMBED = (
    "scipy.stats", "matplotlib", "seaborn", "peft", "bm25s", "ipywidgets",
    "mwparserfromhell", "platformdirs",
)  # fmt: skip


def loaded(code):
    """Return the modules that a new process holds after some code."""
    said = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(said.stdout.split())


def test_the_import_loads_nothing_slow():
    assert not loaded("import tokalign_helpers").intersection(SLOW)


def test_who_embeds_needs_nothing_else():
    missing = "".join(f"sys.modules[{name!r}] = None\n" for name in NOT_TO_EMBED)  # an import of it fails
    names = ["load_embedder", "Embedder", "embed_all", "mean", "TokenDecoder", "aligned_tokens", "SparseIndex"]
    assert "torch" in loaded(f"{missing}import tokalign_helpers as ta\n{', '.join(f'ta.{name}' for name in names)}")


def test_every_public_name_is_found_where_it_is_made():
    for name in ta.__all__:
        found = getattr(ta, name)
        assert getattr(found, "__module__", "tokalign_helpers").startswith("tokalign_helpers"), name
    assert callable(ta.load_claims)


def test_the_lists_of_names_agree():
    tree = ast.parse(Path(inspect.getfile(ta)).read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    short = {a.asname: f"{node.module.partition('.')[2]}.{a.name}" for node in nodes for a in node.names if a.asname}
    assert short == ta._SHORT
    imported = {
        node.module.partition(".")[2]: {alias.name for alias in node.names}
        for node in nodes
        if not node.names[0].asname
    }
    assert imported == {module: set(names) for module, names in ta._MODULES.items()}
    assert set(ta.__all__) == set().union(*imported.values())
    assert len(ta.__all__) == len(set(ta.__all__))


def test_names_are_listed_before_they_are_looked_up():
    listed = subprocess.check_output(
        [sys.executable, "-c", "import tokalign_helpers as ta; print(*dir(ta))"], text=True
    ).split()
    assert set(ta.__all__) <= set(listed)
    assert "__version__" in listed


def test_what_is_looked_up_late_is_the_same_object_everywhere():
    from tokalign_helpers.basics.statistics import Interval
    from tokalign_helpers.course import plots, widgets

    assert ta.plots is plots
    assert ta.widgets is widgets
    assert ta.Interval is Interval
    assert pickle.loads(pickle.dumps(ta.Interval(0.1, 0.0, 0.2))) == ta.Interval(0.1, 0.0, 0.2)
    assert pickle.loads(pickle.dumps(ta.mean)) is ta.mean


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="module 'tokalign_helpers' has no attribute 'embeder'"):
        _ = ta.embeder
    assert not hasattr(ta, "nothing")
