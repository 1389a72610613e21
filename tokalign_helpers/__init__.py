"""Read the tokens inside a text embedding. Import as ``import tokalign_helpers as ta``."""

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
from tokalign_helpers.clusters import cluster_agreement, neighbour_agreement
from tokalign_helpers.datasets import (
    Collection,
    cloze_collection,
    cranfield,
    lee_documents,
    lexicon,
    load_beir,
    minimal_pairs,
    passages,
    sentences,
    sts_pairs,
    two_labels,
    word_ratings,
)
from tokalign_helpers.decoding import TokenDecoder
from tokalign_helpers.embedders import EMBEDDERS, EmbedderSpec, load_embedder, load_embedders
from tokalign_helpers.embedding import EOL, Embedder, embed_all
from tokalign_helpers.evaluation import (
    Interval,
    bootstrap_interval,
    evaluate_run,
    fuse,
    pair_similarities,
    rank_correlation,
    reciprocal_rank_fusion,
)
from tokalign_helpers.explain import shared_tokens, tight_decoder, token_contributions
from tokalign_helpers.index import SparseIndex, bm25_run, dense_run, sparse_run
from tokalign_helpers.notebook import setup
from tokalign_helpers.pooling import last_token, mean, weighted_mean
from tokalign_helpers.sparse import (
    decoded,
    multiply_adds,
    sparsify_documents,
    sparsify_queries,
    to_torch,
    token_importance,
)
from tokalign_helpers.spectrum import PrincipalComponents, random_directions, shift, sweep
from tokalign_helpers.vocabulary import kind_shares, lexicon_tokens, recall_by_frequency, token_kinds

__version__ = "0.1.0"

__all__ = [
    "AssetError",
    "Collection",
    "EMBEDDERS",
    "EOL",
    "Embedder",
    "EmbedderSpec",
    "Interval",
    "PrincipalComponents",
    "SparseIndex",
    "TokenDecoder",
    "aligned_tokens",
    "alignment_rates",
    "asset_path",
    "bm25_run",
    "bootstrap_interval",
    "cache_dir",
    "cloze_collection",
    "cluster_agreement",
    "cranfield",
    "data_dir",
    "decoded",
    "default_model_path",
    "dense_run",
    "embed_all",
    "evaluate_run",
    "fold",
    "frequent_answers",
    "fuse",
    "global_alignment_rate",
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
    "passages",
    "random_directions",
    "rank_correlation",
    "rates",
    "read",
    "read_tokens",
    "recall_by_frequency",
    "reciprocal_rank_fusion",
    "sentences",
    "setup",
    "shared_tokens",
    "shift",
    "shuffled",
    "sparse_run",
    "sparsify_documents",
    "sparsify_queries",
    "sts_pairs",
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
