"""Reads published data sets and medclip corpus folders."""

import os

# Before pyarrow is imported: its own pool would keep the pages of a table that was read once, 20 MB of them.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
