/* What one example wants of the network, layer by layer, and a step that gives it some of that. */

const MOST_WANTED = 3; // of a layer that are said in words
const TILES = 64; // of a first layer's neurons whose wanted weights are shown as pictures
const UNDO_BYTES = 2 ** 26; // of parameters kept to go back to

const before = []; // the layers before each step, latest last

/* The matrix of a layer's wanted weights: pictures side by side where they are pictures, else neurons by rows. */
function paintWantedWeights(canvas, layer, number, weights) {
  if (number > 0 || !CHANNELS) return paintSigned(canvas, weights, layer.nIn, layer.nOut);
  const shown = Math.min(layer.nOut, TILES);
  const pixels = WIDTH * HEIGHT;
  const rows = new Float64Array(shown * pixels);
  for (let j = 0; j < shown; j++)
    rows.set(onePerPixel(weights.subarray(j * layer.nIn, (j + 1) * layer.nIn), pixels), j * pixels);
  const { whole, wide, high } = mosaic(rows, shown, WIDTH, HEIGHT, Math.min(shown, 8));
  paintSigned(canvas, whole, wide, high);
}

function paintEarlier(canvas, number, earlier) {
  if (number === 0 && CHANNELS) paintSigned(canvas, onePerPixel(earlier, WIDTH * HEIGHT), WIDTH, HEIGHT);
  else paintSigned(canvas, earlier, earlier.length, 1);
}

/* The most wanted changes in words, for people who cannot see the pictures or want the numbers. */
function mostWanted(values, name) {
  const places = strongestOf(values, MOST_WANTED);
  return places.map((place) => `${name(place)}: ${signed(values[place])}`).join("; ") || "nothing";
}

function drawWantedLayer(place, number) {
  const layer = now.network.layers[number];
  const { biases, weights, earlier } = wantedNow()[number];
  const [ofBiases, ofWeights, ofEarlier] = place.querySelectorAll("figure");
  paintSigned(ofBiases.firstChild, biases, biases.length, 1);
  paintWantedWeights(ofWeights.firstChild, layer, number, weights);
  paintEarlier(ofEarlier.firstChild, number, earlier);
  const own = number === LAST ? outputName : (j) => `neuron ${j}`;
  const from = (at) => `${own(Math.floor(at / layer.nIn))} from ${sourceName(number, at % layer.nIn)}`;
  [
    [ofBiases, biases, own],
    [ofWeights, weights, from],
    [ofEarlier, earlier, (k) => sourceName(number, k)],
  ].forEach(([figure, values, name]) => {
    setText(figure.querySelector(".range"), `±${inDigits(largest(values))}`);
    setText(figure.querySelector(".most-wanted"), `Most wanted: ${mostWanted(values, name)}.`);
  });
}

function drawWantedOutputs() {
  const a = outputsOf(now.pass);
  const { outputs } = wantedNow()[now.network.layers.length - 1];
  const most = largest(Array.from(outputs).filter(Number.isFinite)) || 1;
  byId("wanted-outputs")
    .querySelectorAll("tbody tr")
    .forEach((line, j) => {
      const [, value, wanted, change, bar] = line.children;
      setText(value, inDigits(a[j]));
      setText(wanted, NUMBERS ? inDigits(now.wanted[j]) : j === now.wanted ? "1" : "0");
      setText(change, signed(outputs[j]));
      setBar(bar, clamp(outputs[j] / most, -1, 1));
      line.classList.toggle("best", j === now.wanted);
    });
}

function drawCost() {
  const cost = costAt(now.network, now.pass, now.targets());
  setText(byId("cost"), inDigits(cost));
  setText(byId("says"), `it says ${answerInWords(outputsOf(now.pass))}`);
  const earlier = before[before.length - 1];
  if (!earlier) return setText(byId("cost-change"), "");
  const was = forwardPass({ ...now.network, layers: earlier }, now.inputs);
  setText(byId("cost-change"), `; before the last step ${inDigits(costAt(now.network, was, now.targets()))}`);
}

/* What answers of other kinds would cost, beside this one's. */
function drawCosts() {
  const others = CLASSES - 1;
  const kinds = [
    ["sure and right", 1, 0, others],
    [`unsure, each output ${Number((1 / CLASSES).toFixed(3))}`, 1 / CLASSES, 1 / CLASSES, others],
    ["unsure, each output 0.5", 0.5, 0.5, others],
    ["sure and wrong", 0, 1, 1],
  ].filter(([, right]) => right !== 0.5 || now.network.output !== "softmax"); // whose outputs have the sum 1
  const costs = kinds.map(([name, ...answer]) => [name, costOfAnswer(now.network, ...answer)]);
  costs.unshift(["this answer", costAt(now.network, now.pass, now.targets())]);
  const most = largest(costs.map(([, cost]) => cost).filter(Number.isFinite)) || 1;
  costs.forEach(([name, cost], at) => {
    const line = (byId("costs").children[at] ?? byId("costs").appendChild(barFor(null, at))).children;
    setText(line[0], name);
    setBar(line[1], Math.min(1, cost / most));
    setText(line[2], cost === Infinity ? "no limit" : inDigits(cost));
  });
}

/* `times` steps on this example alone; what it wants is asked anew before each. */
function stepDown(times) {
  const learningRate = stepLength();
  const bytes = 8 * now.network.layers.reduce((sum, { weights }) => sum + weights.length, 0);
  while (before.length > 0 && (before.length + 1) * bytes > UNDO_BYTES) before.shift();
  before.push(copyOfLayers(now.network));
  for (let number = 0; number < times; number++) {
    const pass = forwardPass(now.network, now.inputs);
    takeStep(now.network, nudgesOf(now.network, pass, now.targets()), learningRate);
  }
  if (
    now.network.layers.every(({ weights, biases }) => weights.every(Number.isFinite) && biases.every(Number.isFinite))
  ) {
    setText(
      byId("step-note"),
      `${times === 1 ? "One step" : `${times} steps`} of ${learningRate.toFixed(2)} taken towards ${FACTS.classNames || NUMBERS ? "" : "a "}${wantedInWords()}.`,
    );
  } else {
    now.network.layers = before.pop();
    setText(byId("step-note"), "So long a step leaves the numbers’ range: it was not taken.");
  }
  afterStep();
}

function undoStep() {
  if (before.length === 0) return;
  now.network.layers = before.pop();
  setText(byId("step-note"), "The last step is undone.");
  afterStep();
}

/* Undo goes back over steps alone: whoever turns a dial between them would have it turned back. */
function forgetSteps() {
  if (before.length === 0) return;
  before.length = 0;
  byId("undo-step").disabled = true;
  setText(byId("step-note"), "A dial was turned: the steps before it stay, until everything is reset.");
}

function afterStep() {
  scaledFrom = null;
  byId("undo-step").disabled = before.length === 0;
  changed("network");
}

let stepLength = () => 1;

function figureOf(label, about) {
  const picture = element("canvas", { role: "img", "aria-label": label });
  return element(
    "figure",
    {},
    picture,
    element("figcaption", {}, `${about}, `, element("span", { class: "range" }), element("span", { class: "most-wanted" })),
  );
}

function beginWants() {
  if (NUMBERS) beginWantedNumbers();
  for (let wanted = 0; wanted < CLASSES && !NUMBERS; wanted++) {
    const input = element("input", { type: "radio", name: "wanted", value: String(wanted) });
    input.addEventListener("change", () => want(wanted));
    byId("wanted").append(element("label", {}, input, element("span", {}, nameOf(wanted))));
  }
  const step = slider(
    "step",
    (value) => (10 ** value).toFixed(2),
    () => {},
  );
  stepLength = () => 10 ** Number(step.input.value);
  byId("take-step").addEventListener("click", () => stepDown(1));
  byId("take-steps").addEventListener("click", () => stepDown(20));
  byId("undo-step").addEventListener("click", undoStep);
  beginWantedOutputs();
  const causes = ["inputs", "network", "wanted"];
  part(byId("cost"), causes, drawCost);
  byId("costs").hidden = NUMBERS;
  if (!NUMBERS) part(byId("costs"), causes, drawCosts);
  part(byId("wanted-outputs"), causes, drawWantedOutputs);
  for (let number = now.network.layers.length - 1; number >= 0; number--) {
    const { nIn, nOut } = now.network.layers[number];
    const pictures = number === 0 && CHANNELS;
    const many = pictures && nOut > TILES ? `, the first ${TILES} neurons` : "";
    const place = element(
      "div",
      { class: "wanted-layer" },
      element("h3", {}, `Of the ${layerName(number)}`),
      figureOf("Wanted changes of the biases", "biases, one for each neuron"),
      figureOf(
        "Wanted changes of the weights",
        pictures
          ? `weights, a picture for each neuron${many}`
          : `weights, a row for each of ${nOut} neurons, ${nIn} columns`,
      ),
      figureOf(
        "Wanted changes of the activations before",
        `activations of the ${layerName(number - 1)}${number === 0 ? ", if they could be changed" : ""}`,
      ),
    );
    place
      .querySelectorAll("canvas")
      .forEach((canvas, at) =>
        canvas.classList.add(at === 1 ? (pictures ? "tiles" : "matrix") : at === 2 && pictures ? "picture" : "strip"),
      );
    byId("wanted-layers").append(place);
    part(place, causes, () => drawWantedLayer(place, number));
  }
}

/* A field for each wanted number, in its unit. */
function beginWantedNumbers() {
  byId("wanted").classList.remove("choices");
  FACTS.target.names.forEach((name, j) => {
    const input = element("input", { type: "number", step: "any" });
    input.addEventListener("change", () => {
      if (input.value === "") return want(now.wanted); // which shows it again
      const wanted = now.wanted.slice();
      wanted[j] = (Number(input.value) - FACTS.target.shift[j]) / FACTS.target.scale[j];
      want(wanted);
    });
    byId("wanted").append(element("label", { class: "input" }, name, input));
  });
}

function beginWantedOutputs() {
  const head = ["output", "a", "wanted", "change", "drawn"].map((text) => element("th", { scope: "col" }, text));
  const rows = Array.from({ length: CLASSES }, (_, j) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, nameOf(j)),
      element("td"),
      element("td"),
      element("td"),
      element("td", { class: "bar signed" }, element("span")),
    ),
  );
  byId("wanted-outputs").append(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}
