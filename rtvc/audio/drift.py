"""Two devices, two clocks: see both, and say how much faster the engine must make frames so that none is missing.

`ClockModel` is a second-order delay-locked loop over (frames, time) pairs of one side's callbacks: it turns their
jitter into a smooth frames-at-time function. `DriftControl` compares the sound in flight between both sides with
its target and steers a resampler: a proportional-integral loop, wide while acquiring, narrow afterwards, so the
correction is inaudible. The integral learns the ratio of the clocks; sounding at that ratio is what keeps the pitch.
Samples are never dropped or repeated for drift.

Units: seconds for levels, parts (1e-6 is 1 ppm) for corrections.

Source: F. Adriaensen, "Using a DLL to filter time" (Linux Audio Conference 2005) and "Controlling adaptive
resampling" (LAC 2012).
"""

from __future__ import annotations

from math import pi, sqrt

ACQUIRE_HZ = 1.0
LOCKED_HZ = 0.05
ACQUIRE_S = 4.0
MAX_CORRECTION = 5e-3  # 8.6 cents
MAX_LOCKED_BEND = 5e-4  # 0.87 cents, away from the ratio of the two clocks once that is known
HITCH_S = 0.003  # an error that large is no drift: it is steered out as fast as the loop goes, and not learnt from
GAP_S = 0.05  # readings further off than this are late, and their device stood still ...
PATIENCE_S = 0.1  # ... if it has not made up for it after so long
DAMPING = 1.0 / sqrt(2.0)


class ClockModel:
    """Smooth frames-at-time of one device, from its callbacks' time stamps."""

    def __init__(self, rate_hz: float) -> None:
        self.nominal_rate_hz = rate_hz
        self.rate_hz = rate_hz
        self.ready = False
        self._frames = 0
        self._time_s = 0.0
        self._start_s = 0.0
        self._off_since_s: float | None = None
        self._latest = (0, 0.0)

    def observe(self, frames: int, time_s: float) -> None:
        """Take one reading: `frames` moved in all by time_s. The same reading twice counts once."""
        if not self.ready:
            self._frames, self._time_s, self._start_s, self.ready = frames, time_s, time_s, True
            return
        moved = frames - self._frames
        if moved == 0:
            return
        step_s = moved / self.rate_hz
        error_s = time_s - (self._time_s + step_s)
        if moved < 0 or abs(error_s) > GAP_S:
            self._latest = frames, time_s
            self._off_since_s = time_s if self._off_since_s is None else self._off_since_s
            if moved < 0 or time_s - self._off_since_s > PATIENCE_S:
                # its count starts anew from here, at the rate that is known
                self._frames, self._time_s, self._off_since_s = frames, time_s, None
            return
        self._off_since_s = None
        bandwidth_hz = ACQUIRE_HZ if time_s - self._start_s < ACQUIRE_S else LOCKED_HZ
        w = 2.0 * pi * bandwidth_hz * min(step_s, 0.1)
        self._time_s += step_s + min(1.0, sqrt(2.0) * w) * error_s
        self._frames = frames
        rate = self.rate_hz * (1.0 - w * w * error_s / step_s)
        nominal = self.nominal_rate_hz
        self.rate_hz = min(max(rate, nominal * 0.99), nominal * 1.01)

    def frames_at(self, time_s: float) -> float:
        """Return the frames moved by time_s, between and beyond callbacks."""
        frames, since_s = (self._frames, self._time_s) if self._off_since_s is None else self._latest
        return frames + (time_s - since_s) * self.rate_hz


class DriftControl:
    """Steers the resampler so that the sound in flight stays at target_s."""

    def __init__(self, target_s: float) -> None:
        self.target_s = target_s
        self.reset()

    def reset(self) -> None:
        """Start acquiring again."""
        self.correction = 0.0
        self.error_s = 0.0
        self._integral = 0.0
        self._age_s = 0.0
        self._last_s: float | None = None

    def update(self, in_flight_s: float, time_s: float) -> float:
        """Take the level at time_s; return the correction (more frames out than nominal, in parts)."""
        step_s = 0.0 if self._last_s is None else min(max(time_s - self._last_s, 0.0), 0.1)
        self._last_s = time_s
        self._age_s += step_s
        acquiring = self._age_s < ACQUIRE_S
        w = 2.0 * pi * (ACQUIRE_HZ if acquiring else LOCKED_HZ)
        self.error_s = in_flight_s - self.target_s
        learning = MAX_CORRECTION if acquiring else MAX_LOCKED_BEND
        bound = learning if abs(self.error_s) < HITCH_S else MAX_CORRECTION
        wanted = 2.0 * DAMPING * w * self.error_s
        bend = min(max(wanted, -bound), bound)
        integral = self._integral + w * w * self.error_s * step_s
        if abs(wanted) <= learning and abs(integral) < MAX_CORRECTION:  # no wind-up against a bound
            self._integral = integral
        self.correction = min(max(-(bend + self._integral), -MAX_CORRECTION), MAX_CORRECTION)
        return self.correction
