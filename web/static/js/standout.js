// A guess at what a photo is of: where its rarer colours are, near the middle rather than at the edges. Crude and quick, a
// start to drag from. Colours that differ much from most others stand out (Cheng et al., Global contrast based salient
// region detection, CVPR 2011, without its segmentation).

const SIDE = 64;
const LEVELS = 6; // of each channel
const SPREAD = 0.3; // how soon what lies away from the middle counts less, in shares of a side
const KEPT = 0.85; // of what stands out
const MIDDLE = [0.2, 0.2, 0.6, 0.6];

/** Left, top, width and height of the part, in shares of the image; the middle where nothing stands out. */
export function standingOut(image) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, SIDE, SIDE);
  const contrast = contrasts(context.getImageData(0, 0, SIDE, SIDE).data);
  const weighted = contrast.map((value, at) => {
    const x = (at % SIDE) / SIDE - 0.5;
    const y = Math.floor(at / SIDE) / SIDE - 0.5;
    return value * Math.exp(-(x * x + y * y) / (2 * SPREAD * SPREAD));
  });
  const mean = weighted.reduce((sum, value) => sum + value, 0) / weighted.length;
  const columns = new Float64Array(SIDE);
  const rows = new Float64Array(SIDE);
  weighted.forEach((value, at) => {
    if (value <= 1.5 * mean) return;
    columns[at % SIDE] += value;
    rows[Math.floor(at / SIDE)] += value;
  });
  const [left, right] = span(columns);
  const [top, bottom] = span(rows);
  const box = [left / SIDE, top / SIDE, (right - left) / SIDE, (bottom - top) / SIDE];
  return Math.max(...contrast) < 8 || box[2] * box[3] < 0.02 ? MIDDLE : box;
}

/** Of each pixel: how far its colour is from the others, on average. */
function contrasts(pixels) {
  const level = (value) => Math.min(LEVELS - 1, Math.floor((value * LEVELS) / 256));
  const bins = [];
  for (let at = 0; at < pixels.length; at += 4) {
    bins.push((level(pixels[at]) * LEVELS + level(pixels[at + 1])) * LEVELS + level(pixels[at + 2]));
  }
  const counts = new Map();
  for (const bin of bins) counts.set(bin, (counts.get(bin) ?? 0) + 1);
  const colour = (bin) => [Math.floor(bin / LEVELS ** 2), Math.floor(bin / LEVELS) % LEVELS, bin % LEVELS].map((n) => (n * 256) / LEVELS);
  const known = [...counts].map(([bin, count]) => ({ bin, count, colour: colour(bin) }));
  const byBin = new Map(
    known.map((one) => {
      const far = known.reduce((sum, other) => sum + other.count * Math.hypot(...one.colour.map((value, n) => value - other.colour[n])), 0);
      return [one.bin, far / bins.length];
    }),
  );
  return bins.map((bin) => byBin.get(bin));
}

/** From where to where most of what there is lies. */
function span(amounts) {
  const total = amounts.reduce((sum, value) => sum + value, 0);
  let from = 0;
  let to = SIDE;
  let cut = (1 - KEPT) * total;
  while (from + 1 < to) {
    const end = amounts[from] < amounts[to - 1] ? from : to - 1;
    if (amounts[end] > cut) break;
    cut -= amounts[end];
    if (end === from) from += 1;
    else to -= 1;
  }
  return [from, to];
}
