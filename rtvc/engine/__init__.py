"""The engine: the only place where sound is changed."""
