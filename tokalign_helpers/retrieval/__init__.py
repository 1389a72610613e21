"""Search with tokens as words: sparse vectors, the index, runs and their scores, other engines."""
