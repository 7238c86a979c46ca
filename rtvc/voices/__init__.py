"""Voices and presets."""
