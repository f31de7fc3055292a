"""Is what a caption says of the image right? Fields and findings, by rules anyone can read, without weights.

These are not the scores of a trained labeller: the findings of a sentence are found by their names and by
negation words. A score made here is never called CheXpert F1 or RadGraph F1; those plug in, see `plugins`.
"""
