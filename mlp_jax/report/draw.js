/* Ink: strokes of a pen on a grid of pixels, and the digit they make, placed as MNIST's were. Then the pad itself.

   A stroke is {points: [[x, y], ...], width, softness, erases}, in pixels, x to the right and y down. Strokes are kept,
   not their pixels: centred and scaled, they are drawn anew with a pen of the same width, as a pen would. */

const BOX = 20; // the longer side of a digit of MNIST, in pixels: see mlp_jax/data/images.py
const NEAR = 0.25; // pixels: a pen that moved less has drawn nothing new
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/* Full ink within the pen, fading over `softness` pixels at its edge, along the segment from a to b. A pixel's middle
   is half a pixel on. Numbers alone, no arrays: this runs for every point of every stroke, in every frame. */
function inkSegment(pixels, width, height, [ax, ay], [bx, by], pen) {
  const reach = (pen.width + pen.softness) / 2;
  const fade = Math.max(pen.softness, 1e-6);
  const dx = bx - ax;
  const dy = by - ay;
  const length = dx * dx + dy * dy || 1;
  const left = Math.max(0, Math.floor(Math.min(ax, bx) - reach));
  const right = Math.min(width - 1, Math.floor(Math.max(ax, bx) + reach));
  const top = Math.max(0, Math.floor(Math.min(ay, by) - reach));
  const bottom = Math.min(height - 1, Math.floor(Math.max(ay, by) + reach));
  for (let row = top; row <= bottom; row++) {
    for (let column = left; column <= right; column++) {
      const x = column + 0.5 - ax;
      const y = row + 0.5 - ay;
      const along = Math.min(1, Math.max(0, (x * dx + y * dy) / length));
      const distance = Math.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2);
      const ink = Math.min(1, (reach - distance) / fade);
      if (ink <= 0) continue;
      const place = row * width + column;
      pixels[place] = pen.erases ? Math.min(pixels[place], 1 - ink) : Math.max(pixels[place], ink);
    }
  }
}

function inkStrokes(strokes, width, height, base, scale = 1, shift = [0, 0]) {
  const pixels = base ? base.slice() : new Float64Array(width * height);
  const placed = ([x, y]) => [scale * x + shift[0], scale * y + shift[1]];
  for (const stroke of strokes) {
    let before = placed(stroke.points[0]);
    for (const point of stroke.points.length > 1 ? stroke.points.slice(1) : stroke.points) {
      const here = placed(point);
      // A pen keeps its width where its strokes grow; an eraser has to take away as much as it did.
      const pen = stroke.erases ? { ...stroke, width: scale * stroke.width } : stroke;
      inkSegment(pixels, width, height, before, here, pen);
      before = here;
    }
  }
  return pixels;
}

/* From where to where ink lies, [left, right] and [top, bottom], its pen not counted. */
function inkBounds(strokes, width, height, pen) {
  if (!strokes.some((stroke) => stroke.erases)) {
    const points = strokes.flatMap((stroke) => stroke.points);
    return [0, 1].map((axis) => [
      points.reduce((low, point) => Math.min(low, point[axis]), Infinity),
      highest(points.map((point) => point[axis])),
    ]);
  }
  const left = [[], []]; // what an eraser leaves, only its pixels tell
  inkStrokes(strokes, width, height, null).forEach((ink, place) => {
    if (ink > 0.5) [place % width, Math.floor(place / width)].forEach((at, axis) => left[axis].push(at + 0.5));
  });
  return left.map((places) => {
    const [low, high] = [-highest(places.map((at) => -at)), highest(places)];
    const rim = Math.min((pen - 1) / 2, (high - low) / 2);
    return [low + rim, high - rim];
  });
}

/* How many shapes stand side by side, with no ink in the columns between and each at least 0.6 of the tallest. */
function shapesBeside(pixels, width) {
  const columns = Array.from({ length: width + 1 }, () => [Infinity, -1]); // the rows of ink; none in the last one
  pixels.forEach((ink, place) => {
    if (ink <= 0.2) return;
    const [column, row] = [place % width, Math.floor(place / width)];
    columns[column] = [Math.min(columns[column][0], row), row];
  });
  const heights = [];
  let [top, bottom] = [Infinity, -1];
  for (const [first, last] of columns) {
    if (last < 0 && bottom >= 0) heights.push(bottom - top + 1);
    [top, bottom] = last < 0 ? [Infinity, -1] : [Math.min(top, first), Math.max(bottom, last)];
  }
  return heights.filter((height) => height >= 0.6 * highest(heights)).length;
}

/* Scaled so that the longer side is 20 pixels of 28, then moved until the centre of mass is that of the frame. */
function inkCentred(strokes, width, height) {
  const drawn = strokes.filter((stroke) => !stroke.erases);
  if (drawn.length === 0) return new Float64Array(width * height);
  const pen = highest(drawn.map((stroke) => stroke.width));
  const bounds = inkBounds(strokes, width, height, pen);
  if (!Number.isFinite(bounds[0][0])) return new Float64Array(width * height);
  const box = (BOX / 28) * Math.min(width, height);
  const longest = Math.max(...bounds.map(([low, high]) => high - low));
  // A dot is not blown up to a disc of 20 pixels; a longer stroke is scaled without its pen, which keeps its width.
  const scale = longest < 2 ? 1 : Math.max(1, box - pen) / longest;
  const middles = bounds.map(([low, high]) => (low + high) / 2);
  const frame = [width, height];
  let shift = frame.map((side, axis) => side / 2 - scale * middles[axis]);
  const once = inkStrokes(strokes, width, height, null, scale, shift);
  const mass = [0, 0, 0];
  once.forEach((ink, place) => {
    mass[0] += ink * ((place % width) + 0.5);
    mass[1] += ink * (Math.floor(place / width) + 0.5);
    mass[2] += ink;
  });
  if (mass[2] === 0) return once;
  shift = shift.map((value, axis) => {
    const half = (scale * (bounds[axis][1] - bounds[axis][0]) + pen) / 2;
    const room = Math.max(0, frame[axis] / 2 - half); // a digit whose mass lies at one end stays in the frame
    const wanted = Math.round(frame[axis] / 2 - mass[axis] / mass[2]); // whole pixels, as MNIST's digits were moved
    return value + Math.min(room, Math.max(-room, wanted));
  });
  return inkStrokes(strokes, width, height, null, scale, shift);
}

/* The pad: `changed(pixels)` is called with what the network is to see, each time a stroke grows. */
function makePad(canvas, width, height, changed) {
  const pad = { strokes: [], base: null, centres: true, erases: false, width: 2.4, softness: 1.2, cursor: null };
  let drawing = null;
  let raw = new Float64Array(width * height); // the drawing as it was drawn, neither scaled nor centred

  pad.seen = () => (pad.centres && !pad.base ? inkCentred(pad.strokes, width, height) : raw.slice());
  pad.show = () => {
    paintPixels(canvas, raw, width, height);
    if (pad.cursor && document.activeElement === canvas) markPixel(canvas, pad.cursor, drawing !== null);
  };
  pad.load = (base) => {
    pad.base = base;
    pad.strokes = [];
    drawing = null;
    raw = inkStrokes([], width, height, base);
    pad.show();
  };

  const begin = (point) => {
    const scale = Math.min(width, height) / 28;
    drawing = { points: [point], width: scale * pad.width, softness: scale * pad.softness, erases: pad.erases };
    pad.strokes.push(drawing);
    inkSegment(raw, width, height, point, point, drawing);
    grown();
  };
  const grown = () => {
    pad.show();
    changed(pad.seen());
  };
  const add = (point) => {
    const last = drawing.points[drawing.points.length - 1];
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) < NEAR) return;
    drawing.points.push(point);
    inkSegment(raw, width, height, last, point, drawing);
  };
  const at = (event) => placeOn(canvas, event, width, height);

  canvas.addEventListener("pointerdown", (event) => {
    if (!draws(event)) return;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    pad.cursor = null;
    begin(at(event));
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drawing || !canvas.hasPointerCapture(event.pointerId)) return;
    // A browser hands several positions of a fast pen over at once.
    for (const each of event.getCoalescedEvents?.() ?? []) add(at(each));
    add(at(event));
    grown();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (drawing = null));

  canvas.addEventListener("keydown", (event) => {
    pad.cursor ??= [Math.floor(width / 2) + 0.5, Math.floor(height / 4) + 0.5];
    const step = ARROWS[event.key];
    if (step) {
      const far = event.shiftKey ? 3 : 1;
      pad.cursor = [
        Math.min(width - 0.5, Math.max(0.5, pad.cursor[0] + far * step[0])),
        Math.min(height - 0.5, Math.max(0.5, pad.cursor[1] + far * step[1])),
      ];
      if (drawing) add(pad.cursor.slice());
    } else if (event.key === " " || event.key === "Enter") {
      if (event.repeat) return event.preventDefault(); // a key held down is pressed once
      if (drawing) drawing = null;
      else return (begin(pad.cursor.slice()), event.preventDefault());
    } else if (event.key === "Escape") {
      drawing = null;
    } else return;
    event.preventDefault();
    if (drawing && step) grown();
    else pad.show();
  });
  canvas.addEventListener("focus", () => {
    if (canvas.matches(":focus-visible")) pad.cursor ??= [Math.floor(width / 2) + 0.5, Math.floor(height / 4) + 0.5];
    pad.show();
  });
  canvas.addEventListener("blur", () => {
    drawing = null;
    pad.show();
  });
  pad.undo = () => {
    if (pad.strokes.length === 0) return;
    pad.strokes.pop();
    raw = inkStrokes(pad.strokes, width, height, pad.base);
    grown();
  };
  pad.redraw = () => pad.base || grown(); // a loaded picture is already in place
  return pad;
}
