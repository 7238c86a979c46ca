"""Where the voice's melody goes: from the speaker's F0 to the wanted F0 and formant ratio, once a tick.

The speaker's centre is what log F0 is on average: the first seconds count fully, later ones with a time constant of
CENTRE_S, so it drifts with the speaker's mood only slowly. While little was heard, the average is weighed against what
adults' voices are: one that begins on a low note is taken for a man's on that note or a woman's at rest, by how likely
each is. People begin high and sink: the first BEGIN_S of voice after a reset lie about BEGIN above their centre, and
count as so much lower. After SETTLE_S the centre follows that guess no faster than GLIDE_S, for its own moves are heard
as melody. Intonation is scaled around the centre in octaves.

Sources: Traunmueller & Eriksson, "The frequency range of the voice fundamental in the speech of male and female adults"
(1995), for the two centres; Cohen, Collier & 't Hart, "Declination: construct or intrinsic feature of speech pitch?"
(1982), for the high beginning, whose height is that of 129 pieces of speech by over 110 people (section 17 of
`models/EXPERIMENTS.md`).
"""

from __future__ import annotations

from math import exp, log

CENTRE_S = 6.0
SETTLE_S, GLIDE_S = 0.5, 2.0  # of voice
BEGIN_S, BEGIN = 0.4, 1.6 * log(2.0) / 12.0  # 1.6 semitones
ADULTS = (log(120.0), log(210.0))
ADULTS_DEVIATION = 0.16  # of people's centres around each, in log F0
SPEECH_DEVIATION = 0.17  # of one person's F0 around the centre, independent every SPEECH_S
SPEECH_S = 0.1
LOWEST_HZ, HIGHEST_HZ = 35.0, 1600.0
MODE_SHIFT, MODE_TARGET, MODE_NOTE, MODE_ROBOT = range(4)


class SpeakerPitch:
    """The speaker's running pitch centre and the mapping of F0."""

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self.reset()

    def reset(self) -> None:
        """Forget the speaker."""
        self.log_centre = sum(ADULTS) / 2.0
        self.voiced_s = self.log_mean = 0.0

    def learn_from(self, other: SpeakerPitch) -> None:
        """Know of the speaker what other knows, which has listened all the while."""
        self.log_centre, self.log_mean, self.voiced_s = other.log_centre, other.log_mean, other.voiced_s

    def observe(self, own_hz: float) -> None:
        """Take the F0 of one tick; 0 means unvoiced."""
        if own_hz <= 0.0:
            return
        self.voiced_s += self._tick_s
        level = log(own_hz) - (BEGIN if self.voiced_s <= BEGIN_S else 0.0)
        self.log_mean += self._tick_s / min(self.voiced_s, CENTRE_S) * (level - self.log_mean)
        share = 1.0 if self.voiced_s <= SETTLE_S else self._tick_s / GLIDE_S
        self.log_centre += share * (self._guess() - self.log_centre)

    def _guess(self) -> float:
        """Return the expected centre, given the mean of what was heard: a mixture of two normal priors."""
        heard = self.voiced_s / SPEECH_S / SPEECH_DEVIATION**2
        known = heard / (heard + 1.0 / ADULTS_DEVIATION**2)  # share of the mean in the answer
        man, woman = ADULTS
        odds = known / ADULTS_DEVIATION**2 * (woman - man) * (self.log_mean - (man + woman) / 2.0)
        usual = man + (woman - man) / (1.0 + exp(-odds))
        return usual + known * (self.log_mean - usual)

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
