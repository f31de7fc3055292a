"""Draws small synthetic scans with captions: the data of `medclip demo` and of the tests."""
