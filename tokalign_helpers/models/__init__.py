"""From a text to its embedding, and from an embedding to token scores: models, adapters, poolings, the cache."""
