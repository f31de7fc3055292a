"""Reads published data sets and medclip corpus folders."""
