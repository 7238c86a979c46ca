"""The quality ladder: which voice the machine can afford now, from how long its blocks take. No clock of its own.

Rungs, best first: neural fp32, neural 8-bit, DSP voice, silence. Rungs whose weights are not there are simply absent,
and the speaker's own voice is none: it is heard only where the user asks for it.

- Down from a neural voice, which leads to the DSP voice, for that always runs: after one block that took longer than
  the sound in flight lasts and was computing most of that time; after HITCHES late blocks within HITCHES_S that were
  kept waiting by others; at a load above FULL.
- Down from the DSP voice, to silence: only at such a load. It costs little, so what makes a block of it late is no
  reason to say nothing at all.
- Up slowly: after HOLD_S, and CALM_S after the last late block, the next better rung is computed for TRIAL_S without
  being heard; if all blocks were in time and the load stayed below EASY it is heard again. A rung that is left again
  within RELAPSE_S, or fails its trial, must wait twice as long, up to LONGEST_S.
- A rung that fails (its networks raise) is put in quarantine for QUARANTINE_S, doubled each time, then tried like that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

FP32, INT8, DSP, SILENCE = range(4)
RUNGS = ("neural fp32", "neural 8-bit", "dsp", "silence")

REASONS = (
    "",
    "the voice above it takes too long to compute here",
    "other programs take the processor",
    "the networks failed",
    "the engine ended again and again with the networks",
)
AS_WISHED, SLOW, BUSY, FAILED, BARRED = range(5)

HITCHES, HITCHES_S = 3, 1.0
LOAD_OVER_S = 0.5
FULL, EASY = 0.9, 0.7  # load: share of real time
MOST_LOAD = 2.0  # of one block: a virtual machine that stood still counts that as computing
MOSTLY = 0.5  # share of a late block's time limit that it computed: then it is late by itself
HOLD_S, CALM_S, TRIAL_S, RELAPSE_S = 5.0, 2.0, 2.0, 30.0
QUARANTINE_S, LONGEST_S = 30.0, 480.0


class Ladder:
    """Feed it every block (`observe`) and every failure (`failed`); `heard` and `ready` say what to do."""

    def __init__(self, rungs: Sequence[int]) -> None:
        """Rungs are those that are there (FP32..SILENCE), best first; DSP and SILENCE always are."""
        self.rungs = tuple(rungs)
        self.heard = self.rungs[0]
        self.ready = self.heard  # the best rung that is computed: above heard during a trial
        self.reason = AS_WISHED
        self.changes = 0
        self.load = 0.0  # of the rungs that are computed, share of one core
        self._hold_s = dict.fromkeys(self.rungs, HOLD_S)
        self._not_before_s = dict.fromkeys(self.rungs, 0.0)
        self._late_s: deque[float] = deque(maxlen=HITCHES)
        self._climbed_s = self._trial_since_s = -LONGEST_S

    def observe(self, busy_s: float, cpu_s: float, sound_s: float, limit_s: float, time_s: float) -> bool:
        """Take a block of sound_s that took busy_s, cpu_s of it computing, and should have taken limit_s at most.

        Return whether heard or ready changed.
        """
        self.load += min(1.0, sound_s / LOAD_OVER_S) * (min(cpu_s / sound_s, MOST_LOAD) - self.load)
        cause = AS_WISHED
        if busy_s > limit_s:
            self._late_s.append(time_s)
            if self.ready < DSP and cpu_s > MOSTLY * limit_s:
                cause = SLOW
            elif self.ready < DSP and len(self._late_s) == HITCHES and time_s - self._late_s[0] < HITCHES_S:
                cause = BUSY
        if self.load > FULL:
            cause = SLOW
        if cause != AS_WISHED:
            return self._too_much(cause, time_s)
        return self._climb(time_s)

    def failed(self, rung: int, time_s: float) -> None:
        """Put a rung that raised in quarantine."""
        self._put_off(rung, max(QUARANTINE_S, self._hold_s[rung]), time_s)
        if rung == self.heard:
            self._go(DSP, FAILED)
        self.ready = self.heard

    def _too_much(self, cause: int, time_s: float) -> bool:
        self.load = 0.0
        self._late_s.clear()
        self._late_s.append(time_s)
        if self.ready < self.heard:  # a trial: nobody heard it
            self._put_off(self.ready, self._hold_s[self.ready], time_s)
            self.ready = self.heard
            return True
        if self.heard == SILENCE:
            return False
        relapsed = time_s - self._climbed_s < RELAPSE_S
        self._put_off(self.heard, self._hold_s[self.heard] if relapsed else HOLD_S, time_s)
        self._go(DSP if self.heard < DSP else SILENCE, cause)
        return True

    def _climb(self, time_s: float) -> bool:
        if self.ready < self.heard:
            if time_s - self._trial_since_s < TRIAL_S:
                return False
            if self.load > EASY:
                return self._too_much(SLOW, time_s)
            self._climbed_s = time_s
            self._go(self.ready, AS_WISHED if self.ready == self.rungs[0] else self.reason)
            return True
        calm = not self._late_s or time_s - self._late_s[-1] > CALM_S
        better = [rung for rung in self.rungs if rung < self.heard and time_s > self._not_before_s[rung]]
        if not better or not calm:
            return False
        self.ready = better[-1]
        self._trial_since_s = time_s
        return True

    def _go(self, rung: int, reason: int) -> None:
        self.heard = self.ready = rung
        self.reason = reason
        self.changes += 1

    def _put_off(self, rung: int, hold_s: float, time_s: float) -> None:
        """Let a rung wait so long before it is tried again, and twice as long should that be in vain."""
        self._not_before_s[rung] = time_s + hold_s
        self._hold_s[rung] = min(2.0 * hold_s, LONGEST_S)
