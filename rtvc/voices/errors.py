"""What goes wrong with voices."""

from __future__ import annotations


class VoiceError(Exception):
    """A voice, its file or its consent cannot be used; the message says why and what to do."""


class ConsentError(VoiceError):
    """A use that the consent record does not cover, or a consent recording that was not accepted."""


def missing_extra(error: ImportError) -> VoiceError:
    """Return what to say when a package of the extra `voices` is not there."""
    return VoiceError(f"{error.name} is missing; your own voices need it: pip install 'rtvc[voices]'")
