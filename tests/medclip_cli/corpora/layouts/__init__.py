"""The published layouts, drawn small, each with its quirks: one module a layout.

Each has ``draw(root)``, which draws the form people meet most, and ``TABLE``, the table of it that names the
images and that tests spoil.
"""
