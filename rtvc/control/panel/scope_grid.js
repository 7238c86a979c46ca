// The scope's still layer: where its lanes are, their axes in Hz, the time below. Drawn again only when it changes.

import { t } from "./i18n.js";
import { pitchPlace } from "./pitch_lane.js";
import { bandPlace } from "./spectrogram.js";
import { colour, css } from "./theme.js";

const PITCH_HZ = [50, 100, 200, 400, 800];
const BAND_HZ = [250, 1000, 4000, 12000];
const GUTTER = 46, FOOT = 18, GAP = 12, EDGE = 4;
const FONT = '11px system-ui, "Noto Sans CJK SC", "WenQuanYi Micro Hei", sans-serif';

/** Return the rectangles of the lanes pitch, in and out on a canvas of that size. */
export function lanesOf(width, height) {
  const room = height - FOOT - 2 * GAP - EDGE;
  const pitch = Math.round(room * 0.4), band = Math.round(room * 0.3);
  const lane = (top, high) => ({ left: GUTTER, top: EDGE + top, width: width - GUTTER - 8, height: high });
  return { pitch: lane(0, pitch), in: lane(pitch + GAP, band), out: lane(pitch + band + 2 * GAP, band) };
}

/** Draw the layer; seconds is how much time the lanes show. */
export function drawGrid(context, lanes, seconds) {
  drawAxis(context, lanes.pitch, PITCH_HZ, pitchPlace);
  drawAxis(context, lanes.in, BAND_HZ, bandPlace);
  drawAxis(context, lanes.out, BAND_HZ, bandPlace);
  drawNames(context, lanes.pitch, [["scope.pitch-in", "in"], ["scope.pitch-out", "out"]]);
  drawNames(context, lanes.in, [["scope.in", "in"]]);
  drawNames(context, lanes.out, [["scope.out", "out"]]);
  drawTime(context, lanes.out, seconds);
}

function drawAxis(context, lane, frequencies, place) {
  context.font = FONT;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.lineWidth = 1;
  context.strokeStyle = css(colour("grid"), 0.5);
  context.fillStyle = css(colour("dim"));
  for (const hz of frequencies) {
    const y = Math.round(lane.top + lane.height * (1 - place(hz))) + 0.5;
    context.beginPath();
    context.moveTo(lane.left, y);
    context.lineTo(lane.left + lane.width, y);
    context.stroke();
    context.fillText(hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`, lane.left - 6, Math.max(lane.top + 6, y));
  }
}

function drawNames(context, lane, names) {
  context.font = `600 ${FONT}`;
  context.textAlign = "left";
  context.textBaseline = "top";
  let x = lane.left + 8;
  for (const [key, token] of names) {
    const text = t(key);
    const wide = context.measureText(text).width;
    context.fillStyle = css(colour("card"), 0.75);
    context.fillRect(x - 4, lane.top + 4, wide + 8, 17);
    context.fillStyle = css(colour(token));
    context.fillText(text, x, lane.top + 7);
    x += wide + 16;
  }
}

function drawTime(context, lane, seconds) {
  context.font = FONT;
  context.fillStyle = css(colour("dim"));
  context.textBaseline = "top";
  for (let back = 0; back <= seconds; back += 2) {
    const x = lane.left + lane.width * (1 - back / seconds);
    context.textAlign = back === 0 ? "right" : back === seconds ? "left" : "center";
    context.fillText(back === 0 ? t("scope.now") : `−${back} s`, x, lane.top + lane.height + 5);
  }
}
