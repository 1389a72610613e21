"""What an embedding says in tokens: alignment, kinds of tokens, principal components, changes of embeddings."""
