"""Read the tokens inside a text embedding. Import as ``import tokalign_helpers as ta``.

A name is looked up in its module when it is first asked for, so that the import itself takes no time and nobody needs
a package that their own work does not use.
"""

import importlib
from typing import TYPE_CHECKING

# Not looked up later, since the module has the name of its function and would stand in its place.
from tokalign_helpers.claims import claims, paper_retrieval

if TYPE_CHECKING:  # for editors and type checkers, which cannot see what __getattr__ finds
    from tokalign_helpers.alignment import (
        aligned_tokens,
        alignment_rates,
        fold,
        frequent_answers,
        global_alignment_rate,
        hit_at_k,
        local_alignment_rate,
        matched_tokens,
        rates,
        read,
        read_tokens,
        shuffled,
    )
    from tokalign_helpers.assets import AssetError, asset_path, cache_dir, data_dir, default_model_path
    from tokalign_helpers.cache import fill_cache, ship_embeddings
    from tokalign_helpers.clusters import cluster_agreement, neighbour_agreement
    from tokalign_helpers.datasets import (
        Collection,
        clinc150,
        cloze_collection,
        cranfield,
        goemotions,
        lee_documents,
        lexicon,
        load_beir,
        minimal_pairs,
        passages,
        rated_words,
        sentences,
        sts_pairs,
        two_labels,
        word_ratings,
    )
    from tokalign_helpers.decoding import TokenDecoder
    from tokalign_helpers.embedders import EMBEDDERS, EmbedderSpec, embedder_table, load_embedder, load_embedders, plan
    from tokalign_helpers.embedding import Embedder, embed_all
    from tokalign_helpers.evaluation import evaluate_run, fuse, pair_similarities, reciprocal_rank_fusion
    from tokalign_helpers.examination import Report, examine, examine_all, suggest
    from tokalign_helpers.explain import shared_tokens, tight_decoder, token_contributions
    from tokalign_helpers.index import SparseIndex, bm25_run, dense_run, sparse_run
    from tokalign_helpers.input_format import EOL, InputFormat
    from tokalign_helpers.notebook import setup
    from tokalign_helpers.pooling import first_token, last_token, mean, weighted_mean
    from tokalign_helpers.sparse import (
        aligned_run,
        decoded,
        multiply_adds,
        sparsify_documents,
        sparsify_queries,
        to_torch,
        token_importance,
    )
    from tokalign_helpers.spectrum import PrincipalComponents, random_directions, shift, sweep
    from tokalign_helpers.statistics import (
        Interval,
        bootstrap_interval,
        rank_correlation,
        rank_correlation_difference,
        share_interval,
    )
    from tokalign_helpers.vocabulary import kind_shares, lexicon_tokens, recall_by_frequency, token_kinds

__version__ = "0.1.0"

__all__ = [
    "AssetError",
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
    "TokenDecoder",
    "aligned_run",
    "aligned_tokens",
    "alignment_rates",
    "asset_path",
    "bm25_run",
    "bootstrap_interval",
    "cache_dir",
    "clinc150",
    "claims",
    "cloze_collection",
    "cluster_agreement",
    "cranfield",
    "data_dir",
    "decoded",
    "default_model_path",
    "dense_run",
    "embed_all",
    "embedder_table",
    "evaluate_run",
    "examine",
    "examine_all",
    "fill_cache",
    "first_token",
    "fold",
    "frequent_answers",
    "fuse",
    "global_alignment_rate",
    "goemotions",
    "hit_at_k",
    "kind_shares",
    "last_token",
    "lee_documents",
    "lexicon",
    "lexicon_tokens",
    "load_beir",
    "load_embedder",
    "load_embedders",
    "local_alignment_rate",
    "matched_tokens",
    "mean",
    "minimal_pairs",
    "multiply_adds",
    "neighbour_agreement",
    "pair_similarities",
    "paper_retrieval",
    "passages",
    "plan",
    "random_directions",
    "rank_correlation",
    "rank_correlation_difference",
    "rated_words",
    "rates",
    "read",
    "read_tokens",
    "recall_by_frequency",
    "reciprocal_rank_fusion",
    "sentences",
    "setup",
    "share_interval",
    "shared_tokens",
    "ship_embeddings",
    "shift",
    "shuffled",
    "sparse_run",
    "sparsify_documents",
    "sparsify_queries",
    "sts_pairs",
    "suggest",
    "sweep",
    "tight_decoder",
    "to_torch",
    "token_contributions",
    "token_importance",
    "token_kinds",
    "two_labels",
    "weighted_mean",
    "word_ratings",
]

_MODULES = {
    "alignment": (
        "aligned_tokens",
        "alignment_rates",
        "fold",
        "frequent_answers",
        "global_alignment_rate",
        "hit_at_k",
        "local_alignment_rate",
        "matched_tokens",
        "rates",
        "read",
        "read_tokens",
        "shuffled",
    ),
    "assets": ("AssetError", "asset_path", "cache_dir", "data_dir", "default_model_path"),
    "cache": ("fill_cache", "ship_embeddings"),
    "clusters": ("cluster_agreement", "neighbour_agreement"),
    "datasets": (
        "Collection",
        "clinc150",
        "cloze_collection",
        "cranfield",
        "goemotions",
        "lee_documents",
        "lexicon",
        "load_beir",
        "minimal_pairs",
        "passages",
        "rated_words",
        "sentences",
        "sts_pairs",
        "two_labels",
        "word_ratings",
    ),
    "decoding": ("TokenDecoder",),
    "embedders": ("EMBEDDERS", "EmbedderSpec", "embedder_table", "load_embedder", "load_embedders", "plan"),
    "embedding": ("Embedder", "embed_all"),
    "evaluation": ("evaluate_run", "fuse", "pair_similarities", "reciprocal_rank_fusion"),
    "examination": ("Report", "examine", "examine_all", "suggest"),
    "explain": ("shared_tokens", "tight_decoder", "token_contributions"),
    "index": ("SparseIndex", "bm25_run", "dense_run", "sparse_run"),
    "input_format": ("EOL", "InputFormat"),
    "notebook": ("setup",),
    "pooling": ("first_token", "last_token", "mean", "weighted_mean"),
    "sparse": (
        "aligned_run",
        "decoded",
        "multiply_adds",
        "sparsify_documents",
        "sparsify_queries",
        "to_torch",
        "token_importance",
    ),
    "spectrum": ("PrincipalComponents", "random_directions", "shift", "sweep"),
    "statistics": (
        "Interval",
        "bootstrap_interval",
        "rank_correlation",
        "rank_correlation_difference",
        "share_interval",
    ),
    "vocabulary": ("kind_shares", "lexicon_tokens", "recall_by_frequency", "token_kinds"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return what `name` stands for, from its module; a module's own name stands for the module."""
    if name in _HOME:
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _MODULES or name in ("plots", "widgets"):
        found = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found  # looked up once
    return found


def __dir__() -> list[str]:
    """List what the package holds, looked up already or not: what an editor completes."""
    return sorted({*globals(), *__all__})
