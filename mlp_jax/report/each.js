/* What each output wants of the layer before it, before it is added up: a column for each, and their sum. */

const ALIGNED = 20; // outputs whose buttons stand above their columns

const picked = () => now.picked ?? (NUMBERS ? 0 : now.wanted);
const AVENUES = ["its bias", "its weights", `activations of the ${layerName(LAST - 1)}, if they could be changed`];

/* Columns side by side, a gap that is no number, and their sum: a row for each neuron before. */
function drawEach() {
  const wanted = wantedByOutputs(now.network, now.pass, now.targets());
  const { nIn } = now.network.layers[LAST];
  const sum = wantedNow()[LAST].earlier;
  const columns = [...wanted.map(({ earlier }) => earlier), new Array(nIn).fill(NaN), sum];
  const cells = Float64Array.from({ length: nIn * columns.length }, (_, at) => {
    return columns[at % columns.length][Math.floor(at / columns.length)];
  });
  paintSigned(byId("each-columns"), cells, columns.length, nIn);
  setText(byId("each-range"), `Strongest colour: ±${inDigits(largest(cells))}. `);
  const j = picked();
  byId("picked").querySelectorAll("input")[j].checked = true;
  const named = (k) => sourceName(LAST, k);
  const summed = `Their sum: ${mostWanted(sum, named)}.`;
  setText(byId("each-words"), `Most wanted by ${outputName(j)}: ${mostWanted(wanted[j].earlier, named)}. ${summed}`);
  drawAvenues(wanted[j], j);
}

/* Bias, weights, activations before: what the picked output wants of each, and what it would be good for. */
function drawAvenues({ bias, weights, earlier, falls }, j) {
  setText(byId("avenues-title"), `The three avenues of ${outputName(j)}`);
  setText(byId("slope"), slopeInWords(bias, j));
  const all = falls.reduce((sum, fall) => sum + fall, 0) || 1;
  byId("avenues")
    .querySelectorAll("figure")
    .forEach((figure, at) => {
      const values = [[bias], weights, earlier][at];
      paintSigned(figure.firstChild, values, values.length, 1);
      setText(figure.querySelector(".range"), `±${inDigits(largest(values))}`);
      const most = at ? `Most wanted: ${mostWanted(values, (k) => sourceName(LAST, k))}. ` : `Wanted: ${signed(bias)}. `;
      const share = `${((100 * falls[at]) / all).toFixed(0)} % of the three`;
      setText(
        figure.querySelector(".most-wanted"),
        `${most}A step of 0.01 lowers the cost by about ${inDigits(0.01 * falls[at])}, ${share}.`,
      );
    });
}

/* Why a confident wrong output learns slowly: the slope of its activation function in what its bias is to do. */
function slopeInWords(bias, j) {
  const [a, z, nudge] = [outputsOf(now.pass)[j], now.pass.sums[LAST][j], wantedNow()[LAST].outputs[j]].map(inDigits);
  const { output, cost } = now.network;
  const begins = `${capital(outputName(j))} is ${a} and is to be ${NUMBERS ? inDigits(now.wanted[j]) : j === now.wanted ? 1 : 0}.`;
  if (cost !== "quadratic")
    return `${begins} Its bias is to change by ${signed(bias)}: with cross-entropy, wanted minus activation, no slope.`;
  if (output === "softmax") return `${begins} Its bias is to change by ${signed(bias)}.`;
  const slope = ACTIVATIONS[output].derivative(now.pass.sums[LAST][j]);
  const slow = " A sigmoid that is sure has a slope of almost 0, so an output that is sure and wrong learns slowly.";
  const product = `${nudge} × ${inDigits(slope)} (the slope of ${output} at z = ${z}) = ${signed(bias)}`;
  const said = `${begins} Its activation is to change by ${nudge}, and its bias by ${product}`;
  return `${said}; weights and activations before get the slope as a factor too.${output === "sigmoid" ? slow : ""}`;
}

function beginEach() {
  byId("each").hidden = LAST === 0 || CLASSES === 1; // with no hidden layer, what it would want are other inputs
  if (byId("each").hidden) return;
  const before = layerName(LAST - 1);
  setText(byId("each-title"), `What each output wants of the ${before}, before it is added up`);
  setText(
    byId("each-note"),
    `A row for each of ${FACTS.sizes[LAST]} neurons, a column for each output, and their sum on the right. `,
  );
  for (let j = 0; j < CLASSES; j++) {
    const input = element("input", { type: "radio", name: "picked", value: String(j) });
    input.addEventListener("change", () => {
      now.picked = j;
      changed("picked");
    });
    byId("picked").append(element("label", {}, input, element("span", {}, nameOf(j))));
  }
  byId("each-columns").setAttribute("aria-label", `What each output wants of the ${before}`);
  byId("picked").append(element("div"), element("div", {}, "sum"));
  if (CLASSES <= ALIGNED) {
    byId("picked").classList.add("aligned");
    byId("picked").style.gridTemplateColumns = `repeat(${CLASSES + 2}, minmax(0, 1fr))`;
  }
  byId("avenues").append(...AVENUES.map((name) => figureOf(`Wanted changes: ${name}`, name)));
  for (const canvas of byId("avenues").querySelectorAll("canvas")) canvas.classList.add("strip");
  part(byId("each"), ["inputs", "network", "wanted", "picked"], drawEach);
}
