/* The network asked about a thousand test examples: how many it gets right, and what it answers to them. Said wherever
   the network can be changed. */

/* Found a few at a time and after the frame, so that the pen is never waited for. */
const LATER = 50; // milliseconds

const sample = {
  right: 0,
  squares: [], // of the errors of numbers, for each output
  done: 0,
  answers: new Array(CLASSES).fill(0),
  running: null,
  start() {
    this.right = this.done = 0;
    this.squares = new Array(CLASSES).fill(0);
    this.answers = new Array(CLASSES).fill(0);
    clearTimeout(this.running);
    this.running = setTimeout(() => this.go(), LATER);
  },
  go() {
    const until = performance.now() + 4;
    while (this.done < FACTS.sample && performance.now() < until) {
      const outputs = outputsOf(forwardPass(now.network, inputsOf(this.done)));
      if (NUMBERS) addSquares(this.squares, outputs, FACTS.labels[this.done]);
      else {
        const answer = brightest(outputs);
        this.answers[answer]++;
        this.right += answer === FACTS.labels[this.done];
      }
      this.done++;
    }
    if (this.done < FACTS.sample) this.running = setTimeout(() => this.go(), 4);
    document.querySelectorAll(".tally").forEach(drawTally);
  },
};

function addSquares(squares, outputs, label) {
  outputs.forEach((value, j) => (squares[j] += (value - label[j]) ** 2));
  return squares;
}

/* R^2 of the first `count` rows of the sample, averaged over the outputs, from the sums of their squared errors. */
function r2Of(squares, count) {
  const labels = FACTS.labels.slice(0, count);
  const means = squares.map((_, j) => sumOver(labels, (label) => label[j]) / count);
  const spread = squares.map((_, j) => sumOver(labels, (label) => (label[j] - means[j]) ** 2));
  return sumOver(squares, (square, j) => 1 - square / (spread[j] || 1)) / CLASSES;
}

function drawTallyOfNumbers(place) {
  const { squares, done } = sample;
  const [score, note] = [".accuracy", ".help"].map((name) => place.querySelector(name));
  score.classList.toggle("unfinished", done < FACTS.sample);
  setText(score, r2Of(squares, Math.max(1, done)).toFixed(3));
  const none = new Array(CLASSES).fill(0);
  const keptSquares = FACTS.answers
    .slice(0, FACTS.sample)
    .reduce((sums, answer, at) => addSquares(sums, answer, FACTS.labels[at]), none);
  const kept = `as kept ${r2Of(keptSquares, FACTS.sample).toFixed(3)}`;
  const rmse = Math.sqrt(squares[0] / Math.max(1, done)) * FACTS.target.scale[0];
  const typical = CLASSES === 1 ? `, an error of ${inDigits(rmse)} (root of the mean square)` : "";
  setText(note, `R² on ${inEnglish(done)} test examples${typical}; ${kept}.`);
}

function keptRight() {
  return FACTS.answers.slice(0, FACTS.sample).filter((answer, place) => answer === FACTS.labels[place]).length;
}

function drawTally(place) {
  if (NUMBERS) return drawTallyOfNumbers(place);
  const { right, done, answers } = sample;
  const [share, note, bars] = [".accuracy", ".help", ".answers"].map((name) => place.querySelector(name));
  share.classList.toggle("unfinished", done < FACTS.sample);
  setText(share, percent(right, Math.max(1, done)));
  const kept = `as kept ${inEnglish(keptRight())} of ${inEnglish(FACTS.sample)}`;
  setText(note, `${inEnglish(right)} of ${inEnglish(done)} test examples right; ${kept}.`);
  [...bars.children].forEach((line, j) => {
    setBar(line.children[1], answers[j] / Math.max(1, done));
    setText(line.children[2], String(answers[j]));
  });
}

/* A row of a list for each class: its name, a bar, a number. */
function barFor(_, j) {
  const [name, bar, number] = ["name", "bar", "number"].map((of) => element("span", { class: of }));
  name.append(nameOf(j));
  bar.append(element("span"));
  return element("li", {}, name, bar, number);
}

function beginSample() {
  for (const place of document.querySelectorAll(".tally")) {
    place.append(
      element("h3", {}, NUMBERS ? "R²" : "Accuracy"),
      element("p", { class: "accuracy" }),
      element("p", { class: "help" }),
    );
    if (NUMBERS) continue;
    place.append(
      element("h3", {}, "What it answers to them"),
      element(
        "ol",
        { class: NAMED ? "answers named" : "answers", "aria-label": "Answers to the test examples" },
        ...Array.from({ length: CLASSES }, barFor),
      ),
    );
  }
  sample.start();
}
