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
from tokalign_helpers.assets import AssetError, asset_path, cache_dir, default_model_path
from tokalign_helpers.datasets import lee_documents, passages, sentences, sts_pairs, word_ratings
from tokalign_helpers.decoding import TokenDecoder
from tokalign_helpers.embedders import EMBEDDERS, EmbedderSpec, data_dir, load_embedder, load_embedders
from tokalign_helpers.embedding import EOL, Embedder, embed_all
from tokalign_helpers.evaluation import Interval, bootstrap_interval, pair_similarities, rank_correlation
from tokalign_helpers.notebook import setup
from tokalign_helpers.pooling import last_token, mean, weighted_mean
from tokalign_helpers.spectrum import PrincipalComponents, random_directions, shift, sweep
from tokalign_helpers.vocabulary import kind_shares, recall_by_frequency, token_kinds

__version__ = "0.1.0"

__all__ = [
    "AssetError",
    "EMBEDDERS",
    "EOL",
    "Embedder",
    "EmbedderSpec",
    "Interval",
    "PrincipalComponents",
    "TokenDecoder",
    "aligned_tokens",
    "alignment_rates",
    "asset_path",
    "bootstrap_interval",
    "cache_dir",
    "data_dir",
    "default_model_path",
    "embed_all",
    "fold",
    "frequent_answers",
    "global_alignment_rate",
    "hit_at_k",
    "kind_shares",
    "last_token",
    "lee_documents",
    "load_embedder",
    "load_embedders",
    "local_alignment_rate",
    "matched_tokens",
    "mean",
    "pair_similarities",
    "passages",
    "random_directions",
    "rank_correlation",
    "rates",
    "read",
    "read_tokens",
    "recall_by_frequency",
    "sentences",
    "setup",
    "shift",
    "shuffled",
    "sts_pairs",
    "sweep",
    "token_kinds",
    "weighted_mean",
    "word_ratings",
]
