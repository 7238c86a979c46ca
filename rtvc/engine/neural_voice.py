"""The neural voice: the speaker's words and melody, said by somebody else. 48 kHz in and out.

    x -> 16 kHz -> log-mel -> encoder, every 10 ms -.
             \\-> F0, every 5 ms --------------------+-> head -> decoder -> synthesis at 24 kHz -> y, every 12.5 ms

and in y hisses and bursts above 3 kHz may be the speaker's own (`kernels.consonants`).

All times are sample counts at 16 kHz: the encoder's frame m ends at 160 (m + 1); the decoder's frame j has its centre
at 200 j and its content is said when `wait` more samples have come, from the newest encoder frame there is by then;
its sound is made AHEAD frames later, for the decoder looks that far ahead. What leaves is queued at 48 kHz behind as
much silence as comes before the first frame. So any block split gives the same samples.

Delay: the decimator's, the wait, AHEAD frames, the lead of the synthesis window, the upsampler's and the consonants',
summed up in `delay_frames`. The output has no level of its own: the engine's loudness match gives it the speaker's.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isnan, log, nan

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.biquad import biquad, biquad_set, biquad_state, high_shelf, high_shelf_into
from rtvc.kernels.consonants import consonant_delay_frames, consonant_state, consonants
from rtvc.kernels.content_mel import START_PEAK, normalise_rows
from rtvc.kernels.decimate import decimate, decimator_delay_frames, decimator_state
from rtvc.kernels.f0 import HOP as F0_HOP
from rtvc.kernels.f0 import f0_state, f0_track
from rtvc.kernels.f0_history import f0_at, f0_history, f0_remember
from rtvc.kernels.mel import log_mel, mel_state
from rtvc.kernels.parts_synthesis import parts_breathe, parts_state, synthesise
from rtvc.kernels.ramp import TARGET, ramp_fill, ramp_set, ramp_state
from rtvc.kernels.resample import resample, resample_max_output, resampler_delay_frames, resampler_state
from rtvc.kernels.ring import ring_counters, ring_pop, ring_push

from .network import DECODER_UNITS, FRAME_UNITS, LATER_FRAMES, MEL_BANDS, WAIT_UNIT_MS, Network
from .params import INDEX, PARAMS, default_values
from .speaker_pitch import MODE_ROBOT, MODE_SHIFT, MODE_TARGET, SpeakerPitch
from .telephone import Telephone
from .timbres import Timbre
from .voice import ENGINE_RATE_HZ, TICK_FRAMES

RATE_HZ = 16000
SYNTHESIS_RATE_HZ = 24000
ENCODER_FRAME, DECODER_FRAME, SYNTHESIS_FRAME = 160, 200, 300
LEAD = 300  # samples at 24 kHz that the synthesis window reaches before a frame's centre: 12.5 ms
AHEAD = 1  # as models/generator.py
REACH = 480  # how far from a voiced frame its F0 may be found, in samples at 16 kHz
UNVOICED_HZ = 7.0  # what the decoder was taught to hear where there is no pitch
BRIGHTNESS_HZ = 3000.0
GLIDE = 0.4  # share of the way to another voice that one decoder frame goes: there within 60 ms
GLIDE_FRAMES = 40  # after which no float32 tells a glide from its end
_QUEUE_FRAMES = 8192

_MODE, _SEMITONES, _TARGET = INDEX["pitch.mode"], INDEX["pitch.semitones"], INDEX["pitch.target_hz"]
_TIMBRE, _SECOND, _BLEND = INDEX["voice.timbre"], INDEX["voice.second"], INDEX["voice.blend"]
_INTONATION, _FORMANT, _BRIGHTNESS = INDEX["pitch.intonation"], INDEX["formant.ratio"], INDEX["tone.brightness_db"]
_BREATH, _WHISPER, _TELEPHONE = INDEX["breath.amount"], INDEX["whisper.amount"], INDEX["telephone.amount"]
_CONSONANTS = INDEX["consonants.amount"]
_CONSONANTS_RAMP_FRAMES = round(PARAMS["consonants.amount"].ramp_ms * ENGINE_RATE_HZ / 1000)

_NOBODY = (-1, -1, 0.0)
_OWN_FIELDS = ("_timbres", "_films", "_film", "_wanted_film", "_step", "_log_wanted", "_log_home")


class NeuralVoice:
    """One speaker's stream through the networks."""

    def __init__(self, network: Network, timbres: Sequence[Timbre]) -> None:
        """Timbres are the voices that voice.timbre and voice.second number; after them comes the user's own.

        Until `set_own` says who that is, it is the first of them.
        """
        self._network, self._film = network, network.film
        self._timbres = [*timbres, timbres[0]]
        self._films = np.array([_film(network, timbre) for timbre in self._timbres])
        self._has_own = False
        self._wanted_film, self._step = (np.zeros_like(self._films[0]) for _ in range(2))
        self._wait = round(network.wait_ms * RATE_HZ / 1000.0)
        self._low = np.zeros(TICK_FRAMES, np.float32)
        self._rows = np.zeros((2, MEL_BANDS), np.float32)
        self._f0, self._voiced, self._confidence = (np.zeros(8, np.float32) for _ in range(3))
        self._sound = np.zeros(SYNTHESIS_FRAME, np.float32)
        self._shelf_target = np.zeros(5)
        self._own_share = np.zeros(TICK_FRAMES, np.float32)
        self._said_frames = _said_frames(self._wait)
        self.delay_frames = self._said_frames + consonant_delay_frames(ENGINE_RATE_HZ)
        self.reset()
        self._up_sound = np.zeros(resample_max_output(self._up, SYNTHESIS_FRAME), np.float32)

    def reset(self) -> None:
        """Forget all sound, the speaker's pitch included."""
        self._network.reset()
        self.pitch = SpeakerPitch(F0_HOP / RATE_HZ)
        self._decimator = decimator_state(ENGINE_RATE_HZ // RATE_HZ)
        self._tracker, self._history = f0_state(), f0_history()
        self._mel, self._peak = mel_state(RATE_HZ), np.array([START_PEAK])
        self._parts = parts_state(LEAD)
        self._up = resampler_state(SYNTHESIS_RATE_HZ, ENGINE_RATE_HZ)
        shelf = high_shelf(ENGINE_RATE_HZ, BRIGHTNESS_HZ, 0.0)
        self._shelf = biquad_state(shelf, round(PARAMS["tone.brightness_db"].ramp_ms * ENGINE_RATE_HZ / 1000))
        self._telephone = Telephone()
        self._consonants = consonant_state(ENGINE_RATE_HZ, self._said_frames)
        self._own_ramp = ramp_state(PARAMS["consonants.amount"].default)
        self._queue, self._queued = ring_counters(), np.zeros(_QUEUE_FRAMES, np.float32)
        ring_push(self._queue, self._queued, np.zeros(ENGINE_RATE_HZ // RATE_HZ * self._wait - 1, np.float32))
        self._heard = 0  # samples at 16 kHz
        self._next = 0  # decoder frame whose content is said next
        self._sung_hz = np.zeros(AHEAD + 1)  # F0 of the frames that wait for their sound, newest last
        self._mode, self._semitones, self._target_hz = MODE_SHIFT, 0.0, 0.0
        self._intonation, self._formant = 1.0, 1.0
        self._log_wanted = nan  # until a voice is chosen
        self._chosen = _NOBODY
        self._glides = 0  # frames until the glide is ended
        self._last_hz = [self.pitch.centre_hz()] * 2  # of the next frame and of the later one
        self.own_hz = 0.0

    def warm_up(self) -> None:
        """Run sound through everything once, so that the first real block finds all memory touched, then forget it."""
        sound, out = np.zeros(TICK_FRAMES, np.float32), np.zeros(TICK_FRAMES, np.float32)
        sound[::7] = 0.1
        self.tick(default_values())
        for _ in range(100):
            self.process(sound, out)
        self.reset()

    def tick(self, values: NDArray[np.float64]) -> None:
        """Take over the registry's values; the decoder reads them at its next frame."""
        self._mode, self._semitones = int(values[_MODE]), float(values[_SEMITONES])
        self._choose(int(values[_TIMBRE]), int(values[_SECOND]), float(values[_BLEND]))
        self._target_hz = float(values[_TARGET])
        self._intonation, self._formant = float(values[_INTONATION]), float(values[_FORMANT])
        parts_breathe(self._parts, float(values[_BREATH]), float(values[_WHISPER]))
        self._telephone.set(float(values[_TELEPHONE]))
        if self._own_ramp.values[TARGET] != values[_CONSONANTS]:
            ramp_set(self._own_ramp, float(values[_CONSONANTS]), _CONSONANTS_RAMP_FRAMES)
        high_shelf_into(self._shelf_target, ENGINE_RATE_HZ, BRIGHTNESS_HZ, float(values[_BRIGHTNESS]), 0.7071)
        biquad_set(self._shelf, 0, self._shelf_target)

    def set_own(self, timbre: Timbre | None) -> None:
        """Let timbre be the user's own voice from the next tick on, None: nobody any more; the decoder glides there."""
        self._has_own = True
        self._timbres[-1] = timbre or self._timbres[0]
        self._films[-1] = _film(self._network, self._timbres[-1])
        self._chosen = _NOBODY

    @property
    def gliding(self) -> bool:
        """Whether it is on its way from or to another voice, since there is one of the user's own."""
        return self._glides > 0

    @property
    def unrecorded(self) -> tuple[str, ...]:
        """What tells the user's own voice and goes into no record; apart from glides it follows from who speaks."""
        return _OWN_FIELDS if self._has_own else ()

    def _choose(self, first: int, second: int, share: float) -> None:
        """Head for another voice; the decoder glides there frame by frame."""
        if (first, second, share) == self._chosen:
            return
        self._chosen = (first, second, share)
        np.subtract(self._films[second], self._films[first], out=self._wanted_film)
        self._wanted_film *= share
        self._wanted_film += self._films[first]
        begin = isnan(self._log_wanted)
        homes = self._timbres[first].home_hz, self._timbres[second].home_hz
        self._log_wanted = (1.0 - share) * log(homes[0]) + share * log(homes[1])
        if begin:  # nothing has been said yet
            self._network.film[:] = self._wanted_film
            self._log_home = self._log_wanted
        elif self._has_own:
            self._glides = GLIDE_FRAMES

    def process(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Convert x into y, two arrays float32[n] with n <= TICK_FRAMES, delay_frames later."""
        low = self._low[: decimate(self._decimator, x, self._low)]
        start = 0
        while start < low.shape[0]:
            due = DECODER_FRAME * self._next + self._wait
            to_encoder = ENCODER_FRAME - self._heard % ENCODER_FRAME
            n = min(low.shape[0] - start, to_encoder, max(1, due - self._heard))
            self._listen(low[start : start + n])
            start += n
            self._heard += n
            if self._heard == due:
                self._speak()
        ring_pop(self._queue, self._queued, y)
        own_share = self._own_share[: y.shape[0]]
        ramp_fill(self._own_ramp, own_share)
        consonants(self._consonants, x, own_share, y)
        biquad(self._shelf, y, y)
        self._telephone.process(y)

    def _listen(self, low: NDArray[np.float32]) -> None:
        """Take samples that end no later than the next frame of either network."""
        if log_mel(self._mel, low, self._rows):  # never two: sound ends where a row does
            row = self._rows[:1]
            row *= np.float32(1.0 / np.log(10.0))
            normalise_rows(self._peak, row)
            self._network.hear(row[0])
        hops = f0_track(self._tracker, low, self._f0, self._voiced, self._confidence)
        for hop in range(hops):
            end = (self._heard // F0_HOP + 1 + hop) * F0_HOP
            f0_remember(self._history, end, self._f0[hop], self._confidence[hop])
            self.own_hz = float(self._f0[hop]) if self._voiced[hop] else 0.0
            self.pitch.observe(self.own_hz)

    def f0_of(self, frame: int) -> float:
        """Return the speaker's F0 at a decoder frame's centre, 0 if none is known."""
        return float(f0_at(self._history, DECODER_FRAME * frame, REACH))

    def _wanted_hz(self, later: int) -> float:
        """Return the F0 to sing in the next frame, or (1) LATER_FRAMES after it; 0 where there is no voice."""
        if not self._network.voiced(later) and self._mode != MODE_ROBOT:
            return 0.0
        self._last_hz[later] = self.f0_of(self._next + later * LATER_FRAMES) or self._last_hz[later]
        mode, target_hz = self._mode, self._target_hz
        if mode == MODE_SHIFT:
            mode, target_hz = MODE_TARGET, exp(self._log_home)
        return self.pitch.wanted_hz(self._last_hz[later], mode, self._semitones, target_hz, self._intonation)

    def _speak(self) -> None:
        """Make the next decoder frame and queue its sound."""
        units = DECODER_UNITS * self._next + round(self._wait / RATE_HZ * 1000.0 / WAIT_UNIT_MS)
        network = self._network
        network.listen(units % FRAME_UNITS)
        if isnan(self._log_wanted):
            raise RuntimeError("tick must be called before sound")
        np.subtract(self._wanted_film, network.film, out=self._step)
        self._step *= GLIDE
        network.film += self._step
        self._log_home += GLIDE * (self._log_wanted - self._log_home)
        if self._glides:
            self._glides -= 1
            if not self._glides:  # at its very end, so that who speaks says all of it
                network.film[:] = self._wanted_film
                self._log_home = self._log_wanted
        wanted_hz = self._wanted_hz(0)
        later_hz = self._wanted_hz(1) if network.hears_later else 0.0
        network.decode(max(wanted_hz, UNVOICED_HZ), max(later_hz, UNVOICED_HZ))
        self._sung_hz[:-1] = self._sung_hz[1:]
        self._sung_hz[-1] = wanted_hz
        synthesise(self._parts, self._network.parts, float(self._sung_hz[0]), self._formant, self._sound)
        n = resample(self._up, self._sound, self._up_sound)
        ring_push(self._queue, self._queued, self._up_sound[:n])
        self._next += 1


def _said_frames(wait: int) -> int:
    """Return the delay until the networks' sound is there, at 48 kHz, with a wait of so many samples at 16 kHz."""
    factor, twice = ENGINE_RATE_HZ // RATE_HZ, ENGINE_RATE_HZ // SYNTHESIS_RATE_HZ
    up = resampler_state(SYNTHESIS_RATE_HZ, ENGINE_RATE_HZ)
    synthesis = twice * (LEAD + resampler_delay_frames(up))
    return factor * (wait + AHEAD * DECODER_FRAME) - 1 + synthesis + decimator_delay_frames(decimator_state(factor))


def _film(network: Network, timbre: Timbre) -> NDArray[np.float32]:
    """Return how a voice moves the decoder's norms, float32[FILMS]."""
    film = network.film_of(timbre.vector)
    return film if timbre.personal is None else film + timbre.personal
