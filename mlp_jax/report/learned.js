/* How the network learned: curves, the first layer through the epochs, the confusion matrix, the settings; and what the
   experiments found. */

const NAMESPACE = "http://www.w3.org/2000/svg";
const CHART_HEIGHT = 240;
let chartWidth = 560; // as wide as its place when the page opens: text scaled down on a telephone cannot be read
const MARGIN = { left: 72, right: 12, top: 12, bottom: 34 };
const OPENED = 60; // images of a cell that are shown

function drawn(tag, attributes, ...children) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/* About `count` round numbers from low to high. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high * (1 + 1e-9); at++)
    found.push(Number((at * step).toPrecision(12)));
  return found;
}

/* Curves over the epochs: {title, curves: [{name, points: [[epoch, value], ...]}, ...], said: value to text, most: no
   value is above}. The second is dashed, and its points are seen. */
function chart({ title, curves, said, most }) {
  const points = curves.flatMap((curve) => curve.points).sort(([one], [other]) => one - other);
  const [first, last] = [points[0][0], points[points.length - 1][0]];
  const values = points.map(([, value]) => value);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const least = Math.max(1e-6, 1e-6 * Math.abs(high)); // what an axis can show
  if (high - low < least) [low, high] = [low - Math.max(1e-3, 0.1 * Math.abs(low)), high + Math.max(1e-3, 0.1 * high)];
  high = Math.min(high, most);
  const x = (epoch) =>
    MARGIN.left + ((epoch - first) / Math.max(1, last - first)) * (chartWidth - MARGIN.left - MARGIN.right);
  const y = (value) =>
    CHART_HEIGHT - MARGIN.bottom - ((value - low) / (high - low)) * (CHART_HEIGHT - MARGIN.top - MARGIN.bottom);
  const ends = curves.flatMap(({ name, points: own }) =>
    [own[0], own[own.length - 1]].map(([epoch, value]) => `${name} ${said(value)} after epoch ${epoch}`),
  );
  const svg = drawn("svg", {
    viewBox: `0 0 ${chartWidth} ${CHART_HEIGHT}`,
    role: "img",
    "aria-label": `${title}: ${ends.join(", ")}`,
  });
  for (const value of ticks(low, high, 6)) {
    svg.append(
      drawn("line", { class: "grid", x1: MARGIN.left, x2: chartWidth - MARGIN.right, y1: y(value), y2: y(value) }),
    );
    svg.append(drawn("text", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, said(value)));
  }
  for (const epoch of ticks(first, Math.max(last, first + 1), 6).filter((at) => Number.isInteger(at) && at <= last)) {
    svg.append(drawn("text", { x: x(epoch), y: CHART_HEIGHT - 12, "text-anchor": "middle" }, String(epoch)));
  }
  const shown = curves.map(({ name, points: own }, at) => {
    const look = at ? "curve dashed" : "curve";
    const places = own.map(([epoch, value]) => [x(epoch), y(value)]);
    svg.append(drawn("polyline", { class: look, points: places.join(" ") }));
    if (at) svg.append(...places.map(([cx, cy]) => drawn("circle", { class: "dot", r: 3, cx, cy })));
    const mark = svg.appendChild(drawn("circle", { class: at ? "mark dashed" : "mark", r: 4.5 }));
    const sample = drawn("svg", { class: "sample", viewBox: "0 0 34 10", "aria-hidden": "true" });
    sample.append(drawn("line", { class: look, x1: 0, x2: 34, y1: 5, y2: 5 }));
    const value = element("span");
    return { mark, value, legend: element("span", { class: "reading" }, sample, ` ${name} `, value) };
  });
  const reading = element("span", { class: "reading" });
  const read = ([epoch]) => {
    setText(reading, `epoch ${epoch}`);
    shown.forEach(({ mark, value }, at) => {
      const there = curves[at].points.find((point) => point[0] === epoch);
      setText(value, there ? said(there[1]) : "–");
      mark.setAttribute("visibility", there ? "visible" : "hidden");
      if (!there) return;
      mark.setAttribute("cx", x(epoch));
      mark.setAttribute("cy", y(there[1]));
    });
  };
  read(points[points.length - 1]);
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const at = ((event.clientX - frame.left) / frame.width) * chartWidth;
    read(points.reduce((best, point) => (Math.abs(x(point[0]) - at) < Math.abs(x(best[0]) - at) ? point : best)));
  });
  const caption = element("figcaption", {}, element("strong", {}, title), " ", reading);
  return element("figure", {}, caption, element("p", { class: "curves" }, ...shown.map(({ legend }) => legend)), svg);
}

function drawCurves() {
  const test = FACTS.settings.validation ? "held out" : "test";
  const charts = [
    { title: "Cost", keys: ["test_loss", "loss"], said: inDigits, most: Infinity },
    NUMBERS
      ? { title: "R²", keys: ["test_r2", "train_r2"], said: (value) => value.toFixed(3), most: 1 }
      : {
          title: "Accuracy",
          keys: ["test_accuracy", "train_accuracy"],
          said: (value) => `${(100 * value).toFixed(2)} %`,
          most: 1,
        },
  ];
  const [, score] = charts.map(({ title }) => title);
  const place = byId("curves");
  chartWidth = clamp(place.clientWidth, 260, 560);
  const known = (key) => FACTS.metrics.filter((line) => Number.isFinite(line[key]));
  const draw = (first) => {
    place.replaceChildren();
    for (const { title, keys, said, most } of charts) {
      const curves = keys.map((key, at) => ({
        name: at ? "training" : test,
        points: known(key).flatMap((line) => (line.epoch < first ? [] : [[line.epoch, line[key]]])),
      }));
      const measured = curves.filter(({ points }) => points.length > 0);
      if (measured.length) place.append(chart({ title, curves: measured, said, most }));
    }
  };
  draw(0);
  if (!place.children.length)
    return place.append(element("p", { class: "help" }, "No epoch has been kept of this run."));
  byId("beginning-place").hidden = FACTS.metrics[0].epoch !== 0;
  byId("beginning").addEventListener("change", ({ target }) => draw(target.checked ? 0 : 1));
  const sampled = `Training ${NUMBERS ? score : "accuracy"} is measured on up to 10,000 training examples, after some of the epochs.`;
  setText(
    byId("curves-note"),
    "Training cost is an average over an epoch, of each example just before the step that it took part in. " +
      (known(charts[1].keys[1]).length ? sampled : ""),
  );
  const keys = charts.flatMap((each) => each.keys);
  const lines = FACTS.metrics.map((line) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, String(line.epoch)),
      ...keys.map((key) => element("td", {}, Number.isFinite(line[key]) ? line[key].toFixed(4) : "–")),
    ),
  );
  const names = ["cost", NUMBERS ? score : "accuracy"].flatMap((of) => [test, "training"].map((part) => `${part} ${of}`));
  const head = element("tr", {}, ...["epoch", ...names].map((text) => element("th", { scope: "col" }, text)));
  const table = element(
    "div",
    { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Numbers of each epoch" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines)),
  );
  byId("curves-note").after(element("details", {}, element("summary", {}, "The numbers of each epoch"), table));
}

async function beginSnapshots() {
  const { snapshots } = FACTS;
  if (!snapshots || !CHANNELS) return;
  const levels = new Int8Array((await bytesOf(snapshots.weights, true)).buffer);
  const pixels = WIDTH * HEIGHT;
  const each = snapshots.neurons * PIXELS;
  const most = Math.max(...snapshots.scales);
  const canvas = byId("snapshots");
  const input = byId("epoch");
  input.max = String(snapshots.epochs.length - 1);
  const draw = (at) => {
    const rows = new Float64Array(snapshots.neurons * pixels);
    for (let j = 0; j < snapshots.neurons; j++) {
      const row = levels.subarray(at * each + j * PIXELS, at * each + (j + 1) * PIXELS);
      rows.set(
        onePerPixel(
          Float64Array.from(row, (level) => (level * snapshots.scales[at]) / 127),
          pixels,
        ),
        j * pixels,
      );
    }
    const { whole, wide, high } = mosaic(rows, snapshots.neurons, WIDTH, HEIGHT, Math.min(snapshots.neurons, 8));
    paintSigned(canvas, whole, wide, high, most);
    canvas.setAttribute(
      "aria-label",
      `What ${snapshots.neurons} neurons of the ${layerName(0)} look for after epoch ${snapshots.epochs[at]}`,
    );
  };
  const named = (at) => String(snapshots.epochs[at]);
  byId("snapshots-place").hidden = false;
  setText(byId("snapshots-title"), `What the ${layerName(0)} looks for: its weights from the ${layerName(-1)}`);
  slider("epoch", named, draw).set(snapshots.epochs.length - 1);
  draw(snapshots.epochs.length - 1);
  const kept =
    snapshots.neurons < FACTS.sizes[1] ? `The first ${snapshots.neurons} of ${FACTS.sizes[1]} neurons. ` : "";
  const first = snapshots.epochs[0] === 0 ? "Epoch 0 is before training. " : "";
  setText(
    byId("snapshots-note"),
    `${kept}${first}The strongest colour is a weight of ±${inDigits(most)}, in every epoch.`,
  );
}

function beginConfusion() {
  const { confusion } = FACTS;
  const most = Math.max(1, ...confusion.map((line, label) => highest(line.filter((_, answer) => answer !== label))));
  const head = element(
    "tr",
    {},
    element("th", { scope: "col" }, element("span", { class: "unseen" }, "class")),
    ...confusion.map((_, answer) => element("th", { scope: "col" }, nameOf(answer))),
  );
  const rows = confusion.map((line, label) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, nameOf(label)),
      ...line.map((count, answer) => {
        if (count === 0) return element("td", { class: "none" }, "·");
        const button = element(
          "button",
          { type: "button", "aria-label": `${nameOf(label)} answered as ${nameOf(answer)}: ${count}` },
          String(count),
        );
        if (label !== answer) button.classList.add(`heat-${Math.ceil((4 * count) / most)}`);
        button.addEventListener("click", () => openCell(label, answer, count));
        return element("td", { class: label === answer ? "right" : "" }, button);
      }),
    ),
  );
  byId("confusion").append(element("thead", {}, head), element("tbody", {}, ...rows));
}

function openCell(label, answer, count) {
  const positions = [];
  FACTS.labels.forEach(
    (of, position) => of === label && FACTS.answers[position] === answer && positions.push(position),
  );
  const shown = positions.slice(0, OPENED);
  byId("cell").hidden = false;
  const among = shown.length < count ? `, ${shown.length} of them here` : "";
  setText(byId("cell-title"), `${inEnglish(count)} of class ${nameOf(label)} answered as ${nameOf(answer)}${among}`);
  byId("cell-images").replaceChildren(
    ...shown.map((position) => {
      const name = `Test example ${FACTS.indices[position]}`;
      const button = element("button", {
        type: "button",
        "aria-label": `${name}: give it to the network`,
        title: name,
      });
      if (CHANNELS && !COLUMNS) {
        const canvas = element("canvas", { "aria-hidden": "true" });
        paintPixels(canvas, inputsOf(position), WIDTH, HEIGHT);
        button.append(canvas);
      } else button.append(name);
      button.addEventListener("click", () => {
        show(position);
        byId("draw").scrollIntoView();
        byId("next").focus({ preventScroll: true });
      });
      return button;
    }),
  );
  byId("cell-title").focus();
}

function inWords(value) {
  if (Array.isArray(value)) return value.map(inWords).join(", ");
  if (value === null || typeof value !== "object") return String(value ?? "none");
  return Object.entries(value)
    .map(([name, each]) => `${name} ${inWords(each)}`)
    .join(", ");
}

async function beginLearned() {
  drawCurves();
  await beginSnapshots();
  if (NUMBERS) beginScatter();
  else beginConfusion();
  byId("command-place").hidden = !FACTS.command;
  setText(byId("command"), FACTS.command);
  for (const [name, value] of Object.entries(FACTS.settings)) {
    byId("settings").append(element("dt", {}, name), element("dd", {}, inWords(value)));
  }
}

function beginExperiments() {
  byId("experiments").hidden = byId("to-experiments").hidden = FACTS.experiments.length === 0;
  for (const { name, claim, source, verdict, parts, criteria, finding, table, figure } of FACTS.experiments) {
    const said = ([part, holds]) =>
      element(
        "li",
        {},
        `${part}: `,
        element("strong", {}, holds ? "holds" : "does not hold"),
        `. Criterion: ${criteria[part]}.`,
      );
    const article = element(
      "article",
      {},
      element("h3", {}, capital(claim)),
      element("p", { class: "help" }, `${name}, ${source}: `, element("strong", {}, verdict)),
      element("p", {}, finding),
      element("ul", {}, ...Object.entries(parts).map(said)),
    );
    if (figure)
      article.append(
        element("img", {
          src: `data:image/png;base64,${figure}`,
          alt: `Figure of the experiment ${name}, and its numbers: ${inWords(table)}`,
          loading: "lazy",
        }),
      );
    byId("experiments-list").append(article);
  }
}
