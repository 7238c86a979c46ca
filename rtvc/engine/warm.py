"""Importing this loads every kernel of the audio path. The fork server does, so each engine is born warm."""

from .worker import warm_up

warm_up()
