"""The engine: the only place where sound is changed. No I/O, no clock, no threads.

    x -> [to 48 kHz] -> sanitise -> high-pass -> [noise suppression] -> voices, cross-faded -> loudness -> energy
      -> gate, gain -> [watermark] -> limiter -> [back] -> y

`process` takes blocks of any size and gives the same samples for any split, bit for bit: everything slower than a
sample happens at ticks counted in samples. Parameters are taken over at the next tick and ramped. Latency is a
property: each stage declares its delay and `delay_frames` is their sum, whatever the settings but one: noise
suppression is late itself and adds that while it is on. When it is switched, sound and delayed sound cross-fade.

With a neural voice the engine is as late as that voice; the DSP voice runs beside it, delayed alike, and takes over
within one tick should the networks fail (`failure` then says why) or be too slow (`limit`; see `ladder` for when).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtvc.kernels.biquad import biquad, biquad_state, high_pass
from rtvc.kernels.dynamics import dynamics, dynamics_set, dynamics_state
from rtvc.kernels.gate import gate_detect, gate_set_thresholds, gate_state
from rtvc.kernels.limiter import limit, limiter_state
from rtvc.kernels.loudness import FOLLOW_S, loudness_match, loudness_state
from rtvc.kernels.mix import delay, delay_state, mix, sanitise, scale
from rtvc.kernels.ramp import TARGET, RampState, ramp_at_rest, ramp_fill, ramp_set, ramp_state
from rtvc.kernels.watermark import SYMBOLS, WatermarkState, watermark, watermark_state

from .dsp_voice import DspVoice
from .ladder import DSP, FP32, INT8, SILENCE
from .neural_voice import NeuralVoice
from .params import INDEX, PARAMS, VOICES, default_values
from .rate_adapter import RateAdapter
from .suppressor import Suppressor
from .timbres import Timbre
from .voice import ENGINE_RATE_HZ, TICK_FRAMES

LIMITER_FRAMES = 72  # 1.5 ms
CEILING_DBFS = -1.0
RUMBLE_HZ = 40.0
NEURAL_FOLLOW_S = 1.0  # of the loudness match: a neural voice's own dynamics are part of how it sounds
RUNG_FADE_FRAMES = 480  # 10 ms: from a voice that is too slow or failed into the next
SINK = 0.95  # what is left of a failed voice's last sample one sample later
SUPPRESS_TICKS = 60  # 0.3 s that noise suppression listens before it is heard
GATE_HYSTERESIS_DB = 6.0
GATE_OFF_DB = -90.0

_VOICE, _GATE, _SUPPRESS = INDEX["voice.name"], INDEX["gate.threshold_db"], INDEX["suppress.on"]
_MATCH, _ENERGY = INDEX["level.match"], INDEX["level.energy"]
_GAIN, _MUTE = INDEX["level.gain_db"], INDEX["level.mute"]
_DSP, _OWN, _NEURAL = VOICES.index("dsp"), VOICES.index("own"), VOICES.index("neural")


class Engine:
    """One stream of one speaker. See the module for the chain."""

    def __init__(
        self,
        rate_hz: int = ENGINE_RATE_HZ,
        values: NDArray[np.float64] | None = None,
        neural: NeuralVoice | None = None,
        finer: NeuralVoice | None = None,
        mark: NDArray[np.float32] | None = None,
        suppressor: Suppressor | None = None,
    ) -> None:
        """Make an engine for mono float32 at rate_hz (8000..192000) with the registry's values or its defaults.

        neural is the neural voice with 8-bit weights, finer the same with fp32 weights. Without either, voice.name =
        neural sounds as dsp does. mark is what the watermark says (`rtvc.provenance.payload.signs_of`); without it
        there is none. suppressor is what takes out noise; without it suppress.on does nothing. Raises ValueError for a
        rate out of range, a bad mark, or if the two are not equally late.
        """
        if not 8000 <= rate_hz <= 192000:
            raise ValueError(f"rate is {rate_hz} Hz: the engine takes 8000 to 192000 Hz")
        self.rate_hz = rate_hz
        self._values = default_values() if values is None else values.astype(np.float64, copy=True)
        self._marks, self._mark_signs = mark is not None, np.ones(SYMBOLS, np.float32)  # from the next tick on
        self._mark: WatermarkState | None = None
        self._voice = DspVoice()
        self._suppressor = suppressor
        self._neural = {rung: voice for rung, voice in ((FP32, finer), (INT8, neural)) if voice}
        delays = {voice.delay_frames for voice in self._neural.values()}
        if len(delays) > 1:
            raise ValueError(f"both neural voices must have one delay, got {sorted(delays)} frames")
        self._voice_delay = max({self._voice.delay_frames} | delays)
        self.failures: dict[int, str] = {}  # why a rung's networks are not used any more
        self._limit = self._ready = min(self._neural, default=DSP)
        self._clean, self._dsp, self._own, self._gate_gain = (np.zeros(TICK_FRAMES, np.float32) for _ in range(4))
        self._said, self._said_gain, self._one = (np.zeros(TICK_FRAMES, np.float32) for _ in range(3))
        self._one.fill(1.0)
        self._sinking = (SINK ** np.arange(1, TICK_FRAMES + 1)).astype(np.float32)
        self._matched, self._match_gain, self._plain_gain = (np.zeros(TICK_FRAMES, np.float32) for _ in range(3))
        self._dsp_gain, self._own_gain, self._gain = (np.zeros(TICK_FRAMES, np.float32) for _ in range(3))
        self._quiet, self._quiet_gain, self._noisy_gain = (np.zeros(TICK_FRAMES, np.float32) for _ in range(3))
        self._adapter = None if rate_hz == ENGINE_RATE_HZ else RateAdapter(rate_hz, ENGINE_RATE_HZ, self._run)
        self._counts = {"frames": 0, "replaced_samples": 0, "blocks": 0}
        if mark is not None:
            self.set_mark(mark)
        self.reset()

    def reset(self) -> None:
        """Forget all sound heard so far; parameters and counters stay."""
        rate = ENGINE_RATE_HZ
        self._voice.reset()
        for neural in self._neural.values():
            neural.reset()
        self.failures.clear()
        self._running = self._computed()
        self._last_said = 0.0
        self._hurry = False
        self._rumble = biquad_state(high_pass(rate, RUMBLE_HZ))
        self._gate = gate_state(rate, self._voice_delay)
        self._own_delay = delay_state(self._voice_delay)
        self._dsp_delay = delay_state(self._voice_delay - self._voice.delay_frames)
        self._loudness = loudness_state(rate, self._voice_delay, NEURAL_FOLLOW_S if self._neural else FOLLOW_S)
        self._dynamics = dynamics_state(rate, self._voice_delay, float(self._values[_ENERGY]))
        self._limiter = limiter_state(rate, LIMITER_FRAMES, CEILING_DBFS)
        self._mark = watermark_state(self._mark_signs) if self._mark else None
        self._marking = self._marks
        values = self._values
        self._dsp_ramp = ramp_state(float(self._dsp_sounds()))
        self._said_ramps = {rung: ramp_state(float(self.rung == rung)) for rung in self._neural}
        self._own_ramp = ramp_state(float(values[_VOICE] == _OWN))
        self._gain_ramp = ramp_state(self._wanted_gain())
        suppress = self._suppressor is not None and bool(values[_SUPPRESS])
        self._suppress_ramp = ramp_state(float(suppress))
        self._suppress_ticks = SUPPRESS_TICKS if suppress else 0  # that it has listened, 0 while it does not
        if self._suppressor:
            self._suppressor.reset()
        self._match_ramp = ramp_state(float(values[_MATCH]))
        self._to_tick = 0
        self.sample = 0
        if self._adapter:
            self._adapter.reset()

    @property
    def delay_frames(self) -> int:
        """The algorithmic delay at rate_hz, in frames; only noise suppression, while it is on, makes it longer."""
        inner = self._voice_delay + LIMITER_FRAMES
        if self._suppressor and self._suppress_ramp.values[TARGET]:
            inner += self._suppressor.delay_frames
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
    def has_suppressor(self) -> bool:
        """Whether suppress.on does anything."""
        return self._suppressor is not None

    @property
    def rungs(self) -> tuple[int, ...]:
        """The rungs of the quality ladder that this engine has, best first."""
        return (*sorted(self._neural), DSP, SILENCE)

    @property
    def rung(self) -> int:
        """The rung that is heard now, or would be if the voice asked for were a neural one."""
        if int(self._values[_VOICE]) == _NEURAL and self._limit < DSP:
            for rung in sorted(self._neural):
                if rung >= self._limit and rung not in self.failures:
                    return rung
        return max(DSP, self._limit)

    @property
    def failure(self) -> str:
        """Why the neural voice is not heard although it was asked for; "" if it is."""
        return next(iter(self.failures.values()), "") if len(self.failures) == len(self._neural) else ""

    def limit(self, heard: int, ready: int) -> None:
        """Let no rung better than `heard` sound, and compute none better than `ready` (at most `heard`).

        At the next tick a worse voice than before takes over within RUNG_FADE_FRAMES, a better one at the pace of
        voice.name. A rung that was not computed, or had failed, begins anew.
        """
        self._hurry = self._hurry or heard > self._limit
        self._limit, self._ready = heard, ready
        self.failures.pop(ready, None)

    @property
    def own_hz(self) -> float:
        """The speaker's F0 at the last tick, 0 where unvoiced."""
        return self._voice.own_hz

    def set(self, values: NDArray[np.float64]) -> None:
        """Take over the registry's values (float64[len(PARAMS)]) at the next tick."""
        self._values[:] = values

    def set_own(self, timbre: Timbre | None) -> None:
        """Let timbre be the user's own voice (voice.timbre = mine) from the next tick on; None: nobody any more."""
        for neural in self._neural.values():
            neural.set_own(timbre)

    def set_mark(self, mark: NDArray[np.float32] | None) -> None:
        """Let the watermark say mark (`rtvc.provenance.payload.signs_of`) from the next tick on; None: nothing.

        Raises ValueError for a bad mark.
        """
        self._marks = mark is not None
        if mark is not None:
            self._mark = self._mark or watermark_state(mark)
            self._mark_signs[:] = mark

    @property
    def gliding(self) -> bool:
        """Whether a voice glides in a way that no state tells; see `NeuralVoice.gliding`."""
        return any(self._neural[rung].gliding for rung in self._running)

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
        if self._ready == SILENCE and ramp_at_rest(self._gain_ramp, 0.0):
            y.fill(0.0)
            return
        clean, dsp, own, gate_gain = self._clean[:n], self._dsp[:n], self._own[:n], self._gate_gain[:n]
        dsp_gain, own_gain, gain = self._dsp_gain[:n], self._own_gain[:n], self._gain[:n]
        self._counts["replaced_samples"] += sanitise(x, clean)
        biquad(self._rumble, clean, clean)
        if self._suppressor and self._suppress_ticks:
            self._suppress(self._suppressor, clean)
        gate_detect(self._gate, clean, gate_gain)
        self._voice.process(clean, dsp)
        delay(self._dsp_delay, dsp, dsp)
        delay(self._own_delay, clean, own)
        ramp_fill(self._dsp_ramp, dsp_gain)
        ramp_fill(self._own_ramp, own_gain)
        mix(dsp, dsp_gain, own, own_gain, dsp)
        for rung, neural in self._neural.items():
            self._add_neural(rung, neural, clean, dsp)
        self._match(clean, dsp)
        dynamics(self._dynamics, clean, dsp)
        ramp_fill(self._gain_ramp, gain)
        scale(dsp, gate_gain)
        scale(dsp, gain)
        if self._mark is not None and self._marking:
            watermark(self._mark, dsp, dsp)
        limit(self._limiter, dsp, y)

    def _tick(self) -> None:
        """Take over parameters; runs when a new tick's first sample is about to be processed."""
        values = self._values
        self._to_tick = TICK_FRAMES
        self._voice.tick(values)
        running = self._computed()
        for rung in running:
            if rung not in self._running:
                self._neural[rung].reset()
                self._neural[rung].pitch.learn_from(self._voice.pitch)  # which listens always
            self._neural[rung].tick(values)
        self._running = running
        self._marking = self._marks
        if self._mark is not None:
            self._mark.signs[:] = self._mark_signs
        fade = RUNG_FADE_FRAMES if self._hurry else 0
        self._hurry = False
        _aim(self._dsp_ramp, float(self._dsp_sounds()), "voice.name", fade)
        for rung, ramp in self._said_ramps.items():
            _aim(ramp, float(self.rung == rung), "voice.name", fade)
        _aim(self._own_ramp, float(values[_VOICE] == _OWN), "voice.name")
        _aim(self._match_ramp, float(values[_MATCH]), "level.match")
        _aim(self._gain_ramp, self._wanted_gain(), "level.mute" if values[_MUTE] else "level.gain_db", fade)
        dynamics_set(self._dynamics, float(values[_ENERGY]))
        self._aim_suppression(bool(values[_SUPPRESS]))
        threshold = float(values[_GATE])
        if threshold <= GATE_OFF_DB:
            threshold = -400.0
        gate_set_thresholds(self._gate, threshold, threshold - GATE_HYSTERESIS_DB)

    def _suppress(self, suppressor: Suppressor, clean: NDArray[np.float32]) -> None:
        """Take the noise out of clean, as far as that is faded in."""
        n = clean.shape[0]
        quiet, quiet_gain, noisy_gain = self._quiet[:n], self._quiet_gain[:n], self._noisy_gain[:n]
        suppressor.process(clean, quiet)
        ramp_fill(self._suppress_ramp, quiet_gain)
        np.subtract(1.0, quiet_gain, out=noisy_gain)
        mix(clean, noisy_gain, quiet, quiet_gain, clean)

    def _aim_suppression(self, wanted: bool) -> None:
        """Let noise suppression listen first and be heard then, or fade out and rest."""
        if self._suppressor is None:
            return
        if wanted and self._suppress_ticks == 0:
            self._suppressor.reset()
        if wanted:
            self._suppress_ticks = min(self._suppress_ticks + 1, SUPPRESS_TICKS)
        elif ramp_at_rest(self._suppress_ramp, 0.0):
            self._suppress_ticks = 0
        _aim(self._suppress_ramp, float(wanted and self._suppress_ticks == SUPPRESS_TICKS), "suppress.on")

    def _add_neural(self, rung: int, neural: NeuralVoice, clean: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Mix a neural voice into y; if its networks fail, let its sound sink and the DSP voice in at the next tick."""
        n = clean.shape[0]
        said, gain, ramp = self._said[:n], self._said_gain[:n], self._said_ramps[rung]
        heard = not ramp_at_rest(ramp, 0.0)
        if rung in self.failures:
            if not heard:
                return
            np.multiply(self._sinking[:n], self._last_said, out=said)
        elif heard or rung in self._running:
            try:
                neural.process(clean, said)
            except Exception as error:  # whatever onnxruntime raises: the sound goes on
                self.failures[rung] = f"the neural voice stopped: {error}"
                self._hurry = True
                np.multiply(self._sinking[:n], self._last_said, out=said)
        else:
            return
        if heard and n:
            self._last_said = float(said[-1])
        ramp_fill(ramp, gain)
        mix(y, self._one[:n], said, gain, y)

    def _computed(self) -> frozenset[int]:
        """Return the neural rungs that run: the one that may be heard and the one on trial."""
        may = [rung for rung in sorted(self._neural) if rung >= self._limit and rung not in self.failures]
        trial = {self._ready} & self._neural.keys() - self.failures.keys()
        return frozenset([*may[: self._limit < DSP], *trial])

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

    def _dsp_sounds(self) -> bool:
        """Return whether the DSP voice is to be heard: asked for, or in place of a neural one that cannot be."""
        asked = int(self._values[_VOICE])
        return asked == _DSP or (asked == _NEURAL and self.rung >= DSP)

    def _wanted_gain(self) -> float:
        if self._values[_MUTE] or self._limit == SILENCE:
            return 0.0
        return float(10.0 ** (float(self._values[_GAIN]) / 20.0))


def _aim(ramp: RampState, target: float, param_id: str, frames: int = 0) -> None:
    """Head for target over so many frames or the parameter's declared ramp, unless already heading there."""
    if ramp.values[TARGET] != target:
        ramp_set(ramp, target, frames or round(PARAMS[param_id].ramp_ms * ENGINE_RATE_HZ / 1000))
