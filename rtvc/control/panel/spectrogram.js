// One scrolling spectrogram: columns of 64 levels kept in a ring and painted into a picture of one pixel per level.

import { colour } from "./theme.js";

export const BANDS = 64;
const LOW_HZ = 60;
const HIGH_HZ = 12000;

const mel = (hz) => 2595 * Math.log10(1 + hz / 700);

/** Return where a frequency lies in a spectrogram, 0 at the bottom and 1 at the top. */
export const bandPlace = (hz) => (mel(hz) - mel(LOW_HZ)) / (mel(HIGH_HZ) - mel(LOW_HZ));

export class Spectrogram {
  #columns;
  #levels;
  #canvas;
  #context;
  #palette = [];
  #tokens;

  /** tokens name the colours of silence, of a middle level, and of the loudest. */
  constructor(columns, tokens) {
    this.#columns = columns;
    this.#tokens = tokens;
    this.#levels = new Uint8Array(columns * BANDS);
    this.#canvas = document.createElement("canvas");
    this.#canvas.width = columns;
    this.#canvas.height = BANDS;
    this.#context = this.#canvas.getContext("2d");
    this.recolour();
  }

  /** Put column number `at` (counted from the beginning). */
  put(at, bands) {
    const column = at % this.#columns;
    for (let i = 0; i < BANDS; i++) this.#levels[column * BANDS + i] = bands?.[i] ?? 0;
    this.#paint(column);
  }

  /** Take the theme's colours; everything is painted again. */
  recolour() {
    const stops = this.#tokens.map(colour);
    this.#palette = Array.from({ length: 256 }, (_, level) => {
      // speech fills -70 to -15 dB of the 90: stretch those over the colours
      const place = Math.min(1, Math.max(0, (level / 255 - 0.22) / 0.62)) * (stops.length - 1);
      const lower = Math.min(stops.length - 2, Math.floor(place));
      return stops[lower].map((value, i) => value + (stops[lower + 1][i] - value) * (place - lower));
    });
    for (let column = 0; column < this.#columns; column++) this.#paint(column);
  }

  #paint(column) {
    const pixels = this.#context.createImageData(1, BANDS);
    for (let i = 0; i < BANDS; i++) {
      const [red, green, blue] = this.#palette[this.#levels[column * BANDS + BANDS - 1 - i]];
      pixels.data.set([red, green, blue, 255], 4 * i);
    }
    this.#context.putImageData(pixels, column, 0);
  }

  /** Draw the columns from number `first` (may lie between two) on, `count` of them, into the rectangle. */
  draw(context, first, count, { left, top, width, height }) {
    const perColumn = width / count;
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    let at = Math.floor(first);
    const end = first + count;
    while (at < end) {
      const start = ((at % this.#columns) + this.#columns) % this.#columns;
      const run = Math.min(Math.ceil(end) - at, this.#columns - start);
      context.drawImage(this.#canvas, start, 0, run, BANDS, left + (at - first) * perColumn, top, run * perColumn, height);
      at += run;
    }
    context.restore();
  }
}
