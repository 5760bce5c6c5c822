/* The network asked about a thousand test examples: how many it gets right, and what it answers to them. Said wherever
   the network can be changed. */

/* Found a few at a time and after the frame, so that the pen is never waited for. */
const LATER = 50; // milliseconds

const sample = {
  right: 0,
  done: 0,
  answers: new Array(CLASSES).fill(0),
  running: null,
  start() {
    this.right = this.done = 0;
    this.answers = new Array(CLASSES).fill(0);
    clearTimeout(this.running);
    this.running = setTimeout(() => this.go(), LATER);
  },
  go() {
    const until = performance.now() + 4;
    while (this.done < FACTS.sample && performance.now() < until) {
      const answer = brightest(outputsOf(forwardPass(now.network, inputsOf(this.done))));
      this.answers[answer]++;
      this.right += answer === FACTS.labels[this.done];
      this.done++;
    }
    if (this.done < FACTS.sample) this.running = setTimeout(() => this.go(), 4);
    document.querySelectorAll(".tally").forEach(drawTally);
  },
};

function keptRight() {
  return FACTS.answers.slice(0, FACTS.sample).filter((answer, place) => answer === FACTS.labels[place]).length;
}

function drawTally(place) {
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
  name.append(String(j));
  bar.append(element("span"));
  return element("li", {}, name, bar, number);
}

function beginSample() {
  for (const place of document.querySelectorAll(".tally")) {
    place.append(
      element("h3", {}, "Accuracy"),
      element("p", { class: "accuracy" }),
      element("p", { class: "help" }),
      element("h3", {}, "What it answers to them"),
      element(
        "ol",
        { class: "answers", "aria-label": "Answers to the test examples" },
        ...Array.from({ length: CLASSES }, barFor),
      ),
    );
  }
  sample.start();
}
