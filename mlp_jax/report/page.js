/* The state of the page, and the parts that are drawn again when some of it changes. */

const FACTS = JSON.parse(byId("data").textContent);
const [HEIGHT, WIDTH, CHANNELS] = FACTS.imageShape ?? [0, 0, 0];
const PIXELS = FACTS.sizes[0];
const CLASSES = FACTS.sizes[FACTS.sizes.length - 1]; // or numbers that are predicted
const NUMBERS = FACTS.target !== null;
const COLUMNS = FACTS.columns ?? null; // what inputs are that are no bytes
const INPUTS = COLUMNS?.flatMap(({ name, kind, categories, marks_missing: marks }) => [
  ...(kind === "text" ? categories.map((category) => `${name} = ${category}`) : [name]),
  ...(marks ? [`${name} is missing`] : []),
]);
const NAMED = NUMBERS || FACTS.classNames !== null;
const outputName = (j) => `output ${nameOf(j).replace(/^output /, "")}`;
const nameOf = (j) => (NUMBERS ? FACTS.target.names[j] : (FACTS.classNames?.[j] ?? String(j)));

/* Of a layer and of a neuron in it, as the lessons count them, who call the inputs the first layer; beside it the index
   that Python takes. Numbered from 0 as the weights are: the inputs are -1. */
const LAST = FACTS.sizes.length - 2;
const ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split(" ");
const inPython = (number) => (number < 0 ? "(inputs)" : `(params[${number}])`);
const ordinal = (number) => (number === LAST ? "last" : (ORDINALS[number + 1] ?? `${number + 2}th`));
const layerName = (number) => `${ordinal(number)} layer ${inPython(number)}`;
const neuronName = (number, j) =>
  `${number === LAST ? outputName(j) : `${ordinal(number)} layer, neuron ${j}`} ${inPython(number)}`;

/* Of what a neuron of a layer listens to. */
function sourceName(number, k) {
  if (number > 0) return `neuron ${k}`;
  if (!CHANNELS) return INPUTS?.[k] ?? `input ${k}`;
  const pixel = Math.floor(k / CHANNELS);
  const colour = CHANNELS > 1 ? `, ${["red", "green", "blue"][k % CHANNELS]}` : "";
  return `pixel in row ${Math.floor(pixel / WIDTH)}, column ${pixel % WIDTH}${colour}`;
}

const now = {
  network: null, // as it was kept, until somebody turns a dial
  kept: null, // copies of the layers as they were kept
  inputs: new Float64Array(PIXELS),
  position: null, // of the test example among the images of this page, or null
  wanted: 0, // a class, or the wanted outputs
  picked: null, // the output whose own wanted changes are shown, or null for the wanted one
  chosen: { layer: 0, neuron: 0 },
  pass: null,
  nudges: null,
  targets: () => (NUMBERS ? now.wanted : oneHot(now.wanted, CLASSES)),
};

const parts = []; // the answer first: on a slow machine the last ones come a frame later
const BUDGET = 3; // milliseconds of drawing in a frame; laying out and painting takes the browser longer
let asked = false;
let resting = null;

/* A part of the page: `draw` runs before the next frame after one of `causes` changed ("inputs", "network", "wanted",
   "chosen"). Parts that are scrolled out of sight wait until nothing changes any more. */
function part(place, causes, draw) {
  const made = { causes, draw, stale: true, seen: false };
  parts.push(made);
  new IntersectionObserver((entries) => {
    made.seen = entries[entries.length - 1].isIntersecting;
    if (made.seen && made.stale) askForFrame();
  }).observe(place);
  return made;
}

function changed(...causes) {
  if (causes.includes("inputs") || causes.includes("network")) now.pass = now.nudges = null;
  if (causes.includes("wanted")) now.nudges = null;
  for (const each of parts) if (each.causes.some((cause) => causes.includes(cause))) each.stale = true;
  if (causes.includes("network")) {
    sample.start();
    speakLater();
  }
  askForFrame();
}

function askForFrame() {
  if (!asked) requestAnimationFrame(drawFrame);
  asked = true;
}

function drawFrame() {
  asked = false;
  now.pass ??= forwardPass(now.network, now.inputs);
  const until = performance.now() + BUDGET;
  for (const each of parts) {
    if (!each.stale || !each.seen) continue;
    if (performance.now() > until) {
      askForFrame();
      break;
    }
    drawPart(each);
  }
  clearTimeout(resting);
  if (parts.some(({ stale }) => stale)) resting = setTimeout(drawUnseen, 150);
}

function drawPart(each) {
  each.stale = false;
  each.draw();
}

/* One at a time: somebody may take up the pen again. */
function drawUnseen() {
  const each = parts.find(({ stale }) => stale);
  if (!each) return;
  now.pass ??= forwardPass(now.network, now.inputs);
  drawPart(each);
  resting = setTimeout(drawUnseen, 0);
}

const wantedNow = () => (now.nudges ??= nudgesOf(now.network, now.pass, now.targets()));

async function bytesOf(text, deflated) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  if (!deflated) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

let images = new Uint8Array(0); // or a Float32Array

/* The inputs of the page's test examples, made once: the sample is gone through again and again. */
const madeInputs = [];
function inputsOf(position) {
  return (madeInputs[position] ??= Float64Array.from(
    images.subarray(position * PIXELS, (position + 1) * PIXELS),
    (level) => (COLUMNS ? level : level / 255),
  ));
}

function choose(layer, neuron) {
  now.chosen = { layer, neuron };
  changed("chosen");
}

function want(wanted) {
  now.wanted = wanted;
  now.picked = null;
  document.querySelectorAll("#wanted input").forEach((input, j) => {
    if (NUMBERS) input.value = String(Number(targetNumber(wanted, j).toPrecision(6)));
    else input.checked = j === wanted;
  });
  changed("wanted");
}
