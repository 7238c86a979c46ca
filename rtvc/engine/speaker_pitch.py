"""Where the voice's melody goes: from the speaker's F0 to the wanted F0 and formant ratio, once a tick.

The speaker's centre is the running mean of log F0 over voiced ticks: the first seconds count fully, later ones with
a time constant of CENTRE_S, so a target pitch is reached within a second and then drifts with the speaker's mood
only slowly. Intonation is scaled around that centre in octaves.
"""

from __future__ import annotations

from math import exp, log

CENTRE_S = 6.0
START_HZ = 150.0  # between the usual male and female centres, until the speaker has spoken
LOWEST_HZ, HIGHEST_HZ = 35.0, 1600.0
MODE_SHIFT, MODE_TARGET, MODE_NOTE, MODE_ROBOT = range(4)


class SpeakerPitch:
    """The speaker's running pitch centre and the mapping of F0."""

    def __init__(self, tick_s: float) -> None:
        self._least_rate = tick_s / CENTRE_S
        self.reset()

    def reset(self) -> None:
        """Forget the speaker."""
        self.log_centre = log(START_HZ)
        self.voiced_ticks = 0

    def observe(self, own_hz: float) -> None:
        """Take the F0 of one tick; 0 means unvoiced."""
        if own_hz > 0.0:
            self.voiced_ticks += 1
            self.log_centre += max(1.0 / self.voiced_ticks, self._least_rate) * (log(own_hz) - self.log_centre)

    def centre_hz(self) -> float:
        """Return the speaker's centre."""
        return exp(self.log_centre)

    def wanted_hz(self, own_hz: float, mode: int, semitones: float, target_hz: float, intonation: float) -> float:
        """Return the F0 to sound for a voiced tick with own_hz (for robot and note, own_hz may be 0)."""
        shift = semitones * log(2.0) / 12.0
        if mode in (MODE_NOTE, MODE_ROBOT) or own_hz <= 0.0:
            wanted = exp(log(target_hz) + shift)
        else:
            centre = self.log_centre if mode == MODE_SHIFT else log(target_hz)
            wanted = exp(centre + intonation * (log(own_hz) - self.log_centre) + shift)
        return min(max(wanted, LOWEST_HZ), HIGHEST_HZ)

    def shift_octaves(self, mode: int, semitones: float, target_hz: float) -> float:
        """Return how far the centre moves, in octaves: what formants may follow."""
        moved = semitones / 12.0
        return moved if mode == MODE_SHIFT else moved + (log(target_hz) - self.log_centre) / log(2.0)
