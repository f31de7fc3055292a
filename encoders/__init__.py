"""Images and words to vectors, vectors to words: the ground floor of medclip.

`images`, `preprocessing`, `bundle`, `runtime`, `captioner` and `generation` never import torch.
"""
