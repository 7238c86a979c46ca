"""rtvc: a real-time voice converter."""

__version__ = "0.1.0"
