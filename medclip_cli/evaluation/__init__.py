"""A split of a corpus against a collection."""
