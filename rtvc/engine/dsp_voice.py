"""The DSP voice: pitch, formants, breath, whisper, robot, brightness and telephone, without a network.

48 kHz in and out. One path: pitch-synchronous overlap-add beside envelope-shaped noise, mixed, then a shelf and a
telephone line mixed in. F0 comes from a 16 kHz copy of the input. Delay: DELAY_FRAMES for every setting, so
settings may change while it speaks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.aspiration import aspiration, aspiration_delay, aspiration_listen, aspiration_state
from rtvc.kernels.biquad import biquad, biquad_set, biquad_state, high_shelf, high_shelf_into
from rtvc.kernels.decimate import decimate, decimator_state
from rtvc.kernels.f0 import f0_state, f0_track
from rtvc.kernels.mix import delay, delay_state, mix
from rtvc.kernels.psola import psola, psola_state
from rtvc.kernels.ramp import TARGET, RampState, ramp_at_rest, ramp_fill, ramp_set, ramp_state

from .params import INDEX, PARAMS
from .speaker_pitch import MODE_ROBOT, SpeakerPitch
from .telephone import Telephone
from .voice import ENGINE_RATE_HZ, TICK_FRAMES

DELAY_FRAMES = 576  # 12 ms
F0_RATE_HZ = 16000
BRIGHTNESS_HZ = 3000.0
BREATH_GAIN = 0.7  # noise under the tone at breath.amount = 1
VOICED_CONFIDENCE = 0.2

_MODE, _SEMITONES, _TARGET = INDEX["pitch.mode"], INDEX["pitch.semitones"], INDEX["pitch.target_hz"]
_INTONATION, _FORMANT, _FOLLOW = INDEX["pitch.intonation"], INDEX["formant.ratio"], INDEX["formant.follow"]
_BRIGHTNESS, _BREATH = INDEX["tone.brightness_db"], INDEX["breath.amount"]
_WHISPER, _TELEPHONE = INDEX["whisper.amount"], INDEX["telephone.amount"]


def _ramp_frames(param_id: str) -> int:
    return round(PARAMS[param_id].ramp_ms * ENGINE_RATE_HZ / 1000)


class DspVoice:
    """One speaker's stream through the DSP voice."""

    delay_frames = DELAY_FRAMES

    def __init__(self) -> None:
        self.pitch = SpeakerPitch(TICK_FRAMES / ENGINE_RATE_HZ)
        n = TICK_FRAMES
        self._noise, self._tone_gain, self._noise_gain = (np.zeros(n, np.float32) for _ in range(3))
        self._low_rate = np.zeros(n, np.float32)
        self._f0, self._voiced, self._confidence = (np.zeros(8, np.float32) for _ in range(3))
        self._shelf_target = np.zeros(5)
        self.reset()

    def reset(self) -> None:
        """Forget all sound, the speaker's pitch included."""
        rate = ENGINE_RATE_HZ
        self._decimator = decimator_state(rate // F0_RATE_HZ)
        self._tracker = f0_state()
        self._shifter = psola_state(rate, DELAY_FRAMES)
        self._aspiration = aspiration_state(rate)
        self._noise_delay = delay_state(DELAY_FRAMES - aspiration_delay(self._aspiration))
        self._shelf = biquad_state(high_shelf(rate, BRIGHTNESS_HZ, 0.0), _ramp_frames("tone.brightness_db"))
        self._telephone = Telephone()
        self._tone_ramp, self._noise_ramp = ramp_state(1.0), ramp_state(0.0)
        self.pitch.reset()
        self.own_hz = 0.0
        self.wanted_hz = 0.0
        self._ratio = 1.0
        self._everywhere = False
        self._noisy = False
        self._semitones: float | None = None
        self._target_octaves = 0.0
        self._formant = 1.0

    def process(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Convert x into y, both float32[n] with n <= TICK_FRAMES, DELAY_FRAMES later."""
        n = x.shape[0]
        noise, tone_gain, noise_gain = self._noise[:n], self._tone_gain[:n], self._noise_gain[:n]
        psola(self._shifter, x, self.own_hz, self.wanted_hz, self._ratio, self._everywhere, y)
        if self._noisy:
            aspiration(self._aspiration, x, self._ratio, noise)
            delay(self._noise_delay, noise, noise)
            ramp_fill(self._tone_ramp, tone_gain)
            ramp_fill(self._noise_ramp, noise_gain)
            mix(y, tone_gain, noise, noise_gain, y)
        else:
            aspiration_listen(self._aspiration, x, noise)
            delay(self._noise_delay, noise, noise)
        biquad(self._shelf, y, y)
        self._telephone.process(y)
        low = decimate(self._decimator, x, self._low_rate)
        hops = f0_track(self._tracker, self._low_rate[:low], self._f0, self._voiced, self._confidence)
        if hops:
            self.own_hz = float(self._f0[hops - 1]) if self._confidence[hops - 1] > VOICED_CONFIDENCE else 0.0
            self.pitch.observe(self.own_hz)

    def tick(self, values: NDArray[np.float64]) -> None:
        """Take over the registry's values; pitch and formant glide from tick to tick, the rest ramp by sample."""
        mode = int(values[_MODE])
        self._everywhere = mode == MODE_ROBOT
        semitones, octaves = float(values[_SEMITONES]), float(np.log2(values[_TARGET]))
        formant = float(values[_FORMANT])
        if self._semitones is None:
            self._semitones, self._target_octaves, self._formant = semitones, octaves, formant
        glide = min(1.0, 2.0 * TICK_FRAMES / _ramp_frames("pitch.semitones"))
        self._semitones += glide * (semitones - self._semitones)
        self._target_octaves += glide * (octaves - self._target_octaves)
        self._formant += glide * (formant - self._formant)
        target_hz = 2.0**self._target_octaves
        moved = self.pitch.shift_octaves(mode, self._semitones, target_hz)
        self._ratio = min(2.0, max(0.5, self._formant * 2.0 ** (float(values[_FOLLOW]) * moved)))
        self.wanted_hz = self.pitch.wanted_hz(self.own_hz, mode, self._semitones, target_hz, float(values[_INTONATION]))
        whisper, breath = float(values[_WHISPER]), float(values[_BREATH])
        self._telephone.set(float(values[_TELEPHONE]))
        high_shelf_into(self._shelf_target, ENGINE_RATE_HZ, BRIGHTNESS_HZ, float(values[_BRIGHTNESS]), 0.7071)
        biquad_set(self._shelf, 0, self._shelf_target)
        self._aim(self._tone_ramp, 1.0 - whisper, "whisper.amount")
        self._aim(self._noise_ramp, whisper + (1.0 - whisper) * BREATH_GAIN * breath, "breath.amount")
        # what is silent and stays so is not computed
        self._noisy = not ramp_at_rest(self._noise_ramp, 0.0)

    @staticmethod
    def _aim(ramp: RampState, target: float, param_id: str) -> None:
        if ramp.values[TARGET] != target:
            ramp_set(ramp, target, _ramp_frames(param_id))
