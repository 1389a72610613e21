"""Read the tokens inside a text embedding. Import as ``import tokalign_helpers as ta``.

A name is looked up in its module when it is first asked for, so that the import itself takes no time and nobody needs
a package that their own work does not use.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers, which cannot see what __getattr__ finds
    from tokalign_helpers.basics.assets import data_dir
    from tokalign_helpers.basics.statistics import (
        Interval,
        bootstrap_interval,
        rank_correlation,
        rank_correlation_difference,
        share_difference_interval,
        share_interval,
    )
    from tokalign_helpers.course import drawings as drawings
    from tokalign_helpers.course import plots as plots
    from tokalign_helpers.course import widgets as widgets
    from tokalign_helpers.course.claims import interval_table, load_claims, load_paper_retrieval, load_results
    from tokalign_helpers.course.notebook import setup
    from tokalign_helpers.datasets.collections import (
        Collection,
        load_beir,
        load_cloze_collection,
        load_cranfield,
        load_likes_collection,
    )
    from tokalign_helpers.datasets.labelled import (
        load_clinc150,
        load_goemotions,
        load_key_words,
        load_minimal_pairs,
        load_two_labels,
    )
    from tokalign_helpers.datasets.ratings import (
        load_lee_documents,
        load_rated_words,
        load_sts_pairs,
        load_word_ratings,
    )
    from tokalign_helpers.datasets.wikipedia import load_sentences
    from tokalign_helpers.examination import Report, examine, examine_all, suggest_embedders
    from tokalign_helpers.models.decoding import TokenDecoder
    from tokalign_helpers.models.embedders import EMBEDDERS, EmbedderSpec, embedder_table, plan_loading
    from tokalign_helpers.models.embedding import Embedder, embed_all
    from tokalign_helpers.models.input_format import EOL, InputFormat
    from tokalign_helpers.models.loading import load_embedder, load_embedders
    from tokalign_helpers.models.pooling import first_token, last_token, mean, weighted_mean
    from tokalign_helpers.models.shipped import fill_cache
    from tokalign_helpers.reading import postprocessing as postprocessing
    from tokalign_helpers.reading.alignment import (
        Alignment,
        align,
        aligned_tokens,
        alignment_rates,
        read_tokens,
    )
    from tokalign_helpers.reading.clusters import cluster_agreement, neighbour_agreement
    from tokalign_helpers.reading.explain import pair_similarities, shared_tokens, token_contributions
    from tokalign_helpers.reading.key_tokens import distinctive_tokens, key_shares, tokens_of_words, word_agreement
    from tokalign_helpers.reading.layers import layer_embeddings, token_states
    from tokalign_helpers.reading.spectrum import PrincipalComponents, random_directions, sweep
    from tokalign_helpers.reading.vocabulary import kind_shares, lexicon_tokens, recall_by_frequency, token_kinds
    from tokalign_helpers.retrieval import scale as scale
    from tokalign_helpers.retrieval.evaluation import evaluate_run, fuse, reciprocal_rank_fusion
    from tokalign_helpers.retrieval.index import SparseIndex, bm25_run, dense_run, sparse_run
    from tokalign_helpers.retrieval.recipe import SparseRecipe, keep_largest
    from tokalign_helpers.retrieval.sparse import (
        aligned_run,
        multiply_adds,
        sparsify_documents,
        sparsify_queries,
        to_torch,
        token_importance,
        vector_tokens,
    )

__version__ = "0.1.0"

__all__ = [
    "Alignment",
    "Collection",
    "EMBEDDERS",
    "EOL",
    "Embedder",
    "EmbedderSpec",
    "InputFormat",
    "Interval",
    "PrincipalComponents",
    "Report",
    "SparseIndex",
    "SparseRecipe",
    "TokenDecoder",
    "align",
    "aligned_run",
    "aligned_tokens",
    "alignment_rates",
    "bm25_run",
    "bootstrap_interval",
    "cluster_agreement",
    "data_dir",
    "dense_run",
    "distinctive_tokens",
    "embed_all",
    "embedder_table",
    "evaluate_run",
    "examine",
    "examine_all",
    "fill_cache",
    "first_token",
    "fuse",
    "interval_table",
    "keep_largest",
    "key_shares",
    "kind_shares",
    "last_token",
    "layer_embeddings",
    "lexicon_tokens",
    "load_beir",
    "load_claims",
    "load_clinc150",
    "load_cloze_collection",
    "load_cranfield",
    "load_embedder",
    "load_embedders",
    "load_goemotions",
    "load_key_words",
    "load_lee_documents",
    "load_likes_collection",
    "load_minimal_pairs",
    "load_paper_retrieval",
    "load_rated_words",
    "load_results",
    "load_sentences",
    "load_sts_pairs",
    "load_two_labels",
    "load_word_ratings",
    "mean",
    "multiply_adds",
    "neighbour_agreement",
    "pair_similarities",
    "plan_loading",
    "random_directions",
    "rank_correlation",
    "rank_correlation_difference",
    "read_tokens",
    "recall_by_frequency",
    "reciprocal_rank_fusion",
    "setup",
    "share_difference_interval",
    "share_interval",
    "shared_tokens",
    "sparse_run",
    "sparsify_documents",
    "sparsify_queries",
    "suggest_embedders",
    "sweep",
    "to_torch",
    "token_contributions",
    "token_importance",
    "token_kinds",
    "token_states",
    "tokens_of_words",
    "vector_tokens",
    "weighted_mean",
    "word_agreement",
]

_MODULES = {
    "basics.assets": ("data_dir",),
    "basics.statistics": (
        "Interval",
        "bootstrap_interval",
        "rank_correlation",
        "rank_correlation_difference",
        "share_difference_interval",
        "share_interval",
    ),
    "course.claims": (
        "interval_table",
        "load_claims",
        "load_paper_retrieval",
        "load_results",
    ),
    "course.notebook": ("setup",),
    "datasets.collections": (
        "Collection",
        "load_beir",
        "load_cloze_collection",
        "load_cranfield",
        "load_likes_collection",
    ),
    "datasets.labelled": (
        "load_clinc150",
        "load_goemotions",
        "load_key_words",
        "load_minimal_pairs",
        "load_two_labels",
    ),
    "datasets.ratings": (
        "load_lee_documents",
        "load_rated_words",
        "load_sts_pairs",
        "load_word_ratings",
    ),
    "datasets.wikipedia": ("load_sentences",),
    "examination": (
        "Report",
        "examine",
        "examine_all",
        "suggest_embedders",
    ),
    "models.decoding": ("TokenDecoder",),
    "models.embedders": (
        "EMBEDDERS",
        "EmbedderSpec",
        "embedder_table",
        "plan_loading",
    ),
    "models.loading": ("load_embedder", "load_embedders"),
    "models.input_format": ("EOL", "InputFormat"),
    "models.embedding": (
        "Embedder",
        "embed_all",
    ),
    "models.pooling": (
        "first_token",
        "last_token",
        "mean",
        "weighted_mean",
    ),
    "models.shipped": ("fill_cache",),
    "reading.alignment": (
        "Alignment",
        "align",
        "aligned_tokens",
        "alignment_rates",
        "read_tokens",
    ),
    "reading.clusters": (
        "cluster_agreement",
        "neighbour_agreement",
    ),
    "reading.explain": (
        "pair_similarities",
        "shared_tokens",
        "token_contributions",
    ),
    "reading.key_tokens": (
        "distinctive_tokens",
        "key_shares",
        "tokens_of_words",
        "word_agreement",
    ),
    "reading.layers": ("layer_embeddings", "token_states"),
    "reading.spectrum": (
        "PrincipalComponents",
        "random_directions",
        "sweep",
    ),
    "reading.vocabulary": (
        "kind_shares",
        "lexicon_tokens",
        "recall_by_frequency",
        "token_kinds",
    ),
    "retrieval.evaluation": (
        "evaluate_run",
        "fuse",
        "reciprocal_rank_fusion",
    ),
    "retrieval.index": (
        "SparseIndex",
        "bm25_run",
        "dense_run",
        "sparse_run",
    ),
    "retrieval.recipe": ("SparseRecipe", "keep_largest"),
    "retrieval.sparse": (
        "aligned_run",
        "multiply_adds",
        "sparsify_documents",
        "sparsify_queries",
        "to_torch",
        "token_importance",
        "vector_tokens",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
# Modules of which learners use more than one or two functions, by their short names.
_SHORT = {
    "drawings": "course.drawings",
    "plots": "course.plots",
    "postprocessing": "reading.postprocessing",
    "scale": "retrieval.scale",
    "widgets": "course.widgets",
}


def __getattr__(name: str) -> object:
    """Return what `name` stands for: a function or class of one of the rooms, or a module by its short name."""
    if name in _HOME:
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _SHORT:
        found = importlib.import_module(f"{__name__}.{_SHORT[name]}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found  # looked up once
    return found


def __dir__() -> list[str]:
    """List what the package holds, looked up already or not: what an editor completes."""
    return sorted({*globals(), *__all__, *_SHORT})
