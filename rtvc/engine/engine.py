"""The engine: the only place where sound is changed. No I/O, no clock, no threads.

    x -> [to 48 kHz] -> sanitise -> high-pass -> voices, cross-faded -> loudness -> gate, gain -> limiter -> [back] -> y

`process` takes blocks of any size and gives the same samples for any split, bit for bit: everything slower than a
sample happens at ticks counted in samples. Parameters are taken over at the next tick and ramped. Latency is a
property: each stage declares its delay and `delay_frames` is their sum, whatever the settings.

With a neural voice the engine is as late as that voice; the DSP voice runs beside it, delayed alike, and takes over
within one tick should the networks fail (`failure` then says why).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.biquad import biquad, biquad_state, high_pass
from rtvc.kernels.gate import gate_detect, gate_set_thresholds, gate_state
from rtvc.kernels.limiter import limit, limiter_state
from rtvc.kernels.loudness import FOLLOW_S, loudness_match, loudness_state
from rtvc.kernels.mix import delay, delay_state, mix, sanitise, scale
from rtvc.kernels.ramp import TARGET, RampState, ramp_at_rest, ramp_fill, ramp_set, ramp_state

from .dsp_voice import DspVoice
from .neural_voice import NeuralVoice
from .params import INDEX, PARAMS, VOICES, default_values
from .rate_adapter import RateAdapter
from .voice import ENGINE_RATE_HZ, TICK_FRAMES

LIMITER_FRAMES = 72  # 1.5 ms
CEILING_DBFS = -1.0
RUMBLE_HZ = 40.0
NEURAL_FOLLOW_S = 1.0  # of the loudness match: a neural voice's own dynamics are part of how it sounds
GATE_HYSTERESIS_DB = 6.0
GATE_OFF_DB = -90.0

_VOICE, _GATE = INDEX["voice.name"], INDEX["gate.threshold_db"]
_MATCH, _GAIN, _MUTE = INDEX["level.match"], INDEX["level.gain_db"], INDEX["level.mute"]
_DSP, _OWN, _NEURAL = VOICES.index("dsp"), VOICES.index("own"), VOICES.index("neural")


class Engine:
    """One stream of one speaker. See the module for the chain."""

    def __init__(
        self,
        rate_hz: int = ENGINE_RATE_HZ,
        values: NDArray[np.float64] | None = None,
        neural: NeuralVoice | None = None,
    ) -> None:
        """Make an engine for mono float32 at rate_hz (8000..192000) with the registry's values or its defaults.

        Without a neural voice, voice.name = neural sounds as dsp does. Raises ValueError for a rate out of range.
        """
        if not 8000 <= rate_hz <= 192000:
            raise ValueError(f"rate is {rate_hz} Hz: the engine takes 8000 to 192000 Hz")
        self.rate_hz = rate_hz
        self._values = default_values() if values is None else values.astype(np.float64, copy=True)
        self._voice, self._neural = DspVoice(), neural
        self._voice_delay = max(self._voice.delay_frames, neural.delay_frames if neural else 0)
        self.failure = ""  # why the neural voice is not heard although it was asked for
        self._clean, self._dsp, self._own, self._gate_gain = (np.zeros(TICK_FRAMES, np.float32) for _ in range(4))
        self._said, self._said_gain, self._one = (np.zeros(TICK_FRAMES, np.float32) for _ in range(3))
        self._one.fill(1.0)
        self._matched, self._match_gain, self._plain_gain = (np.zeros(TICK_FRAMES, np.float32) for _ in range(3))
        self._dsp_gain, self._own_gain, self._gain = (np.zeros(TICK_FRAMES, np.float32) for _ in range(3))
        self._adapter = None if rate_hz == ENGINE_RATE_HZ else RateAdapter(rate_hz, ENGINE_RATE_HZ, self._run)
        self._counts = {"frames": 0, "replaced_samples": 0, "blocks": 0}
        self.reset()

    def reset(self) -> None:
        """Forget all sound heard so far; parameters and counters stay."""
        rate = ENGINE_RATE_HZ
        self._voice.reset()
        if self._neural:
            self._neural.reset()
        self.failure = ""
        self._rumble = biquad_state(high_pass(rate, RUMBLE_HZ))
        self._gate = gate_state(rate, self._voice_delay)
        self._own_delay = delay_state(self._voice_delay)
        self._dsp_delay = delay_state(self._voice_delay - self._voice.delay_frames)
        self._loudness = loudness_state(rate, self._voice_delay, NEURAL_FOLLOW_S if self._neural else FOLLOW_S)
        self._limiter = limiter_state(rate, LIMITER_FRAMES, CEILING_DBFS)
        values = self._values
        self._dsp_ramp = ramp_state(float(self._sounding() == _DSP))
        self._said_ramp = ramp_state(float(self._sounding() == _NEURAL))
        self._own_ramp = ramp_state(float(values[_VOICE] == _OWN))
        self._gain_ramp = ramp_state(self._wanted_gain())
        self._match_ramp = ramp_state(float(values[_MATCH]))
        self._to_tick = 0
        self.sample = 0
        if self._adapter:
            self._adapter.reset()

    @property
    def delay_frames(self) -> int:
        """The algorithmic delay at rate_hz, in frames, the same for every setting."""
        inner = self._voice_delay + LIMITER_FRAMES
        return self._adapter.delay_frames(inner) if self._adapter else inner

    @property
    def delay_ms(self) -> float:
        """The algorithmic delay in milliseconds."""
        return 1000.0 * self.delay_frames / self.rate_hz

    @property
    def counters(self) -> dict[str, int]:
        """What happened so far: frames and blocks processed, samples replaced because they were not finite or huge."""
        return dict(self._counts)

    @property
    def own_hz(self) -> float:
        """The speaker's F0 at the last tick, 0 where unvoiced."""
        return self._voice.own_hz

    def set(self, values: NDArray[np.float64]) -> None:
        """Take over the registry's values (float64[len(PARAMS)]) at the next tick."""
        self._values[:] = values

    def process(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Convert x into y, both float32[n] at rate_hz, any n. Allocates no sample memory.

        Raises ValueError if the shapes differ or are not one-dimensional.
        """
        if x.ndim != 1 or x.shape != y.shape:
            raise ValueError(f"x and y must be mono blocks of one length, got {x.shape} and {y.shape}")
        self._counts["blocks"] += 1
        self._counts["frames"] += x.shape[0]
        if self._adapter:
            self._adapter.process(x, y)
        else:
            self._run(x, y)

    def _run(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        start = 0
        while start < x.shape[0]:
            if self._to_tick == 0:
                self._tick()
            n = min(self._to_tick, x.shape[0] - start)
            self._chunk(x[start : start + n], y[start : start + n])
            self._to_tick -= n
            self.sample += n
            start += n

    def _chunk(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Run the chain over at most one tick."""
        n = x.shape[0]
        clean, dsp, own, gate_gain = self._clean[:n], self._dsp[:n], self._own[:n], self._gate_gain[:n]
        dsp_gain, own_gain, gain = self._dsp_gain[:n], self._own_gain[:n], self._gain[:n]
        self._counts["replaced_samples"] += sanitise(x, clean)
        biquad(self._rumble, clean, clean)
        gate_detect(self._gate, clean, gate_gain)
        self._voice.process(clean, dsp)
        delay(self._dsp_delay, dsp, dsp)
        delay(self._own_delay, clean, own)
        ramp_fill(self._dsp_ramp, dsp_gain)
        ramp_fill(self._own_ramp, own_gain)
        mix(dsp, dsp_gain, own, own_gain, dsp)
        if self._neural and not self.failure:
            self._add_neural(self._neural, clean, dsp)
        self._match(clean, dsp)
        ramp_fill(self._gain_ramp, gain)
        scale(dsp, gate_gain)
        scale(dsp, gain)
        limit(self._limiter, dsp, y)

    def _tick(self) -> None:
        """Take over parameters; runs when a new tick's first sample is about to be processed."""
        values = self._values
        self._to_tick = TICK_FRAMES
        self._voice.tick(values)
        if self._neural and not self.failure:
            self._neural.tick(values)
        _aim(self._dsp_ramp, float(self._sounding() == _DSP), "voice.name")
        _aim(self._said_ramp, float(self._sounding() == _NEURAL), "voice.name")
        _aim(self._own_ramp, float(values[_VOICE] == _OWN), "voice.name")
        _aim(self._match_ramp, float(values[_MATCH]), "level.match")
        _aim(self._gain_ramp, self._wanted_gain(), "level.mute" if values[_MUTE] else "level.gain_db")
        threshold = float(values[_GATE])
        if threshold <= GATE_OFF_DB:
            threshold = -400.0
        gate_set_thresholds(self._gate, threshold, threshold - GATE_HYSTERESIS_DB)

    def _add_neural(self, neural: NeuralVoice, clean: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Mix the neural voice into y; if its networks fail, let the DSP voice in at the next tick."""
        n = clean.shape[0]
        said, gain = self._said[:n], self._said_gain[:n]
        try:
            neural.process(clean, said)
        except Exception as error:  # whatever onnxruntime raises: the sound goes on
            self.failure = f"the neural voice stopped: {error}"
            said.fill(0.0)
        ramp_fill(self._said_ramp, gain)
        mix(y, self._one[:n], said, gain, y)

    def _match(self, clean: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Give y the loudness of what the speaker said, if that is wanted; fade over when that changes."""
        if ramp_at_rest(self._match_ramp, 0.0):
            return
        if ramp_at_rest(self._match_ramp, 1.0):
            loudness_match(self._loudness, clean, y)
            return
        n = y.shape[0]
        matched, gain, rest = self._matched[:n], self._match_gain[:n], self._plain_gain[:n]
        matched[:] = y
        loudness_match(self._loudness, clean, matched)
        ramp_fill(self._match_ramp, gain)
        np.subtract(1.0, gain, out=rest)
        mix(y, rest, matched, gain, y)

    def _sounding(self) -> int:
        """Return which voice is to be heard: the one asked for, or dsp in place of a neural one that cannot be."""
        asked = int(self._values[_VOICE])
        return _DSP if asked == _NEURAL and (self._neural is None or self.failure) else asked

    def _wanted_gain(self) -> float:
        return 0.0 if self._values[_MUTE] else 10.0 ** (float(self._values[_GAIN]) / 20.0)


def _aim(ramp: RampState, target: float, param_id: str) -> None:
    """Head for target over the parameter's declared ramp, unless already heading there."""
    if ramp.values[TARGET] != target:
        ramp_set(ramp, target, round(PARAMS[param_id].ramp_ms * ENGINE_RATE_HZ / 1000))
