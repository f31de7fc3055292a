"""Stores vectors and finds the nearest ones: one port, several engines."""
