"""Scripts that measure the claims about speed. Each prints both sides, the medians and the ratio."""
