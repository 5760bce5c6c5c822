/* What several parts of the page draw with: pixels on canvases, elements, numbers in words. */

const POSITIVE = [90, 170, 255];
const NEGATIVE = [255, 142, 74];
const BETWEEN = [64, 72, 88]; // images that lie side by side
const DARK = [18, 22, 30]; // the ground of every canvas, in both colour schemes
const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/* Numbers of a length that does not jump about: 0.123, 12.3, 1.2e-7. */
function inDigits(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 5e-4 || size >= 1e5)
      ? value.toExponential(1)
      : value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3);
  return text.replaceAll("-", "−");
}
const signed = (value) => (value > 0 ? "+" : "") + inDigits(value);
const percent = (part, whole) => `${((100 * part) / whole).toFixed(whole >= 10000 ? 2 : 1)} %`;
const inEnglish = (count) => count.toLocaleString("en");
/* An equal text would be laid out anew. */
const setText = (node, text) => node.textContent !== text && (node.textContent = text);

/* The length of a bar as a share of its space, and its direction. A background is painted anew without being laid out. */
function setBar({ firstChild: bar }, share) {
  bar.style.backgroundSize = `${100 * Math.abs(share)}% 100%`;
  bar.classList.toggle("negative", share < 0);
}

/* A colour as a canvas keeps it in memory: one number for its four bytes. */
const packed = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

/* Numbers as small squares, width x height; `colours(value)` gives a packed colour. */
function paintSquares(canvas, values, width, height, colours) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const squares = new Uint32Array(image.data.buffer).fill(packed(DARK));
  for (let place = 0; place < values.length; place++) squares[place] = colours(values[place]);
  context.putImageData(image, 0, 0);
}

const mixed = (from, to, share) => [0, 1, 2].map((part) => from[part] + share * (to[part] - from[part]));
const LIGHT = Array.from({ length: 256 }, (_, level) => mixed(DARK, [255, 255, 255], level / 255));
const SIGNED = Array.from({ length: 511 }, (_, level) =>
  mixed(DARK, level < 255 ? NEGATIVE : POSITIVE, Math.abs(level - 255) / 255),
);
const [PACKED_LIGHT, PACKED_SIGNED] = [LIGHT, SIGNED].map((colours) => Uint32Array.from(colours, packed));
const PACKED_BETWEEN = packed(BETWEEN);

const lightLevel = (value) => Math.round(255 * clamp(value, 0, 1));
const signedLevel = (share) => 255 + Math.round(255 * clamp(share, -1, 1));
const packedLight = (value) => PACKED_LIGHT[lightLevel(value)];

/* A packed colour for each pixel of ink, 0 to 1. An image with colours has them side by side in each pixel. */
function packedPixels(pixels, count) {
  const squares = new Uint32Array(count).fill(packed(DARK));
  if (pixels.length !== 3 * count) pixels.forEach((ink, place) => (squares[place] = packedLight(ink)));
  else
    squares.forEach((_, place) => (squares[place] = packed([0, 1, 2].map((part) => 255 * pixels[3 * place + part]))));
  return squares;
}

function paintPixels(canvas, pixels, width, height) {
  paintSquares(canvas, packedPixels(pixels, width * height), width, height, (colour) => colour);
}

const largest = (values) => {
  let most = 0;
  for (let place = 0; place < values.length; place++) {
    const size = Math.abs(values[place]);
    if (size > most) most = size; // which NaN is not
  }
  return most;
};

function paintSigned(canvas, values, width, height, most = largest(values)) {
  const scale = most ? 1 / most : 0;
  paintSquares(canvas, values, width, height, (value) =>
    value === value ? PACKED_SIGNED[signedLevel(scale * value)] : PACKED_BETWEEN,
  );
}

/* Rows of weights as one picture of `columns` images, each width x height, a pixel between them that is no number. */
function mosaic(rows, count, width, height, columns) {
  const lines = Math.ceil(count / columns);
  const [wide, high] = [columns * (width + 1) - 1, lines * (height + 1) - 1];
  const whole = new Float64Array(wide * high).fill(NaN);
  for (let number = 0; number < count; number++) {
    const [left, top] = [(number % columns) * (width + 1), Math.floor(number / columns) * (height + 1)];
    for (let place = 0; place < width * height; place++) {
      whole[(top + Math.floor(place / width)) * wide + left + (place % width)] = rows[number * width * height + place];
    }
  }
  return { whole, wide, high };
}

/* One number for each pixel: of an image with colours, the average of theirs. */
function onePerPixel(row, pixels) {
  const channels = row.length / pixels;
  if (channels === 1) return row;
  return Float64Array.from({ length: pixels }, (_, place) => {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += row[place * channels + channel];
    return sum / channels;
  });
}

function markPixel(canvas, [x, y], down) {
  const context = canvas.getContext("2d");
  context.fillStyle = down ? "rgb(255 142 74)" : "rgb(90 170 255)";
  context.fillRect(Math.floor(x), Math.floor(y), 1, 1);
}

/* A slider that says its value beside itself. */
function slider(id, shown, changed) {
  const input = byId(id);
  const said = input.parentElement.querySelector("output");
  const say = (value = Number(input.value)) => {
    const text = shown(value);
    setText(said, text);
    input.setAttribute("aria-valuetext", text); // the slider's own number may be a logarithm, or a place in a list
  };
  input.addEventListener("input", () => {
    say();
    changed(Number(input.value));
  });
  say();
  return { input, say, set: (value) => ((input.value = value), say(value)) };
}

/* Where a pointer is on a canvas, in its pixels. */
function placeOn(canvas, event, width, height) {
  const frame = canvas.getBoundingClientRect();
  return [((event.clientX - frame.left) / frame.width) * width, ((event.clientY - frame.top) / frame.height) * height];
}

/* The first finger, or a mouse's main button. */
const draws = (event) => event.isPrimary && event.button === 0;

/* A canvas to put a finger or a cursor on: `touch(column, row)` for each pixel that is painted. */
function paintable(canvas, size, touch, drawn) {
  let cursor = null;
  let last = null;
  const at = (event) => {
    const here = placeOn(canvas, event, ...size());
    // A fast finger jumps over pixels: those on its way are touched too.
    const steps = last ? Math.max(1, Math.ceil(Math.hypot(here[0] - last[0], here[1] - last[1]))) : 1;
    const from = last ?? here;
    for (let step = 1; step <= steps; step++)
      touch(...here.map((value, axis) => from[axis] + ((value - from[axis]) * step) / steps));
    last = here;
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!draws(event)) return;
    canvas.setPointerCapture(event.pointerId);
    last = null;
    at(event);
  });
  canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && at(event));
  canvas.addEventListener("keydown", (event) => {
    const [width, height] = size();
    cursor ??= [width / 2, height / 2];
    const step = ARROWS[event.key];
    if (step) cursor = [clamp(cursor[0] + step[0], 0.5, width - 0.5), clamp(cursor[1] + step[1], 0.5, height - 0.5)];
    else if (event.key === " ") touch(...cursor);
    else return;
    event.preventDefault();
    drawn();
  });
  canvas.addEventListener("blur", () => ((cursor = null), drawn()));
  return { cursor: () => cursor };
}
