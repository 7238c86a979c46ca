// What a registry entry means on screen: its kind, its steps, how a value is written and read.

// what one key press changes, plain and with Shift; the second is also the finest value that a drag can reach
const STEPS = { semitones: [1, 0.1], Hz: [5, 1], dB: [1, 0.1], dBFS: [1, 0.5], x: [0.05, 0.01], "": [0.05, 0.01] };
const LOGARITHMIC = new Set(["Hz", "x"]);
const PERCENT_UP_TO = 4;

/** Return a schema entry with what the panel needs besides; values on the wire may be words or numbers. */
export function readParam(entry) {
  const kind = entry.choices?.length ? "choice" : entry.switch ? "switch" : "number";
  const param = { ...entry, kind, group: entry.id.split(".")[0] };
  const span = entry.maximum - entry.minimum;
  const [step, fine] = STEPS[entry.unit] ?? [span / 40, span / 400];
  param.step = step;
  param.fine = fine;
  param.logarithmic = LOGARITHMIC.has(entry.unit) && entry.minimum > 0;
  param.scale = entry.unit === "" && entry.maximum <= PERCENT_UP_TO ? 100 : 1;
  param.decimals = Math.max(0, Math.ceil(-Math.log10(fine * param.scale) - 1e-9));
  param.default = readValue(param, entry.default);
  return param;
}

/** Return a value of the wire as the panel keeps it: a word, true or false, or a number. */
export function readValue(param, value) {
  if (param.kind === "choice") return typeof value === "number" ? param.choices[value] : value;
  if (param.kind === "switch") return typeof value === "boolean" ? value : value === 1 || value === "on";
  return Number(value);
}

/** Return a number as it is written without its unit, such as "-3.5". */
export function written(param, value) {
  const text = (value * param.scale).toFixed(param.decimals);
  return Number(text) === 0 ? text.replace("-", "") : text;
}

/** Return the number a person wrote, or null if it is none. */
export function parsed(param, text) {
  const plain = text.trim().replace(/[−–]/g, "-").replace(",", ".").match(/^[-+]?(\d+\.?\d*|\.\d+)/);
  return plain ? Number(plain[0]) / param.scale : null;
}

export const isAllowed = (param, value) => value >= param.minimum - 1e-9 && value <= param.maximum + 1e-9;

/** Return value within the range and on the grid of fine steps. */
export function fitted(param, value) {
  const onGrid = Math.round(value / param.fine) * param.fine;
  return Math.min(param.maximum, Math.max(param.minimum, Number(onGrid.toPrecision(9))));
}

/** Return a slider's place (0..1) for a value. */
export function toPlace(param, value) {
  const { minimum, maximum } = param;
  if (param.logarithmic) return Math.log(value / minimum) / Math.log(maximum / minimum);
  return (value - minimum) / (maximum - minimum);
}

/** Return the value at a slider's place (0..1). */
export function fromPlace(param, place) {
  const { minimum, maximum } = param;
  const value = param.logarithmic ? minimum * (maximum / minimum) ** place : minimum + place * (maximum - minimum);
  return fitted(param, value);
}

/** Return where a slider's coloured part begins: at zero for values of both signs, at 1 for factors, else at the left. */
export function origin(param) {
  if (param.unit === "x") return toPlace(param, 1);
  return param.minimum < 0 && param.maximum > 0 ? toPlace(param, 0) : 0;
}
