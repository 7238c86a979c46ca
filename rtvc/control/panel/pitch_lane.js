// The pitch of what comes in and of what goes out, over time, on a logarithmic axis.

import { css } from "./theme.js";

const LOW_HZ = 50;
const HIGH_HZ = 800;
const GAP_OCTAVES = 0.4; // a larger step between two columns is a new sound, not a glide

/** Return where a pitch lies in the lane, 0 at the bottom and 1 at the top. */
export const pitchPlace = (hz) => Math.log(hz / LOW_HZ) / Math.log(HIGH_HZ / LOW_HZ);

export class PitchTrack {
  #hz;

  constructor(columns) {
    this.#hz = new Float32Array(columns);
  }

  put(at, hz) {
    this.#hz[at % this.#hz.length] = hz > 0 ? hz : 0;
  }

  /** Draw the columns from `first` (may lie between two) on, `count` of them, as lines broken where there is no voice. */
  draw(context, first, count, { left, top, width, height }, rgb, thick, alpha) {
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.strokeStyle = css(rgb, alpha);
    context.lineWidth = thick;
    context.lineJoin = context.lineCap = "round";
    context.beginPath();
    let before = 0;
    for (let at = Math.max(0, Math.floor(first)); at < first + count; at++) {
      const hz = this.#hz[at % this.#hz.length];
      const x = left + ((at - first) / count) * width;
      const y = top + height * (1 - pitchPlace(hz));
      const joined = before > 0 && hz > 0 && Math.abs(Math.log2(hz / before)) < GAP_OCTAVES;
      if (joined) context.lineTo(x, y);
      else if (hz > 0) {
        context.moveTo(x, y);
        context.lineTo(x + 0.1, y);
      }
      before = hz;
    }
    context.stroke();
    context.restore();
  }
}
