"""Numba kernels: pure functions on arrays. Imports nothing of ours but other kernels."""
