/* The chain rule as a tree of number lines (lesson 4): a network of its own, which knows nothing of the run. First one
   neuron in each layer; then two in the middle, through which two paths lead from an activation to the cost. */

const NUDGE = 0.01; // what the lesson has one think of
const slopeAt = ACTIVATIONS.sigmoid.derivative;

/* z = w p + b, where p is the activation before; a = sigmoid(z); C = (a - y)^2. */
function chainOfOne({ w, p, b, y }) {
  const z = w * p + b;
  const a = logistic(z);
  return { z, a, C: (a - y) ** 2 };
}

/* For each number t that can be turned, [dz/dt, da/dz, dC/da], whose product is dC/dt. */
function ratiosOfOne({ w, p, b, y }) {
  const { z, a } = chainOfOne({ w, p, b, y });
  const rest = [slopeAt(z), 2 * (a - y)];
  return { w: [p, ...rest], b: [1, ...rest], p: [w, ...rest] };
}

/* The middle neurons are a0 = sigmoid(w0 p) and a1 = sigmoid(w1 p); then z = v0 a0 + v1 a1. There are no biases. */
function chainOfTwo({ p, w0, w1, v0, v1, y }) {
  const [a0, a1] = [logistic(w0 * p), logistic(w1 * p)];
  const z = v0 * a0 + v1 * a1;
  const a = logistic(z);
  return { a0, a1, z, a, C: (a - y) ** 2 };
}

/* For each path from p to the cost, [dz_k/dp, da_k/dz_k, dz/da_k, da/dz, dC/da]. Their two products add up to dC/dp. */
function ratiosOfTwo({ p, w0, w1, v0, v1, y }) {
  const { z, a } = chainOfTwo({ p, w0, w1, v0, v1, y });
  const path = (w, v) => [w, slopeAt(w * p), v, slopeAt(z), 2 * (a - y)];
  return [path(w0, v0), path(w1, v1)];
}

const productOf = (ratios) => ratios.reduce((product, ratio) => product * ratio, 1);
const measured = (chain, numbers, name) =>
  (chain({ ...numbers, [name]: numbers[name] + NUDGE }).C - chain(numbers).C) / NUDGE;

/* A tree: rows of three places, and lines from a place of one row to a place of the next. A number line goes from `low`
   to `high`; one with a `start` can be turned. */
const line = (label, low, high, start) => ({ label, low, high, start });
const TREES = [
  {
    name: "one neuron in each layer",
    formula: "z = w × a(L−1) + b, a = sigmoid(z), C = (a − y)²",
    chain: chainOfOne,
    lines: {
      w: line("weight w", -4, 4, 1.5),
      p: line("before: a(L−1)", 0, 1, 0.8),
      b: line("bias b", -4, 4, -0.5),
      z: line("weighted sum z", -8, 8),
      a: line("activation a", 0, 1),
      y: line("wanted y", 0, 1, 0),
      C: line("cost C", 0, 1),
    },
    rows: [
      ["w", "p", "b"],
      ["", "z", ""],
      ["", "a", "y"],
      ["", "C", ""],
    ],
    branches: [["01", "11", "21"], ["11"], ["11", "21"]],
  },
  {
    name: "two neurons in the middle layer",
    formula: "a₀ = sigmoid(w₀ × a), a₁ = sigmoid(w₁ × a), z = v₀ × a₀ + v₁ × a₁, o = sigmoid(z), C = (o − y)²",
    chain: chainOfTwo,
    lines: {
      w0: line("weight w₀", -4, 4, 2),
      p: line("activation a", 0, 1, 0.7),
      w1: line("weight w₁", -4, 4, -1),
      a0: line("activation a₀", 0, 1),
      a1: line("activation a₁", 0, 1),
      v0: line("weight v₀", -4, 4, 2),
      v1: line("weight v₁", -4, 4, -1.5),
      a: line("output o", 0, 1),
      y: line("wanted y", 0, 1, 0),
      C: line("cost C", 0, 1),
    },
    rows: [
      ["w0", "p", "w1"],
      ["a0", "", "a1"],
      ["v0", "", "v1"],
      ["", "a", "y"],
      ["", "C", ""],
    ],
    branches: [
      ["00", "10", "12", "22"],
      ["00", "22"],
      ["01", "21"],
      ["11", "21"],
    ],
  },
];

const turnedTo = TREES.map(({ lines }) =>
  Object.fromEntries(Object.entries(lines).map(([name, { start }]) => [name, start])),
);
let tree = 0;

function makeLine([name, { label, low, high, start }]) {
  const input = element("input", { type: "range", min: String(low), max: String(high), "aria-label": label });
  input.dataset.name = name;
  input.step = start === undefined ? "any" : "0.01";
  input.disabled = start === undefined;
  input.addEventListener("input", () => {
    turnedTo[tree][name] = Number(input.value);
    changed("chain");
  });
  const ends = [low, (low + high) / 2, high].map((value) => element("span", {}, String(value).replace("-", "−")));
  const head = element("span", { class: "head" }, label, element("output"));
  return element(
    "div",
    { class: "line" },
    head,
    input,
    element("span", { class: "ends", "aria-hidden": "true" }, ...ends),
  );
}

/* Lines from the middle of one of three places to the middle of one below. */
function makeBranches(pairs) {
  const lines = pairs.map(([from, to]) => drawn("line", { x1: 2 * from + 1, y1: 0, x2: 2 * to + 1, y2: 1 }));
  return drawn(
    "svg",
    { class: "branches", viewBox: "0 0 6 1", preserveAspectRatio: "none", "aria-hidden": "true" },
    ...lines,
  );
}

function growTree() {
  const { formula, lines, rows, branches } = TREES[tree];
  const grown = rows.flatMap((names, at) => [
    ...(at ? [makeBranches(branches[at - 1])] : []),
    ...names.map((name) => (name ? makeLine([name, lines[name]]) : element("div"))),
  ]);
  byId("chain-tree").replaceChildren(...grown);
  setText(byId("chain-formula"), `${formula}.`);
  changed("chain");
}

function drawChain() {
  const numbers = turnedTo[tree];
  const { chain } = TREES[tree];
  const all = { ...numbers, ...chain(numbers) };
  for (const input of byId("chain-tree").querySelectorAll("input")) {
    const value = all[input.dataset.name];
    input.value = value;
    setText(input.parentElement.querySelector("output"), inDigits(value));
    input.setAttribute("aria-valuetext", inDigits(value));
  }
  const [head, ...lines] = tree === 0 ? tableOfOne(numbers) : tableOfTwo(numbers);
  const cell = (text, at, { length }) =>
    at
      ? element("td", { colSpan: at === length - 1 ? head.length - at : 1 }, text)
      : element("th", { scope: "row" }, text);
  byId("chain-ratios").replaceChildren(
    element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...lines.map((texts) => element("tr", {}, ...texts.map(cell)))),
  );
}

/* A column of ratios for each number or path, and below it their product: as they are multiplied. */
const columns = (names, all) => names.map((name, at) => [name, ...all.map((ratios) => inDigits(ratios[at]))]);

function tableOfOne(numbers) {
  const ratios = ratiosOfOne(numbers);
  const all = Object.keys(ratios).map((name) => [
    ...ratios[name],
    productOf(ratios[name]),
    measured(chainOfOne, numbers, name),
  ]);
  setText(
    byId("chain-note"),
    `dz/dw is the activation before: a weight matters more, the more the neuron before it is lit. dz/db is 1, and ` +
      `dz/da(L−1) is the weight. da/dz is the slope of the sigmoid, and dC/da is 2 (a − y). Measured: t is turned by ` +
      `${NUDGE}, and the cost’s change divided by that. It is not quite the product, because ${NUDGE} is small but not tiny.`,
  );
  return [["t", "w", "b", "a(L−1)"], ...columns(["dz/dt", "da/dz", "dC/da", "product: dC/dt", "measured"], all)];
}

function tableOfTwo(numbers) {
  const paths = ratiosOfTwo(numbers);
  const products = paths.map(productOf);
  const sum = products[0] + products[1];
  setText(
    byId("chain-note"),
    `Activation a moves the cost on two paths. Ratios along a path are multiplied, and the two products are added up: ` +
      `their sum is dC/da. ${products[0] * products[1] < 0 ? "Here the paths pull against each other. " : ""}` +
      `Measured: a is turned by ${NUDGE}, and the cost’s change divided by that. In a network with more neurons there are ` +
      `more paths, and nothing else is new.`,
  );
  return [
    ["path", "by a₀", "by a₁"],
    ...columns(
      ["dzₖ/da", "daₖ/dzₖ", "dz/daₖ", "do/dz", "dC/do", "product"],
      paths.map((path, k) => [...path, products[k]]),
    ),
    ["sum: dC/da", inDigits(sum)],
    ["measured", inDigits(measured(chainOfTwo, numbers, "p"))],
  ];
}

function beginChain() {
  TREES.forEach(({ name }, at) => {
    const input = element("input", { type: "radio", name: "chain-mode", value: String(at), checked: at === 0 });
    input.addEventListener("change", () => {
      tree = at;
      growTree();
    });
    byId("chain-modes").append(element("label", {}, input, element("span", {}, name)));
  });
  part(byId("chain"), ["chain"], drawChain);
  growTree();
}
