"""The published layouts, drawn small, each with its quirks. One module a layout, each with `draw(root)`."""
