/* The columns of a table, where the inputs are no picture: as sliders and lists in their own units, as the inputs that
   they make (data/preprocessing.py, scaling.py), and what another answer would want of each. */

const STEPS = 40; // between the values of a slider that are tried
const SAID = 60; // columns whose wishes are shown
const FILTERED = 12; // columns from which on they can be searched for

/* How many inputs a column makes, and where they begin. */
const widthOf = ({ kind, categories, marks_missing }) =>
  (kind === "text" ? categories.length : 1) + Number(marks_missing);
const STARTS = (COLUMNS ?? []).reduce((starts, column) => [...starts, starts[starts.length - 1] + widthOf(column)], [0]);

/* z = (x - shift) / scale, bent smoothly if there is a clip; and back. */
function scaled(x, place) {
  if (!FACTS.scaling) return x;
  const { shift, scale, clip } = FACTS.scaling;
  const z = (x - shift[place]) / scale[place];
  return clip === null ? z : z / Math.sqrt(1 + (z / clip) ** 2);
}

function unscaled(z, place) {
  if (!FACTS.scaling) return z;
  const { shift, scale, clip } = FACTS.scaling;
  const linear = clip === null ? z : z / Math.sqrt(Math.max(1e-12, 1 - (z / clip) ** 2));
  return linear * scale[place] + shift[place];
}

/* A value is a number, the place of a category, or null where it is missing. Yes and no are 1 and 0. */
function encode(inputs, at, value) {
  const { kind, fill, categories, marks_missing } = COLUMNS[at];
  const start = STARTS[at];
  if (kind === "text")
    for (let k = 0; k < categories.length; k++) inputs[start + k] = scaled(Number(k === value), start + k);
  else inputs[start] = scaled(value ?? fill, start);
  const last = STARTS[at + 1] - 1;
  if (marks_missing) inputs[last] = scaled(Number(value === null), last);
}

/* The value that a column's inputs were made of. */
function decode(inputs, at) {
  const { kind, low, high, categories, marks_missing } = COLUMNS[at];
  const [start, end] = [STARTS[at], STARTS[at + 1]];
  if (marks_missing && unscaled(inputs[end - 1], end - 1) > 0.5) return null;
  if (kind === "text") {
    const place = categories.findIndex((_, k) => unscaled(inputs[start + k], start + k) > 0.5);
    return place < 0 ? null : place;
  }
  if (kind === "yes_no") return Number(unscaled(inputs[start], start) > 0.5);
  const clip = FACTS.scaling?.clip;
  // So near the clip the input, a float32, no longer says how far out the value was.
  if (clip && 1 - (inputs[start] / clip) ** 2 < 1e-4) return inputs[start] > 0 ? high : low;
  const value = unscaled(inputs[start], start);
  const fine = 10 ** (Math.floor(Math.log10(high - low || Math.abs(high) || 1)) - 4); // float32 has about so much
  return Math.round(value / fine) * fine;
}

/* A number in a column's unit: as many digits as its range is worth. */
function inUnits(value, low, high) {
  const digits = clamp(3 - Math.floor(Math.log10(high - low || 1)), 0, 8);
  return (Number(value.toFixed(digits)) + 0).toLocaleString("en", { maximumFractionDigits: digits, useGrouping: "min2" }).replace("-", "−");
}

function valueInWords(at, value) {
  const { kind, low, high, categories } = COLUMNS[at];
  if (value === null) return "missing";
  if (kind === "text") return categories[value];
  return kind === "yes_no" ? (value ? "yes" : "no") : inUnits(value, low, high);
}

/* The values of a column to try: all categories, or places along its range. */
function valuesOf(at) {
  const { kind, low, high, categories } = COLUMNS[at];
  if (kind === "text") return [...categories.keys()];
  if (kind === "yes_no") return [0, 1];
  return Array.from({ length: STEPS + 1 }, (_, step) => low + ((high - low) * step) / STEPS);
}

const targetNumber = (outputs, j = 0) => outputs[j] * FACTS.target.scale[j] + FACTS.target.shift[j];
function targetInWords(outputs, j = 0) {
  const { shift, scale, low, high } = FACTS.target;
  const [least, most] = [low[j], high[j]].map((value) => value * scale[j] + shift[j]);
  return inUnits(targetNumber(outputs, j), least, most);
}

/* The network's answer, or a wanted one, in words: a class, or numbers in their units. */
const answerInWords = (outputs) =>
  NUMBERS ? Array.from(outputs, (_, j) => targetInWords(outputs, j)).join(", ") : nameOf(brightest(outputs));
const wantedInWords = () => (NUMBERS ? answerInWords(now.wanted) : nameOf(now.wanted));

function showColumns() {
  for (const line of byId("inputs").children) {
    const at = Number(line.dataset.column);
    const { kind, low, high } = COLUMNS[at];
    const value = decode(now.inputs, at);
    const [, control, number] = line.children;
    if (kind !== "number") {
      control.value = value === null ? "missing" : String(value);
      continue;
    }
    const missing = line.querySelector("input[type=checkbox]");
    if (missing) missing.checked = value === null;
    if (value === null) number.value = "";
    else {
      control.value = String(value);
      number.value = String(Number(value.toPrecision(6)));
    }
    control.setAttribute("aria-valuetext", value === null ? "missing" : inUnits(value, low, high));
  }
}

function setColumn(at, value) {
  const inputs = now.inputs.slice();
  encode(inputs, at, value);
  given(inputs);
}

function numberLine(at, { name, low, high, marks_missing }) {
  const wide = high > low ? high - low : Math.abs(high) || 1;
  const [from, to] = high > low ? [low, high] : [low - wide, high + wide];
  const range = element("input", {
    type: "range",
    min: String(from),
    max: String(to),
    step: "any",
    "aria-label": name,
    title: `from ${inUnits(low, low, high)} to ${inUnits(high, low, high)} in training`,
  });
  const number = element("input", { type: "number", step: "any", "aria-label": `${name}, as a number` });
  const set = (value) => {
    setColumn(at, value);
    showColumns();
  };
  range.addEventListener("input", () => set(Number(range.value)));
  range.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!step) return;
    event.preventDefault(); // "any" step would go a hundredth of the range in one browser, and 1 in another
    set(clamp(Number(range.value) + (step * (to - from)) / 100, from, to));
  });
  number.addEventListener("change", () => number.value !== "" && set(Number(number.value)));
  const ends = element(
    "span",
    { class: "ends", "aria-hidden": "true" },
    ...[low, high].map((end) => element("span", {}, inUnits(end, low, high))),
  );
  const made = [range, number, ends];
  if (marks_missing) {
    const missing = element("input", { type: "checkbox", "aria-label": `${name} is missing` });
    missing.addEventListener("change", () => set(missing.checked ? null : Number(range.value)));
    made.push(element("label", { class: "check" }, missing, " missing"));
  }
  return made;
}

function choiceLine(at, { name, kind, categories, marks_missing }) {
  const choices = element("select", { "aria-label": name });
  const texts = kind === "text" ? categories : ["no", "yes"];
  texts.forEach((text, place) => choices.append(element("option", { value: String(place) }, text)));
  if (marks_missing || kind === "text") choices.append(element("option", { value: "missing" }, "missing"));
  choices.addEventListener("change", () => {
    setColumn(at, choices.value === "missing" ? null : Number(choices.value));
  });
  return [choices];
}

/* A line for each column, in the table's order. */
function beginColumns() {
  setText(byId("inputs-help"), "Move a slider, or choose: the answer follows. Ranges are those of the training rows.");
  byId("inputs").classList.add("columns");
  const listed = COLUMNS.slice(0, INPUTS_LISTED);
  if (listed.length < COLUMNS.length)
    setText(byId("inputs-help"), `The first ${listed.length} of ${COLUMNS.length} columns: move one, and the answer follows.`);
  listed.forEach((column, at) => {
    const controls = column.kind === "number" ? numberLine(at, column) : choiceLine(at, column);
    const name = element("span", { class: "name" }, column.name);
    byId("inputs").append(element("div", { class: "column", "data-column": String(at) }, name, ...controls));
  });
  if (COLUMNS.length >= FILTERED) {
    const filter = element("input", { type: "search", "aria-label": "Show columns whose name has", placeholder: "find" });
    filter.addEventListener("input", () => {
      for (const line of byId("inputs").children)
        line.hidden = !line.firstChild.textContent.toLowerCase().includes(filter.value.toLowerCase());
    });
    byId("inputs").before(filter);
  }
}

/* What happens to the answer if one column alone changes: {at, value, slope, falls, better, flip, low, high, line}. `slope`
   is how much the cost falls if a number grows by a hundredth of its range, `falls` how much it falls at most, with the
   value `better`; `flip` the nearest value that gives the wanted answer, or another one if the answer is the wanted one;
   low, high and line are the answers on its way. */
function effectOf(at, cost) {
  const { kind, fill, low, high } = COLUMNS[at];
  const value = decode(now.inputs, at);
  const answer = brightest(outputsOf(now.pass));
  const effect = { at, value, slope: 0, falls: 0, better: null, flip: null, low: Infinity, high: -Infinity, line: [] };
  for (const tried of valuesOf(at)) {
    const inputs = now.inputs.slice();
    encode(inputs, at, tried);
    const pass = forwardPass(now.network, inputs);
    const outputs = outputsOf(pass);
    if (NUMBERS) {
      const number = targetNumber(outputs);
      [effect.low, effect.high] = [Math.min(effect.low, number), Math.max(effect.high, number)];
      effect.line.push(number);
    } else {
      const other = brightest(outputs);
      const fits = answer === now.wanted ? other !== answer : other === now.wanted;
      const far = (from) => (kind === "number" ? Math.abs(from - (value ?? fill)) : 0);
      if (fits && (effect.flip === null || far(tried) < far(effect.flip.value))) effect.flip = { value: tried, answer: other };
    }
    const falls = cost - costAt(now.network, pass, now.targets());
    if (falls > effect.falls) [effect.falls, effect.better] = [falls, tried];
  }
  if (kind === "number" && high > low && value !== null) {
    const place = STARTS[at];
    const step = (high - low) / 100;
    const slope = (scaled(value + step / 2, place) - scaled(value - step / 2, place)) / step;
    effect.slope = wantedNow()[0].earlier[place] * slope * step;
  }
  return effect;
}

function wishInWords({ at, value, slope, falls, better, flip, low, high }) {
  const wants = [];
  if (slope !== 0)
    wants.push(`${slope > 0 ? "more" : "less"}, by ${inDigits(Math.abs(slope))} for a hundredth of its range`);
  if (better !== null) wants.push(`at most by ${inDigits(falls)} in all, with ${valueInWords(at, better)}`);
  if (wants.length === 0) wants.push("nothing");
  if (NUMBERS) {
    const { shift, scale } = FACTS.target;
    const ends = [low, high].map((number) => answerInWords([(number - shift[0]) / scale[0]]));
    return [wants.join("; "), `${FACTS.target.names[0]} from ${ends.join(" to ")}`];
  }
  const said = wants.join("; ");
  return [said, flip ? `${valueInWords(at, flip.value)} would make it ${nameOf(flip.answer)}` : "no value tried"];
}

/* The answer along the range of a column, as a line. */
function sparkline({ line, low, high }) {
  const [width, height] = [90, 22];
  const points = line.map((number, step) => [
    (width * step) / Math.max(1, line.length - 1),
    2 + (height - 4) * (high > low ? (high - number) / (high - low) : 0.5),
  ]);
  const svg = drawn("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  svg.append(drawn("polyline", { class: "curve", points: points.join(" ") }));
  return svg;
}

/* Some columns at a time, once nothing has moved for a moment: each is tried at many values. */
let trying = null;
function drawColumnWishes() {
  clearTimeout(trying);
  const [pass, wanted] = [now.pass, now.wanted];
  const cost = costAt(now.network, pass, now.targets());
  const effects = [];
  const go = () => {
    if (now.pass !== pass || now.wanted !== wanted) return;
    const until = performance.now() + 8;
    while (effects.length < COLUMNS.length && performance.now() < until) effects.push(effectOf(effects.length, cost));
    if (effects.length < COLUMNS.length) trying = setTimeout(go, 4);
    else listWishes(effects);
  };
  trying = setTimeout(go, 120);
}

function listWishes(effects) {
  const shown = effects.slice().sort((one, other) => other.falls - one.falls).slice(0, SAID);
  const most = shown[0].falls || 1;
  const heads = ["column", "now", "lowers the cost", "drawn", NUMBERS ? "alone it moves the answer" : "alone"];
  const lines = shown.map((effect) => {
    const [wants, alone] = wishInWords(effect);
    const bar = element("td", { class: "bar signed" }, element("span"));
    const less = COLUMNS[effect.at].kind === "number" && effect.better < effect.value;
    setBar(bar, ((less ? -1 : 1) * effect.falls) / most);
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, COLUMNS[effect.at].name),
      element("td", {}, valueInWords(effect.at, effect.value)),
      element("td", { class: "words" }, wants),
      bar,
      element("td", { class: "words" }, ...(effect.line.length > STEPS ? [sparkline(effect), " "] : []), alone),
    );
  });
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  byId("column-wishes").replaceChildren(element("thead", {}, head), element("tbody", {}, ...lines));
  byId("columns-wanted").dataset.done = "yes";
}

/* Numbers that are predicted, against the true ones: a point for each row of the sample. */
function beginScatter() {
  const side = 320;
  const pairs = FACTS.labels.slice(0, FACTS.sample).map((label, at) => [label, FACTS.answers[at]].map((of) => targetNumber(of)));
  const [low, high] = [Math.min(...pairs.flat()), Math.max(...pairs.flat())];
  const at = (number) => 40 + ((side - 50) * (number - low)) / (high - low || 1);
  const svg = drawn("svg", {
    viewBox: `0 0 ${side} ${side}`,
    class: "scatter",
    role: "img",
    "aria-label": `Predicted against true ${FACTS.target.names[0]}, ${pairs.length} test rows`,
  });
  svg.append(drawn("line", { class: "grid", x1: at(low), y1: side - at(low), x2: at(high), y2: side - at(high) }));
  for (const [label, answer] of pairs) svg.append(drawn("circle", { class: "dot", r: 2.2, cx: at(label), cy: side - at(answer) }));
  for (const end of [low, high]) {
    const said = inUnits(end, low, high);
    svg.append(drawn("text", { x: at(end), y: side - 14, "text-anchor": end === low ? "start" : "end" }, said));
    svg.append(drawn("text", { x: 36, y: side - at(end), "text-anchor": "end" }, said));
  }
  const words = `True ${FACTS.target.names[0]} to the right, the network's answer upwards; on the line they are equal.`;
  byId("confusion-title").after(svg, element("p", { class: "help" }, words));
  setText(byId("confusion-title"), "Predicted and true");
  byId("confusion").parentElement.hidden = true;
}

/* Words of the page that are about pictures, and parts that a table has beside them. */
function beginTable() {
  setText(byId("draw-title"), "Change a value, and watch it think");
  setText(byId("to-draw"), "Inputs");
  setText(byId("skip"), "To the inputs");
  setText(byId("noise"), "Random values");
  setText(byId("clear-inputs"), "Middle of every column");
  byId("columns-wanted").hidden = false;
  part(byId("columns-wanted"), ["inputs", "network", "wanted"], drawColumnWishes);
}

const middleOf = ({ kind, fill }) => (kind === "number" ? fill : 0);
function fromColumns(value) {
  const inputs = new Float64Array(PIXELS);
  COLUMNS.forEach((column, at) => encode(inputs, at, value(column)));
  given(inputs);
  showColumns();
}

function randomValue({ kind, low, high, categories }) {
  if (kind === "text") return Math.floor(Math.random() * categories.length);
  return kind === "yes_no" ? Math.round(Math.random()) : low + Math.random() * (high - low);
}
