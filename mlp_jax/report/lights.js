/* The network lit up: the input as a picture, neurons as lamps, the edges that carry most, the outputs as bars. */

const SHOWN = 256; // neurons of a layer that have a lamp
const ROWS = 32; // lamps in a column
const EDGES = 256; // between two layers: all of 16-16; those of 784-16 would be a grey wall, and cost a frame
const SHARPEST = 2; // pixels of the canvas to one of the page
const [FRAME, RIM, CHOSEN] = [
  [96, 106, 122],
  [148, 158, 174],
  [255, 214, 90],
];
const GRID = CHANNELS
  ? [WIDTH, HEIGHT]
  : [Math.ceil(Math.sqrt(PIXELS)), Math.ceil(PIXELS / Math.ceil(Math.sqrt(PIXELS)))];

let lamps = []; // for each layer the places [x, y] of its lamps, their radius as `radius`
let inputFrame = null; // where the picture of the inputs lies
let sheet = null;
let unlit = { pass: null, words: null }; // all but the lamps, of that pass: another neuron is chosen more often
let held = false;

function layOut() {
  const canvas = byId("lights");
  const { width, height } = canvas.getBoundingClientRect();
  sheet = makeSheet(canvas, width, height, Math.min(SHARPEST, window.devicePixelRatio || 1));
  unlit = { pass: null, words: new Uint32Array(sheet.words.length) };
  const side = Math.min(0.3 * width, 190, (height * GRID[0]) / GRID[1]);
  inputFrame = { x: 6, y: (height - (side * GRID[1]) / GRID[0]) / 2, width: side, height: (side * GRID[1]) / GRID[0] };
  const depth = now.network.layers.length;
  const left = side + 6 + (width - side) * (depth === 1 ? 0.9 : 0.24);
  lamps = now.network.layers.map(({ nOut }, number) => {
    const shown = Math.min(nOut, SHOWN);
    // The outputs' lamps stand beside their bars, one a row.
    const columns = number === depth - 1 ? 1 : Math.ceil(shown / ROWS);
    const rows = Math.ceil(shown / columns);
    const [across, down] = [Math.min(14, (0.5 * (width - left)) / depth / columns), height / rows];
    const middle = depth === 1 ? left : left + ((width - 14 - left) * number) / (depth - 1);
    const places = Array.from({ length: shown }, (_, j) => [
      middle + (Math.floor(j / rows) - (columns - 1) / 2) * across,
      ((j % rows) + 0.5) * down,
    ]);
    places.reach = [columns > 1 ? 0.5 * across : 12, 0.5 * down].map((room) => Math.min(12, room));
    places.radius = Math.max(1.5, Math.min(9, 0.4 * down, columns > 1 ? 0.45 * across : 9));
    return places;
  });
  placeButtons();
}

function placeButtons() {
  lamps.forEach((places, number) =>
    places.forEach(([x, y], j) => {
      const button = buttonOf(number, j);
      const [aside, up] = places.reach;
      Object.assign(button.style, {
        left: `${x - aside}px`,
        top: `${y - up}px`,
        width: `${2 * aside}px`,
        height: `${2 * up}px`,
      });
    }),
  );
}

const buttonOf = (number, j) => byId("neurons").children[number].children[j];

/* The strongest edges into a layer: [k, j, strength from 0 to 1, whether above 0] each, at most EDGES. */
function strongestEdges(layer, a) {
  const outs = Math.min(layer.nOut, SHOWN);
  const lit = [];
  const from = a === now.inputs ? layer.nIn : Math.min(layer.nIn, SHOWN);
  for (let k = 0; k < from; k++) if (a[k] !== 0) lit.push(k);
  const products = new Float64Array(outs * lit.length);
  let most = 0;
  for (let j = 0, place = 0; j < outs; j++) {
    for (let at = 0; at < lit.length; at++, place++) {
      products[place] = layer.weights[j * layer.nIn + lit[at]] * a[lit[at]];
      most = Math.max(most, Math.abs(products[place]));
    }
  }
  // Counting by size finds the weakest edge to be drawn without sorting them all.
  const counts = new Uint32Array(513);
  if (most)
    for (let place = 0; place < products.length; place++)
      counts[Math.floor((512 * Math.abs(products[place])) / most)]++;
  let [bin, drawn] = [512, counts[512]];
  while (bin > 1 && drawn + counts[bin - 1] <= EDGES) drawn += counts[--bin];
  const least = (bin * most) / 512;
  const edges = [];
  for (let place = 0; place < products.length && edges.length < EDGES; place++) {
    const size = Math.abs(products[place]);
    if (size >= least && size > 0)
      edges.push([lit[place % lit.length], Math.floor(place / lit.length), size / most, products[place] > 0]);
  }
  return { edges, of: layer.nOut * layer.nIn };
}

function drawEdges(edges, start, end) {
  for (const [k, j, strength, positive] of edges) {
    const light = positive ? sheet.positive : sheet.negative;
    shine(sheet, light, start(k), end(j), 0.5 + 1.7 * strength, 0.06 + 0.9 * strength * strength);
  }
}

/* How bright each lamp is: by itself where activations lie from 0 to 1, else beside the brightest of its layer. */
function brightness(a) {
  const most = Math.max(1, largest(a));
  return (value) => value / most;
}

function drawLights() {
  if (unlit.pass === now.pass) sheet.words.set(unlit.words);
  else drawUnlit();
  now.network.layers.forEach(drawLamps);
  showSheet(sheet);
  if (document.activeElement.dataset.layer) sayNeuron(document.activeElement);
}

/* The inputs and the edges. */
function drawUnlit() {
  const { x, y, width, height } = inputFrame;
  const fewer = [];
  now.network.layers.forEach((layer, number) => {
    const { edges, of } = strongestEdges(layer, now.pass.activations[number]);
    const ofPixel = (k) => {
      const pixel = CHANNELS ? Math.floor(k / CHANNELS) : k;
      return [
        x + (((pixel % GRID[0]) + 0.5) * width) / GRID[0],
        y + ((Math.floor(pixel / GRID[0]) + 0.5) * height) / GRID[1],
      ];
    };
    drawEdges(edges, number === 0 ? ofPixel : (k) => lamps[number - 1][k], (j) => lamps[number][j]);
    if (of > EDGES) fewer.push(`the strongest ${edges.length} of ${inEnglish(of)} into the ${layerName(number)}`);
    if (layer.nOut > SHOWN) fewer.push(`the first ${SHOWN} of ${layer.nOut} neurons of the ${layerName(number)}`);
  });
  develop(sheet);
  enlarge(sheet, { x: x - 1, y: y - 1, width: width + 2, height: height + 2 }, [packed(FRAME)], 1);
  enlarge(sheet, inputFrame, packedInputs(GRID[0] * GRID[1]), GRID[0]);
  unlit.words.set(sheet.words);
  unlit.pass = now.pass;
  setText(byId("edges-note"), fewer.length ? `Drawn here: ${fewer.join("; ")}.` : "");
}

/* Inputs that are no bytes have a sign; scaled ones seldom leave -3 to 3. */
function packedInputs(count) {
  if (!COLUMNS) return packedPixels(now.inputs, count);
  const squares = new Uint32Array(count).fill(packed(DARK));
  const most = Math.max(3, largest(now.inputs));
  now.inputs.forEach((value, place) => (squares[place] = PACKED_SIGNED[signedLevel(value / most)]));
  return squares;
}

function drawLamps({ off }, number) {
  const a = now.pass.activations[number + 1];
  const bright = brightness(a);
  const { radius } = lamps[number];
  lamps[number].forEach((place, j) => {
    const share = bright(a[j]);
    const chosen = now.chosen.layer === number && now.chosen.neuron === j;
    ring(sheet, place, -1, radius, share < 0 ? SIGNED[signedLevel(share)] : LIGHT[lightLevel(share)]);
    ring(sheet, place, radius - 0.5, radius + (chosen ? 2.5 : 0.5), chosen ? CHOSEN : RIM);
    if (off[j]) ring(sheet, place, radius + 2, radius + 4, NEGATIVE);
  });
}

/* Three digits, and no powers of ten beside the bars: who reads them may never have seen one. */
const plainly = (a) =>
  Math.abs(a) < 1000
    ? a
        .toFixed(3)
        .replace(/^-(?!0\.000$)/, "−")
        .replace("-", "")
    : inDigits(a);

function drawOutputs() {
  const a = outputsOf(now.pass);
  const bright = brightness(a);
  const best = brightest(a);
  [...byId("outputs").children].forEach((row, j) => {
    const [, bar, number] = row.children;
    setBar(bar, bright(a[j]));
    row.classList.toggle("best", j === best);
    setText(number, plainly(a[j]));
  });
  if (NUMBERS) return drawNumbers(a);
  const second = brightest(a.map((value, j) => (j === best ? -Infinity : value)));
  setText(byId("answer"), nameOf(best));
  const right =
    now.position === null
      ? ""
      : FACTS.labels[now.position] === best
        ? ", which is right"
        : `, but it is ${FACTS.classNames ? "" : "a "}${nameOf(FACTS.labels[now.position])}`;
  setText(byId("sure"), `with ${plainly(a[best])}${right}`);
  setText(byId("second"), CLASSES > 1 ? `Next comes ${nameOf(second)} with ${plainly(a[second])}` : "");
}

/* Numbers in their units; a bar is as long as its number lies far into the range of the test rows. */
function drawNumbers(a) {
  const { low, high } = FACTS.target;
  [...byId("outputs").children].forEach((row, j) => {
    setBar(row.children[1], clamp((a[j] - low[j]) / (high[j] - low[j] || 1), 0, 1));
    row.classList.remove("best");
    setText(row.children[2], targetInWords(a, j));
  });
  setText(byId("answer"), answerInWords(a));
  const label = now.position === null ? null : FACTS.labels[now.position];
  setText(byId("sure"), label === null ? "" : `and it is ${answerInWords(label)}`);
  setText(byId("second"), "");
}

function beginLights() {
  byId("outputs").append(...Array.from({ length: CLASSES }, barFor));
  byId("outputs").classList.toggle("aligned", CLASSES <= 20);
  for (const place of [byId("outputs"), byId("outputs").parentElement]) place.classList.toggle("named", NAMED);
  now.network.layers.forEach(({ nOut }, number) => {
    const group = element("div", { role: "group", "aria-label": layerName(number) });
    for (let j = 0; j < Math.min(nOut, SHOWN); j++) {
      const first = number === 0 && j === 0;
      group.append(
        element("button", {
          type: "button",
          "aria-label": neuronName(number, j),
          "aria-pressed": "false",
          tabIndex: first ? 0 : -1,
          "data-layer": String(number),
          "data-neuron": String(j),
        }),
      );
    }
    byId("neurons").append(group);
  });
  listenToNeurons(byId("neurons"));
  layOut();
  part(byId("outputs"), ["inputs", "network", "wanted"], drawOutputs);
  const lights = part(byId("lights"), ["inputs", "network", "chosen"], drawLights);
  new ResizeObserver(() => {
    layOut();
    lights.stale = true;
    askForFrame();
  }).observe(byId("lights-place"));
}

const neuronOf = ({ dataset }) => [Number(dataset.layer), Number(dataset.neuron)];

/* For who listens to the one in focus. The others keep their plain names: to say all would cost a frame. */
function sayNeuron(button) {
  const [layer, neuron] = neuronOf(button);
  const [z, a] = [now.pass.sums[layer][neuron], now.pass.activations[layer + 1][neuron]].map(inDigits);
  button.setAttribute("aria-label", `${neuronName(layer, neuron)}: weighted sum ${z}, activation ${a}`);
}

function listenToNeurons(place) {
  const reach = (button, hold) => {
    for (const each of place.querySelectorAll('[tabindex="0"], [aria-pressed="true"]')) {
      each.tabIndex = -1;
      if (hold !== undefined) each.setAttribute("aria-pressed", "false");
    }
    button.tabIndex = 0;
    if (hold !== undefined) button.setAttribute("aria-pressed", String((held = hold)));
    choose(...neuronOf(button));
  };
  place.addEventListener("pointerover", ({ target, pointerType }) => {
    if (pointerType === "mouse" && !held && target.dataset.layer) choose(...neuronOf(target));
  });
  place.addEventListener("focusin", ({ target }) => {
    if (!target.dataset.layer || !target.matches(":focus-visible")) return;
    now.pass ??= forwardPass(now.network, now.inputs);
    sayNeuron(target);
    reach(target, held || undefined); // a held neuron stays held
  });
  place.addEventListener("focusout", ({ target }) => {
    if (target.dataset.layer) target.setAttribute("aria-label", neuronName(...neuronOf(target)));
  });
  place.addEventListener("click", ({ target }) => {
    if (target.dataset.layer) reach(target, target.getAttribute("aria-pressed") !== "true");
  });
  place.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step || !event.target.dataset.layer) return;
    event.preventDefault();
    const [layer, neuron] = neuronOf(event.target);
    const to = clamp(layer + step[0], 0, lamps.length - 1);
    const there =
      to === layer
        ? clamp(neuron + step[1], 0, lamps[layer].length - 1)
        : Math.floor((neuron * lamps[to].length) / lamps[layer].length);
    buttonOf(to, there).focus();
  });
}
