"""What a person types, reads and keeps."""

__version__ = "0.1.0"
__all__ = ["__version__"]
