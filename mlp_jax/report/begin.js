/* The last of the scripts: the network out of the page's data, and every part of the page begun. */

async function begin() {
  const parameters = new Float32Array((await bytesOf(FACTS.parameters, false)).buffer);
  now.network = makeNetwork(FACTS, parameters);
  now.kept = copyOfLayers(now.network);
  images = await bytesOf(FACTS.images, true);
  if (COLUMNS) images = new Float32Array(images.buffer);
  if (CHANNELS) document.documentElement.style.setProperty("--shape", `${WIDTH} / ${HEIGHT}`);
  beginDraw();
  if (COLUMNS) beginTable();
  beginLights();
  beginNeuron();
  beginWants();
  beginEach();
  beginDials();
  beginChain();
  beginSample();
  await beginLearned();
  beginExperiments();
  show(0);
  document.documentElement.dataset.ready = "yes"; // tests wait for it
}

begin().catch((error) => {
  const notice = element(
    "p",
    { class: "notice", role: "alert" },
    `This page does not work in this browser: ${error.message}`,
  );
  document.querySelector("main").prepend(notice);
  throw error;
});
