"""Turns a corpus into weights."""
