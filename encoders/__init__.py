"""Images and words to vectors, vectors to words: the ground floor of medclip.

The modules come in two worlds. ``presets``, ``scans``, ``preprocessing``, ``wordpiece``, ``bundle`` and
``runtime`` never import torch: asking a trained model starts in a fraction of a second. ``vision``, ``text``,
``projection``, ``dual``, ``weights``, ``hub`` and ``export`` are torch; training uses them.
"""

import os

# ONNX Runtime's builds from 1.29 on report what they run on to their maker, unless this is set before.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
