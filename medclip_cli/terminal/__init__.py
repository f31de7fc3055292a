"""Everything medclip draws: tables, JSON, progress. The only package that imports rich."""
