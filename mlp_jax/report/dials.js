/* Hands on the dials of the chosen neuron. */

const BRUSH = 1.6; // radius in pixels
let scaledFrom = null; // the weights before the slider that multiplies them was touched, until something else is

function turned() {
  forgetSteps();
  changed("network");
}

const keptLayer = () => now.kept[now.chosen.layer];

/* The weight that the brush paints: the largest of the neuron's as it was kept. */
const strongest = () => largest(row(keptLayer(), now.chosen.neuron)) || 1;

function paintWeight(x, y) {
  const layer = chosenLayer();
  const value = Number(byId("brush").value) * strongest();
  const start = now.chosen.neuron * layer.nIn;
  for (let pixel = 0; pixel < WIDTH * HEIGHT; pixel++) {
    const distance = Math.hypot((pixel % WIDTH) + 0.5 - x, Math.floor(pixel / WIDTH) + 0.5 - y);
    if (distance > BRUSH) continue;
    for (let channel = 0; channel < CHANNELS; channel++) layer.weights[start + pixel * CHANNELS + channel] = value;
  }
  scaledFrom = null;
  turned();
}

function drawDials(painting, { bias, scale, brush }) {
  const { layer: number, neuron: j } = now.chosen;
  const layer = chosenLayer();
  setText(byId("dial-name"), capital(neuronName(number, j)));
  bias.set(layer.biases[j]);
  brush.say();
  if (scaledFrom?.of !== j || scaledFrom.layer !== number) scaledFrom = null;
  if (scaledFrom === null) scale.set(1);
  byId("off").checked = layer.off[j] === 1;
  byId("off-place").hidden = number === LAST; // an answer is no part to do without
  byId("paint-place").hidden = !asPicture();
  byId("weight-sliders").hidden = asPicture();
  if (asPicture()) {
    const pixels = WIDTH * HEIGHT;
    const shown = onePerPixel(row(layer, j), pixels);
    paintSigned(byId("paint"), shown, WIDTH, HEIGHT, Math.max(strongest(), largest(shown)));
    const at = painting.cursor();
    if (at) markPixel(byId("paint"), at, false);
  } else drawWeightSliders(layer, j);
}

let slid = { of: "", places: [] };
function drawWeightSliders(layer, j) {
  const of = `${now.chosen.layer} ${j}`;
  const place = byId("weight-sliders");
  const weights = row(layer, j);
  if (slid.of !== of) {
    const places = listedOf(weights);
    slid = { of, places };
    const reach = String(Math.max(1, 2 * largest(row(keptLayer(), j))));
    const lines = places.map((k) =>
      element(
        "label",
        { class: "slider wide" },
        sourceName(now.chosen.layer, k),
        element("input", { type: "range", min: `-${reach}`, max: reach, step: "any", "data-place": String(k) }),
        element("output"),
      ),
    );
    place.replaceChildren(...lines);
  }
  place.querySelectorAll("input").forEach((input) => {
    const weight = weights[Number(input.dataset.place)];
    if (Number(input.value) !== weight) input.value = weight;
    setText(input.nextSibling, inDigits(weight));
  });
}

/* Everything, or one neuron, as it was kept. */
function resetDials(everything) {
  scaledFrom = null;
  forgetSteps();
  if (everything) {
    now.network.layers = copyOfLayers({ layers: now.kept });
    setText(byId("step-note"), "");
  } else {
    const { neuron: j } = now.chosen;
    const [layer, kept] = [chosenLayer(), keptLayer()];
    layer.weights.set(row(kept, j), j * layer.nIn);
    layer.biases[j] = kept.biases[j];
    layer.off[j] = 0;
  }
  changed("network");
}

/* Nothing but zeros, to be painted by hand. */
function blankNetwork() {
  for (const { weights, biases, off } of now.network.layers) for (const each of [weights, biases, off]) each.fill(0);
  scaledFrom = null;
  turned();
}

function beginDials() {
  setText(byId("sample-size"), inEnglish(FACTS.sample));
  byId("paint-place").after(
    element("div", {
      id: "weight-sliders",
      class: "scroll",
      role: "group",
      "aria-label": "Weights of this neuron",
      tabIndex: 0,
    }),
  );
  const reach = Math.max(10, Math.ceil(2 * Math.max(...now.kept.map(({ biases }) => largest(biases)))));
  Object.assign(byId("bias"), { min: -reach, max: reach });
  const bias = slider("bias", inDigits, (value) => {
    chosenLayer().biases[now.chosen.neuron] = value;
    turned();
  });
  const scale = slider(
    "scale",
    (value) => value.toFixed(2),
    (value) => {
      const { layer, neuron } = now.chosen;
      scaledFrom ??= { layer, of: neuron, weights: row(chosenLayer(), neuron).slice() };
      scaledFrom.weights.forEach(
        (weight, k) => (chosenLayer().weights[neuron * chosenLayer().nIn + k] = value * weight),
      );
      turned();
    },
  );
  const brush = slider(
    "brush",
    (value) => inDigits(value * strongest()),
    () => {},
  );
  byId("off").addEventListener("change", ({ target }) => {
    chosenLayer().off[now.chosen.neuron] = Number(target.checked);
    turned();
  });
  byId("weight-sliders").addEventListener("input", ({ target }) => {
    const layer = chosenLayer();
    layer.weights[now.chosen.neuron * layer.nIn + Number(target.dataset.place)] = Number(target.value);
    scaledFrom = null;
    turned();
  });
  byId("reset").addEventListener("click", () => resetDials(true));
  byId("blank").addEventListener("click", blankNetwork);
  byId("reset-neuron").addEventListener("click", () => resetDials(false));
  const painting = paintable(
    byId("paint"),
    () => [WIDTH, HEIGHT],
    paintWeight,
    () => changed("chosen"),
  );
  part(byId("dials"), ["network", "chosen"], () => drawDials(painting, { bias, scale, brush }));
}
