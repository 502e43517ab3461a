// A box on the query: drawn, moved and resized with mouse, finger or arrow keys. What is inside is searched with.

import { standingOut } from "./standout.js";

const LEAST = 0.06; // of a side
const STEP = 0.02;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const limited = (value, least, most) => Math.min(most, Math.max(least, value));

/**
 * Wires the figure that shows the query, and the button that begins. chosen(box) is called with [left, top, width, height] in shares of the photo,
 * or null for all of it.
 */
export function useCrop(figure, opener, { chosen }) {
  const image = figure.querySelector("img");
  const frame = figure.querySelector(".crop");
  const handle = frame.querySelector(".crop-box");
  const bar = figure.querySelector(".crop-bar");
  let box = null;

  /** Where the photo itself lies inside its square element. */
  function area() {
    const { width, height } = image.getBoundingClientRect();
    const scale = Math.min(width / image.naturalWidth, height / image.naturalHeight);
    const shown = [image.naturalWidth * scale, image.naturalHeight * scale];
    return { left: (width - shown[0]) / 2, top: (height - shown[1]) / 2, width: shown[0], height: shown[1] };
  }

  function draw() {
    const { left, top, width, height } = area();
    Object.assign(frame.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    const [x, y, w, h] = box;
    Object.assign(handle.style, { left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * w}%`, height: `${100 * h}%` });
    for (const { style, dataset } of frame.querySelectorAll("[data-corner]")) {
      style.left = `${100 * (dataset.corner.includes("left") ? x : x + w)}%`;
      style.top = `${100 * (dataset.corner.includes("top") ? y : y + h)}%`;
    }
  }

  function open(at) {
    box = at;
    frame.hidden = false;
    bar.hidden = false;
    opener.hidden = true;
    figure.classList.add("cropping");
    draw();
  }

  function close() {
    box = null;
    frame.hidden = true;
    bar.hidden = true;
    opener.hidden = !image.naturalWidth;
    figure.classList.remove("cropping");
  }

  const place = ({ clientX, clientY }) => {
    const { left, top, width, height } = frame.getBoundingClientRect();
    return [limited((clientX - left) / width, 0, 1), limited((clientY - top) / height, 0, 1)];
  };

  /** Follows the pointer until it is let go; then the part is searched with, if the box has changed. */
  function drag(event, change) {
    event.preventDefault();
    frame.setPointerCapture(event.pointerId);
    const before = String(box);
    const move = (moved) => {
      box = change(place(moved));
      draw();
    };
    const end = () => {
      frame.removeEventListener("pointermove", move);
      frame.removeEventListener("pointerup", end);
      frame.removeEventListener("pointercancel", end);
      handle.focus({ preventScroll: true });
      if (String(box) !== before) chosen(box);
    };
    frame.addEventListener("pointermove", move);
    frame.addEventListener("pointerup", end);
    frame.addEventListener("pointercancel", end);
  }

  frame.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const from = place(event);
    const corner = event.target.dataset.corner;
    const [x, y, w, h] = box;
    if (event.target === handle) {
      drag(event, (to) => [limited(x + to[0] - from[0], 0, 1 - w), limited(y + to[1] - from[1], 0, 1 - h), w, h]);
    } else if (corner) {
      drag(event, (to) => between([corner.includes("left") ? x + w : x, corner.includes("top") ? y + h : y], to));
    } else {
      drag(event, drawnFrom(from, box));
    }
  });

  handle.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const [x, y, w, h] = box;
    const [dx, dy] = move.map((direction) => direction * STEP);
    box = event.shiftKey
      ? [x, y, limited(w + dx, LEAST, 1 - x), limited(h + dy, LEAST, 1 - y)]
      : [limited(x + dx, 0, 1 - w), limited(y + dy, 0, 1 - h), w, h];
    draw();
  });
  handle.addEventListener("click", ({ detail }) => {
    if (detail === 0) chosen(box); // Enter or the space bar
  });
  figure.querySelector("[data-search-part]").addEventListener("click", () => chosen(box));
  figure.querySelector("[data-whole]").addEventListener("click", () => {
    close();
    opener.focus();
    chosen(null);
  });
  opener.addEventListener("click", () => {
    open(standingOut(image));
    handle.focus({ preventScroll: true });
  });
  image.draggable = false;
  image.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType !== "mouse" || !image.naturalWidth) return; // a finger scrolls the page
    open([0, 0, 1, 1]);
    drag(event, drawnFrom(place(event), box));
  });
  image.addEventListener("load", () => (box ? draw() : close()));
  image.addEventListener("error", close);
  new ResizeObserver(() => box && draw()).observe(image);

  return {
    /** Shows the part that a query is about. */
    show: (part) => (part ? open(part) : close()),
  };
}

/** What follows a pointer from where it was put down: the box as it was, until the pointer has gone a little way. */
const drawnFrom = (from, before) => (to) =>
  Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])) < LEAST / 2 ? before : between(from, to);

/** The box between two corners, at least as large as one can take hold of. */
function between(one, other) {
  const sides = [0, 1].map((axis) => {
    const size = Math.max(LEAST, Math.abs(other[axis] - one[axis]));
    return [limited(Math.min(one[axis], other[axis]), 0, 1 - size), size];
  });
  return [sides[0][0], sides[1][0], sides[0][1], sides[1][1]];
}
