/* One neuron: what it looks for, what it finds, and its sum written out. */

const TERMS = 6; // of a sum that are written out
const LISTED = 32; // of its weights, where they are no picture

const row = (layer, j) => layer.weights.subarray(j * layer.nIn, (j + 1) * layer.nIn);
const listedOf = (weights) => (weights.length <= LISTED ? Array.from(weights.keys()) : strongestOf(weights, LISTED));
const chosenLayer = () => now.network.layers[now.chosen.layer];
const asPicture = () => now.chosen.layer === 0 && CHANNELS > 0;

function drawNeuron() {
  const { layer: number, neuron: j } = now.chosen;
  const layer = chosenLayer();
  const weights = row(layer, j);
  const before = now.pass.activations[number];
  const products = weights.map((weight, k) => weight * before[k]);
  setText(byId("neuron-name"), capital(neuronName(number, j)));
  writeSum(products, weights, before, layer.biases[j], now.pass.sums[number][j]);
  const a = now.pass.activations[number + 1][j];
  const numbers = byId("neuron-numbers").querySelectorAll("dd");
  [now.pass.sums[number][j], layer.biases[j], a].forEach((value, place) => setText(numbers[place], inDigits(value)));
  setText(numbers[3], layer.off[j] ? "switched off: its activation is 0" : activationOf(now.network, number));
  byId("neuron-pictures").hidden = !asPicture();
  byId("neuron-weights").hidden = asPicture();
  if (asPicture()) drawPictures(weights, products);
  else listWeights(weights, before, products);
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function writeSum(products, weights, before, bias, z) {
  const places = strongestOf(products, TERMS);
  const rest = products.reduce((sum, product) => sum + product, 0) - places.reduce((sum, k) => sum + products[k], 0);
  const others = products.length - places.length;
  const terms = places.map((k) => `(${inDigits(weights[k])} × ${inDigits(before[k])})`);
  if (others) terms.push(`${inDigits(rest)} from ${others} more`);
  setText(byId("neuron-sum"), `z = ${terms.join(" + ")} + bias (${inDigits(bias)}) = ${inDigits(z)}`);
}

function drawPictures(weights, products) {
  const [looksFor, finds] = byId("neuron-pictures").querySelectorAll("figure");
  [
    [looksFor, weights],
    [finds, products],
  ].forEach(([figure, values]) => {
    const shown = onePerPixel(values, WIDTH * HEIGHT);
    paintSigned(figure.firstChild, shown, WIDTH, HEIGHT);
    setText(figure.querySelector(".range"), `±${inDigits(largest(shown))}`);
  });
}

/* Rows of a table are kept as long as they are of the same weights: only their numbers change. */
let listed = { of: "", places: [] };
function listWeights(weights, before, products) {
  const of = `${now.chosen.layer} ${now.chosen.neuron}`;
  const place = byId("neuron-weights");
  if (listed.of !== of) {
    const places = listedOf(weights);
    listed = { of, places };
    const head = element(
      "tr",
      {},
      ...["from", "weight", "× a", "product", "drawn"].map((text) => element("th", { scope: "col" }, text)),
    );
    const rows = places.map((k) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, sourceName(now.chosen.layer, k)),
        element("td"),
        element("td"),
        element("td"),
        element("td", { class: "bar signed" }, element("span")),
      ),
    );
    const from = layerName(now.chosen.layer - 1);
    const note =
      weights.length > LISTED
        ? `The ${LISTED} strongest of ${weights.length} weights from the ${from}`
        : `All ${weights.length} weights from the ${from}`;
    place.replaceChildren(
      element("table", {}, element("caption", {}, note), element("thead", {}, head), element("tbody", {}, ...rows)),
    );
  }
  const most = largest(products) || 1;
  place.querySelectorAll("tbody tr").forEach((line, number) => {
    const k = listed.places[number];
    const [, weight, a, product, bar] = line.children;
    setText(weight, inDigits(weights[k]));
    setText(a, inDigits(before[k]));
    setText(product, signed(products[k]));
    setBar(bar, products[k] / most);
  });
}

function beginNeuron() {
  for (const term of ["z, weighted sum", "b, bias", "a, activation", "activation function"]) {
    byId("neuron-numbers").append(element("dt", {}, term), element("dd"));
  }
  const sides = CHANNELS > 1 ? " (average of its colours)" : "";
  for (const [label, text] of [
    ["Weights of this neuron, as a picture", `what it looks for: weights${sides}`],
    ["Products of weights and pixels, as a picture", "what it finds: weight × pixel"],
  ]) {
    const picture = element("canvas", { role: "img", "aria-label": label });
    byId("neuron-pictures").append(
      element("figure", {}, picture, element("figcaption", {}, `${text}, `, element("span", { class: "range" }))),
    );
  }
  part(byId("neuron-part"), ["inputs", "network", "chosen"], drawNeuron);
}
