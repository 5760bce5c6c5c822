"use strict";
/* The network as plain arithmetic: what mlp_jax/network.py, costs.py, backprop.py and gradients/nudges.py compute, for
   one example at a time. Nothing here knows of a page.

   A network is {sizes, hidden, output, cost, layers}; a layer {nOut, nIn, weights, biases, off}, weights row by row,
   off[j] = 1 for a neuron that is switched off: its activation is 0, whatever its weighted sum is. */

const logistic = (z) => 1 / (1 + Math.exp(-z));

/* Of one weighted sum each; at the kinks the derivatives are those that JAX takes. Softmax is not of one sum alone. */
const ACTIVATIONS = {
  sigmoid: { value: logistic, derivative: (z) => logistic(z) * logistic(-z) },
  relu: { value: (z) => Math.max(0, z), derivative: (z) => (z > 0 ? 1 : 0) },
  leaky_relu: { value: (z) => (z >= 0 ? z : 0.01 * z), derivative: (z) => (z >= 0 ? 1 : 0.01) },
  tanh: { value: Math.tanh, derivative: (z) => (1 - Math.tanh(z)) * (1 + Math.tanh(z)) },
  silu: { value: (z) => z * logistic(z), derivative: (z) => logistic(z) * (1 + z * logistic(-z)) },
  identity: { value: (z) => z, derivative: () => 1 },
};

/* Math.max takes only as many numbers as a call may have arguments. */
const highest = (values) => values.reduce((most, value) => Math.max(most, value), -Infinity);

function softmax(z) {
  const most = highest(z); // exp of more than 709 is infinite
  const powers = z.map((sum) => Math.exp(sum - most));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

function activate(name, z) {
  return name === "softmax" ? softmax(z) : z.map(ACTIVATIONS[name].value);
}

/* dC/dz from dC/da: the chain rule over one activation function (lesson 4). */
function gradientThrough(name, z, gradient) {
  if (name === "softmax") {
    const a = softmax(z);
    const average = a.reduce((sum, value, j) => sum + value * gradient[j], 0);
    return a.map((value, k) => value * (gradient[k] - average));
  }
  return z.map((sum, j) => gradient[j] * ACTIVATIONS[name].derivative(sum));
}

const sumOver = (array, term) => array.reduce((sum, value, j) => sum + term(value, j), 0);
const logLogistic = (z) => Math.min(z, 0) - Math.log1p(Math.exp(-Math.abs(z)));

/* Of one example: the cost, its derivative by the outputs and, in the closed forms that keep what the two steps would
   lose, by the last weighted sums. Cross-entropy goes with sigmoid and softmax only, as in costs.py. */
const COSTS = {
  quadratic: {
    value: (z, a, y) => sumOver(a, (value, j) => (value - y[j]) ** 2),
    byOutputs: (a, y) => a.map((value, j) => 2 * (value - y[j])),
    bySums: (z, a, y, output) =>
      gradientThrough(
        output,
        z,
        a.map((value, j) => 2 * (value - y[j])),
      ),
  },
  sigmoid_cross_entropy: {
    value: (z, a, y) => -sumOver(z, (sum, j) => y[j] * logLogistic(sum) + (1 - y[j]) * logLogistic(-sum)),
    byOutputs: (a, y) =>
      a.map((value, j) => {
        const certain = y[j] === 0 || y[j] === 1;
        return (certain ? 1 - 2 * y[j] : value - y[j]) / ((y[j] === 0 || value) * (y[j] === 1 || 1 - value));
      }),
    bySums: (z, a, y) => a.map((value, j) => value - y[j]),
  },
  softmax_cross_entropy: {
    value: (z, a, y) => {
      const most = highest(z);
      const total = Math.log(sumOver(z, (sum) => Math.exp(sum - most)));
      return -sumOver(z, (sum, j) => (y[j] === 0 ? 0 : y[j] * (sum - most - total)));
    },
    byOutputs: (a, y) => a.map((value, j) => (y[j] === 0 ? 0 : -y[j] / value)),
    bySums: (z, a, y) => a.map((value, j) => value * sumOver(y, (wanted) => wanted) - y[j]),
  },
};

const costOf = ({ cost, output }) => COSTS[cost === "quadratic" ? cost : `${output}_${cost}`];

/* Layers out of all parameters in a row: weights, biases, weights, biases. */
function makeNetwork({ sizes, hidden, output, cost }, parameters) {
  const layers = [];
  let start = 0;
  for (let number = 1; number < sizes.length; number++) {
    const [nIn, nOut] = [sizes[number - 1], sizes[number]];
    const weights = Float64Array.from(parameters.subarray(start, start + nOut * nIn));
    const biases = Float64Array.from(parameters.subarray(start + nOut * nIn, start + nOut * (nIn + 1)));
    layers.push({ nOut, nIn, weights, biases, off: new Uint8Array(nOut) });
    start += nOut * (nIn + 1);
  }
  return { sizes, hidden, output, cost, layers };
}

function copyOfLayers({ layers }) {
  return layers.map((layer) => ({
    ...layer,
    weights: layer.weights.slice(),
    biases: layer.biases.slice(),
    off: layer.off.slice(),
  }));
}

const activationOf = (network, number) => (number === network.layers.length - 1 ? network.output : network.hidden);

/* z = W a + b. Most pixels are 0: passing over them makes a pass over a digit five times as fast. */
function weightedSums({ nOut, nIn, weights, biases }, a) {
  const lit = [];
  for (let k = 0; k < nIn; k++) if (a[k] !== 0) lit.push(k);
  const z = new Float64Array(nOut);
  for (let j = 0; j < nOut; j++) {
    let sum = biases[j];
    const row = j * nIn;
    for (let place = 0; place < lit.length; place++) sum += weights[row + lit[place]] * a[lit[place]];
    z[j] = sum;
  }
  return z;
}

/* {sums, activations}: every z, and every a with the inputs in front (lesson 1). */
function forwardPass(network, inputs) {
  const sums = [];
  const activations = [inputs];
  network.layers.forEach((layer, number) => {
    const z = weightedSums(layer, activations[number]);
    const a = activate(activationOf(network, number), z);
    for (let j = 0; j < layer.nOut; j++) if (layer.off[j]) a[j] = 0;
    sums.push(z);
    activations.push(a);
  });
  return { sums, activations };
}

const outputsOf = ({ activations }) => activations[activations.length - 1];
const costAt = (network, pass, targets) =>
  costOf(network).value(pass.sums[pass.sums.length - 1], outputsOf(pass), targets);

/* What earlier activations hear from a layer's deltas: delta W. */
function backThrough({ nOut, nIn, weights }, delta) {
  const earlier = new Float64Array(nIn);
  for (let j = 0; j < nOut; j++) {
    if (delta[j] === 0) continue;
    const row = j * nIn;
    for (let k = 0; k < nIn; k++) earlier[k] += delta[j] * weights[row + k];
  }
  return earlier;
}

/* delta = dC_0/dz of every neuron, layer by layer: Nielsen's BP1 and BP2. */
function backwardPass(network, { sums, activations }, targets) {
  const last = sums.length - 1;
  const deltas = [];
  deltas[last] = costOf(network).bySums(sums[last], activations[last + 1], targets, network.output);
  for (let number = last - 1; number >= 0; number--) {
    const { off } = network.layers[number];
    const heard = backThrough(network.layers[number + 1], deltas[number + 1]);
    // Nobody hears a neuron that is off; but after softmax its sum is still heard in what the others say.
    deltas[number] = gradientThrough(
      network.hidden,
      sums[number],
      heard.map((value, j) => (off[j] ? 0 : value)),
    );
  }
  return deltas;
}

/* delta_j a_k, times a factor: BP4. */
function outerProduct(delta, a, factor) {
  const product = new Float64Array(delta.length * a.length);
  for (let j = 0; j < delta.length; j++) {
    if (delta[j] === 0) continue;
    for (let k = 0, row = j * a.length; k < a.length; k++) product[row + k] = factor * delta[j] * a[k];
  }
  return product;
}

/* What the example wants of each layer, negative derivatives of its cost (lesson 3): {outputs, biases, weights,
   earlier}, as gradients/nudges.py. */
function nudgesOf(network, pass, targets) {
  const deltas = backwardPass(network, pass, targets);
  const layers = [];
  let wanted = costOf(network)
    .byOutputs(outputsOf(pass), targets)
    .map((value) => -value);
  for (let number = network.layers.length - 1; number >= 0; number--) {
    const biases = deltas[number].map((value) => -value);
    const earlier = backThrough(network.layers[number], biases);
    layers[number] = {
      outputs: wanted,
      biases,
      weights: outerProduct(deltas[number], pass.activations[number], -1),
      earlier,
    };
    wanted = earlier;
  }
  return layers;
}

/* What each output wants before all of it is added up (lesson 3), its own nudge times its weights: for each output {bias,
   weights, earlier, falls}. The sum of `earlier` over the outputs is what `nudgesOf` says of the layer before. `falls`
   says how fast the cost falls, by way of this output alone, along each of these three: the squares of their lengths. */
function wantedByOutputs(network, { sums, activations }, targets) {
  const last = sums.length - 1;
  const [layer, a] = [network.layers[last], activations[last]];
  const deltas = costOf(network).bySums(sums[last], activations[last + 1], targets, network.output);
  return Array.from(deltas, (delta, j) => {
    const weights = Array.from(a, (value) => -delta * value);
    const earlier = Array.from(layer.weights.subarray(j * layer.nIn, (j + 1) * layer.nIn), (weight) => -delta * weight);
    const falls = [[delta], weights, earlier].map((values) => sumOver(values, (value) => value ** 2));
    return { bias: -delta, weights, earlier, falls };
  });
}

/* What an answer of n outputs costs that gives `right` to the wanted one and `others` to `count` of the others. */
function costOfAnswer({ cost, output }, right, others, count) {
  if (cost === "quadratic") return (1 - right) ** 2 + count * others ** 2;
  return -Math.log(right) - (output === "sigmoid" ? count * Math.log(1 - others) : 0);
}

/* One step downhill, along what the example wants. */
function takeStep(network, nudges, learningRate) {
  network.layers.forEach((layer, number) => {
    const { weights, biases } = nudges[number];
    for (let place = 0; place < weights.length; place++) layer.weights[place] += learningRate * weights[place];
    for (let j = 0; j < biases.length; j++) layer.biases[j] += learningRate * biases[j];
  });
}

/* The first of the largest, as argmax says. */
function brightest(outputs) {
  let best = 0;
  for (let j = 1; j < outputs.length; j++) if (outputs[j] > outputs[best]) best = j;
  return best;
}

/* The places of the `count` largest numbers by size, none of them 0, without sorting a hundred thousand. */
function strongestOf(values, count) {
  const best = [];
  for (let place = 0; place < values.length; place++) {
    const size = Math.abs(values[place]);
    if (size === 0 || (best.length === count && size <= Math.abs(values[best[count - 1]]))) continue;
    let at = best.length === count ? count - 1 : best.length;
    for (; at > 0 && size > Math.abs(values[best[at - 1]]); at--) best[at] = best[at - 1];
    best[at] = place;
  }
  return best;
}

const oneHot = (wanted, classes) => Float64Array.from({ length: classes }, (_, j) => (j === wanted ? 1 : 0));
