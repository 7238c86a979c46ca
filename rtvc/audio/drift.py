"""Two devices, two clocks: see both, and say how much faster the engine must make frames so that none is missing.

`ClockModel` is a second-order delay-locked loop over (frames, time) pairs of one side's callbacks: it turns their
jitter into a smooth frames-at-time function and a rate. Its bandwidth starts wide and narrows with age. Readings far
off are left out: either they are late and the next ones are not, or the device stood still and its count starts
anew from there, at the rate that is known. `DriftControl` steers a resampler: the ratio of both rates, bent a
little towards the wanted sound in flight. Samples are never dropped or repeated for drift.

Units: seconds for levels, parts (1e-6 is 1 ppm) for corrections.

Source: F. Adriaensen, "Using a DLL to filter time" (Linux Audio Conference 2005) and "Controlling adaptive
resampling" (LAC 2012).
"""

from __future__ import annotations

from math import pi, sqrt

ACQUIRE_HZ = 1.0
LOCKED_HZ = 0.05
NARROWING = 0.4  # bandwidth times age: 1 Hz until 0.4 s, 0.1 Hz at 4 s, 0.05 Hz from 8 s on
GAP_S = 0.003  # a reading further off than this and four times the usual is left out ...
PATIENCE_S = 0.1  # ... and, if none after it is better for so long, begins a new count
USUAL_S = 0.005  # jitter to expect before any was seen
USUAL_OVER_S = 1.0
MOST_USUAL_S = 0.02
MAX_DEVIATION = 0.01  # of a device's rate from its name

ACQUIRE_S = 4.0
ACQUIRE_GAIN = 2.5  # parts for a second of error
LOCKED_GAIN = 0.4
MAX_CORRECTION = 5e-3  # 8.6 cents
MAX_LOCKED_BEND = 5e-4  # 0.87 cents away from the ratio of the clocks, which itself bends no pitch
HITCH_S = 0.003  # an error that large is no drift: acquire again


class ClockModel:
    """Smooth frames-at-time of one device, from its callbacks' time stamps."""

    def __init__(self, rate_hz: float) -> None:
        self.nominal_rate_hz = rate_hz
        self.rate_hz = rate_hz
        self.ready = False
        self._frames = 0
        self._time_s = 0.0
        self._age_s = 0.0
        self._usual_s = USUAL_S
        self._off_since_s: float | None = None
        self._latest = (0, 0.0)

    def observe(self, frames: int, time_s: float) -> None:
        """Take one reading: `frames` moved in all by time_s. The same reading twice counts once."""
        if not self.ready:
            self._frames, self._time_s, self._latest, self.ready = frames, time_s, (frames, time_s), True
            return
        if frames == self._latest[0]:
            return
        moved = frames - self._frames
        step_s = moved / self.rate_hz
        error_s = time_s - (self._time_s + step_s)
        weight = min((time_s - self._latest[1]) / USUAL_OVER_S, 0.05)
        self._latest = frames, time_s
        self._usual_s += weight * (min(abs(error_s), MOST_USUAL_S) - self._usual_s)
        if moved <= 0 or abs(error_s) > GAP_S + 4.0 * self._usual_s:
            self._off_since_s = time_s if self._off_since_s is None else self._off_since_s
            if moved <= 0 or time_s - self._off_since_s > PATIENCE_S:
                self._frames, self._time_s, self._off_since_s = frames, time_s, None
            return
        self._off_since_s = None
        self._age_s += step_s
        bandwidth_hz = min(max(NARROWING / self._age_s, LOCKED_HZ), ACQUIRE_HZ)
        w = 2.0 * pi * bandwidth_hz * min(step_s, 0.1)
        self._time_s += step_s + min(1.0, sqrt(2.0) * w) * error_s
        self._frames = frames
        most = MAX_DEVIATION * self.nominal_rate_hz
        rate = self.rate_hz * (1.0 - w * w * error_s / step_s)
        self.rate_hz = min(max(rate, self.nominal_rate_hz - most), self.nominal_rate_hz + most)

    def frames_at(self, time_s: float) -> float:
        """Return the frames moved by time_s, between and beyond callbacks."""
        frames, since_s = (self._frames, self._time_s) if self._off_since_s is None else self._latest
        return frames + (time_s - since_s) * self.rate_hz

    def deviation(self) -> float:
        """Return by how much this clock is faster than its nominal rate, in parts."""
        return self.rate_hz / self.nominal_rate_hz - 1.0


class DriftControl:
    """Steers the resampler so that the sound in flight stays at target_s."""

    def __init__(self, target_s: float) -> None:
        self.target_s = target_s
        self.correction = 0.0
        self.error_s = 0.0
        self._acquire_until_s: float | None = None

    def update(self, in_flight_s: float, ratio: float, time_s: float) -> float:
        """Take the level and how much faster playback's clock is than capture's (parts) at time_s.

        Return the correction: how many more frames to make than nominal, in parts.
        """
        self.error_s = in_flight_s - self.target_s
        if self._acquire_until_s is None or abs(self.error_s) > HITCH_S:
            self._acquire_until_s = time_s + ACQUIRE_S
        acquiring = time_s < self._acquire_until_s
        gain, bound = (ACQUIRE_GAIN, MAX_CORRECTION) if acquiring else (LOCKED_GAIN, MAX_LOCKED_BEND)
        bend = min(max(gain * self.error_s, -bound), bound)
        self.correction = min(max(ratio - bend, -MAX_CORRECTION), MAX_CORRECTION)
        return self.correction
