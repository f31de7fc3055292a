"""From neighbours to an answer: consensus, field votes, confidence."""
