/* Lines of light, discs and pictures straight into the bytes of a canvas. Without a graphics card a browser takes
   longer than a frame to stroke a thousand paths; this takes a fraction of one.

   A sheet has `sharp` pixels to each pixel of the page, in which all places and lengths are given: x to the right, y
   down. Colours are [red, green, blue]. */

const FULL = 128; // light of a line at its strongest; two fit into a byte

function makeSheet(canvas, width, height, sharp) {
  // A page that is being put away can have no size at all.
  [canvas.width, canvas.height] = [width, height].map((side) => Math.max(1, Math.round(side * sharp)));
  const image = canvas.getContext("2d").createImageData(canvas.width, canvas.height);
  return {
    canvas,
    image,
    sharp,
    width: canvas.width,
    height: canvas.height,
    words: new Uint32Array(image.data.buffer),
    positive: new Uint8Array(canvas.width * canvas.height),
    negative: new Uint8Array(canvas.width * canvas.height),
  };
}

const showSheet = ({ canvas, image }) => canvas.getContext("2d").putImageData(image, 0, 0);

/* What a pixel looks like with so much light of both colours, in steps of 4: as thin layers of light, one over the
   other, would. Small enough to stay at hand while a whole canvas is developed. */
const DEVELOPED = Uint32Array.from({ length: 64 * 64 }, (_, both) => {
  const [positive, negative] = [both >> 6, both & 63].map((light) => 1 - Math.exp((-4 * light) / FULL));
  const shade = (part) => positive * (POSITIVE[part] - DARK[part]) + negative * (NEGATIVE[part] - DARK[part]);
  return packed([0, 1, 2].map((part) => Math.min(255, DARK[part] + shade(part))));
});

/* Light becomes colour, and none is left. */
function develop({ words, positive, negative }) {
  for (let place = 0; place < words.length; place++) {
    words[place] = DEVELOPED[((positive[place] & 252) << 4) | (negative[place] >> 2)];
  }
  positive.fill(0);
  negative.fill(0);
}

/* Column by column, or row by row if it is steep; in each, the light falls on the two pixels beside the line (Wu 1991).
   A thicker line is several, side by side. */
function shine({ width, height, sharp }, light, [fromX, fromY], [toX, toY], thickness, strength) {
  const steep = Math.abs(toY - fromY) > Math.abs(toX - fromX);
  let [begin, base] = steep ? [fromY, fromX] : [fromX, fromY];
  let [end, goal] = steep ? [toY, toX] : [toX, toY];
  if (end < begin) [begin, base, end, goal] = [end, goal, begin, base];
  const slope = end > begin ? (goal - base) / (end - begin) : 0;
  const count = Math.max(1, Math.round(thickness * sharp));
  const [first, last] = [Math.max(0, Math.round(sharp * begin)), Math.min(sharp * end, (steep ? height : width) - 1)];
  const [next, aside] = steep ? [width, 1] : [1, width];
  const limit = (steep ? width : height) - count - 1;
  const start = sharp * base - count / 2 - slope * sharp * begin;
  const full = (FULL * strength) | 0;
  for (let at = first; at <= last; at++) {
    const beside = start + slope * at;
    const whole = beside | 0;
    if (beside < 0 || whole > limit) continue;
    const place = at * next + whole * aside;
    const part = ((beside - whole) * full) | 0;
    light[place] = Math.min(255, light[place] + full - part);
    for (let more = 1; more < count; more++)
      light[place + more * aside] = Math.min(255, light[place + more * aside] + full);
    light[place + count * aside] = Math.min(255, light[place + count * aside] + part);
  }
}

/* A ring filled between two radii, drawn over the picture. */
function ring({ image: { data }, words, width, height, sharp }, [x, y], inner, outer, colour) {
  const [left, top, low, high] = [sharp * x - 0.5, sharp * y - 0.5, sharp * inner, sharp * outer];
  const [whole, most] = [packed(colour), (high + 0.5) ** 2];
  const bottom = Math.min(height - 1, Math.ceil(top + high));
  const right = Math.min(width - 1, Math.ceil(left + high));
  for (let row = Math.max(0, Math.floor(top - high)); row <= bottom; row++) {
    for (let column = Math.max(0, Math.floor(left - high)); column <= right; column++) {
      const square = (column - left) ** 2 + (row - top) ** 2;
      if (square > most) continue;
      const place = row * width + column;
      const distance = Math.sqrt(square);
      const covered = Math.min(high - distance, distance - low) + 0.5;
      if (covered >= 1) words[place] = whole;
      else if (covered > 0)
        for (let at = 4 * place, part = 0; part < 3; part++, at++) data[at] += covered * (colour[part] - data[at]);
    }
  }
}

/* A picture of packed colours, columns to a row, as large as its frame {x, y, width, height}. */
function enlarge({ words, width, height, sharp }, frame, picture, columns) {
  const rows = picture.length / columns;
  const [left, top] = [Math.round(sharp * frame.x), Math.round(sharp * frame.y)];
  const [wide, high] = [Math.round(sharp * frame.width), Math.round(sharp * frame.height)];
  for (let down = 0; down < Math.min(high, height - top); down++) {
    const from = Math.floor((down * rows) / high) * columns;
    const to = (top + down) * width + left;
    for (let right = 0; right < wide; right++) words[to + right] = picture[from + Math.floor((right * columns) / wide)];
  }
}
