"""The examples in docstrings are what readers copy: they run, and print what they say."""

import doctest
import importlib

import pytest

import tokalign_helpers as ta

FINDER = doctest.DocTestFinder(recurse=True, exclude_empty=True)
EXAMPLES = {
    test.name: test
    for module in sorted(set(ta._HOME.values()))
    for test in FINDER.find(importlib.import_module(f"tokalign_helpers.{module}"), globs={})
    if test.examples
}
# What the notebooks' cells call most, without what only prepares a notebook.
CALLED_MOST = (
    "Embedder.embed", "Embedder.literal_tokens", "PrincipalComponents", "SparseIndex", "TokenDecoder.top_tokens",
    "align", "aligned_run", "aligned_tokens", "bm25_run", "bootstrap_interval", "dense_run", "evaluate_run",
    "kind_shares", "load_embedder", "load_sentences", "pair_similarities", "rank_correlation",
    "rank_correlation_difference", "read_tokens", "sparsify_documents", "sparsify_queries", "sparse_run",
    "token_kinds",
)  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_says(name):
    said = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(EXAMPLES[name], out=said.append)
    assert not failed, "".join(said)


def test_what_learners_call_most_has_an_example():
    assert [name for name in CALLED_MOST if not any(full.endswith(f".{name}") for full in EXAMPLES)] == []
