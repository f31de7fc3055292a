"""Scores of captions and of retrieval, as pure functions."""
