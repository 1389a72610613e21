"""The texts, ratings, labels and collections that the course measures on."""
