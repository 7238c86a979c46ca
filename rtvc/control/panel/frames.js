// Drawing at a calm pace: this page must not take time from the sound beside it.

const EVERY_MS = 26; // then the next frame: 30 a second on most screens

/** Return a function that asks for one call of draw(now); calls that come faster than the pace become one. */
export function paced(draw) {
  let asked = false;
  let drawnAt = 0;
  const frame = (now) => {
    asked = false;
    drawnAt = now;
    draw(now);
  };
  return () => {
    if (asked) return;
    asked = true;
    setTimeout(() => requestAnimationFrame(frame), Math.max(0, drawnAt + EVERY_MS - performance.now()));
  };
}
