/* What the network is given: the drawing pad, or a list of inputs where they are no image, and the test examples. */

let pad = null;
const PEN = CHANNELS === 1 && !COLUMNS; // a pen has no colour: pictures with colours are looked at only

function given(inputs, position = null) {
  now.inputs = inputs;
  now.position = position;
  changed("inputs");
  describeExample();
  speakLater();
}

/* A test example of this page, and what it is to be. */
function show(position) {
  given(inputsOf(position), position);
  want(FACTS.labels[position]);
  showInputs();
}

function showInputs() {
  if (PEN) pad.load(now.inputs.slice());
  else if (CHANNELS && !COLUMNS) paintPixels(byId("pad"), now.inputs, WIDTH, HEIGHT);
  else if (COLUMNS) showColumns();
  else
    for (const input of byId("inputs").querySelectorAll("input"))
      input.value = now.inputs[Number(input.dataset.place)].toFixed(3);
}

function describeExample() {
  const { position } = now;
  if (position === null) {
    const shapes = PEN ? shapesBeside(now.inputs, WIDTH) : 1;
    const doubt = `${shapes} shapes stand side by side. If each is to be read, draw one at a time.`;
    return setText(byId("example"), shapes > 1 ? doubt : "");
  }
  const [label, answer] = [FACTS.labels[position], FACTS.answers[position]];
  const example = `Test example ${inEnglish(FACTS.indices[position])}`;
  const kept = "as it was kept, the network says";
  if (NUMBERS)
    return setText(byId("example"), `${example}: ${answerInWords(label)}; ${kept} ${answerInWords(answer)}`);
  const verdict = label === answer ? "" : `; ${kept} ${nameOf(answer)}`;
  setText(byId("example"), `${example}: ${FACTS.classNames ? "" : "a "}${nameOf(label)}${verdict}`);
}

/* The answer for a screen reader, once the pen rests. */
let speaking = null;
function speakLater() {
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    const a = outputsOf(forwardPass(now.network, now.inputs));
    const best = brightest(a);
    const sure = NUMBERS ? "" : `: its output is ${inDigits(a[best])}`;
    setText(byId("spoken"), `The network says ${NUMBERS ? answerInWords(a) : nameOf(best)}${sure}.`);
  }, 700);
}

/* The positions of the test examples to look through, one after the other. */
function following(positions, from, step) {
  const later =
    step > 0 ? positions.find((position) => position > from) : positions.findLast((position) => position < from);
  return later ?? (step > 0 ? positions[0] : positions[positions.length - 1]);
}

function beginDraw() {
  if (PEN) beginPad();
  else if (CHANNELS && !COLUMNS) showWithoutPen();
  else beginInputs();
  const every = Array.from(FACTS.labels.keys());
  const wrong = NUMBERS ? farthest(every) : every.filter((position) => FACTS.answers[position] !== FACTS.labels[position]);
  let last = 0;
  const go = (positions, step) => {
    last = following(positions, now.position ?? last, step);
    show(last);
  };
  byId("next").addEventListener("click", () => go(every.slice(0, FACTS.sample), 1));
  byId("previous").addEventListener("click", () => go(every.slice(0, FACTS.sample), -1));
  if (NUMBERS) setText(byId("mistake"), "Next large error");
  byId("mistake").addEventListener("click", () => go(wrong, 1));
  byId("mistake").disabled = wrong.length === 0;
  byId("noise").addEventListener("click", () => {
    if (COLUMNS) return fromColumns(randomValue);
    given(Float64Array.from({ length: PIXELS }, Math.random));
    showInputs();
  });
}

/* The twentieth of the rows whose numbers were predicted worst. */
function farthest(positions) {
  const error = (at) => sumOver(FACTS.labels[at], (label, j) => (label - FACTS.answers[at][j]) ** 2);
  const worst = positions.slice().sort((one, other) => error(other) - error(one));
  return worst.slice(0, Math.ceil(positions.length / 20)).sort((one, other) => one - other);
}

function beginPad() {
  byId("pen").open = window.innerWidth > 760;
  const canvas = byId("pad");
  pad = makePad(canvas, WIDTH, HEIGHT, (inputs) => given(inputs));
  byId("clear").addEventListener("click", () => {
    pad.load(null);
    pad.redraw();
  });
  byId("undo-stroke").addEventListener("click", () => {
    pad.undo();
  });
  byId("erases").addEventListener("change", (event) => (pad.erases = event.target.checked));
  byId("centres").addEventListener("change", (event) => {
    pad.centres = event.target.checked;
    pad.redraw();
  });
  slider(
    "pen-width",
    (value) => value.toFixed(1),
    (value) => (pad.width = value),
  );
  slider(
    "pen-softness",
    (value) => value.toFixed(1),
    (value) => (pad.softness = value),
  );
}

function showWithoutPen() {
  const canvas = byId("pad");
  canvas.removeAttribute("tabindex");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "The picture that the network is given");
  canvas.removeAttribute("aria-describedby");
  for (const each of [...byId("pad-place").children, byId("pen")]) each.hidden = each !== canvas;
}

const INPUTS_LISTED = 500;

function beginInputs() {
  byId("pad-place").hidden = byId("pen").hidden = true;
  byId("inputs-place").hidden = false;
  byId("clear-inputs").addEventListener("click", () => {
    if (COLUMNS) return fromColumns(middleOf);
    given(new Float64Array(PIXELS));
    showInputs();
  });
  if (COLUMNS) return beginColumns();
  const listed = Math.min(PIXELS, INPUTS_LISTED);
  const first = listed < PIXELS ? `, the first ${listed} of them here` : "";
  setText(byId("inputs-help"), `The data have no known height and width: ${PIXELS} inputs from 0 to 1${first}.`);
  for (let place = 0; place < listed; place++) {
    const input = element("input", { type: "number", min: "0", max: "1", step: "any", "data-place": String(place) });
    byId("inputs").append(element("label", { class: "input" }, `${place}`, input));
  }
  byId("inputs").addEventListener("input", ({ target }) => {
    const inputs = now.inputs.slice();
    inputs[Number(target.dataset.place)] = clamp(Number(target.value) || 0, 0, 1);
    given(inputs);
  });
  byId("inputs").addEventListener("change", showInputs); // as it was taken, from 0 to 1
}
