"""What methods and scores of an evaluation are called, in tables, on pages and in charts."""

from __future__ import annotations

# Short: tables are read in terminals of 80 columns.
METHODS = {
    "nearest": "nearest",
    "consensus": "consensus",
    "generate": "generate",
    "random": "random",
    "most_frequent": "most frequent",
    "pixel_nearest": "pixel nearest",
    "same_fields_oracle": "upper bound",
}
RETRIEVAL = {
    "r@1": "R@1",
    "r@5": "R@5",
    "r@10": "R@10",
    "median_rank": "median rank",
    "mean_rank": "mean rank",
    "mrr": "MRR",
    "map": "mAP",
    "ndcg@10": "nDCG@10",
    "pool": "pool",
}


def method_name(method: str) -> str:
    """Return what a method is called; one that is not known here, by its own name."""
    return METHODS.get(method, method.replace("_", " "))
