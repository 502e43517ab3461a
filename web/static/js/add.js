// Adding many photos: small batches, two under way at a time, outcomes counted file by file.

import { keep } from "./api.js";
import { onFiles } from "./dropzone.js";
import { askWhetherMeant, suggestLabels } from "./labels.js";

const BATCH_FILES = 16;
const BATCH_BYTES = 24 * 2 ** 20;
const LANES = 2; // while one batch is indexed the next one travels
const SIGNED_OUT_S = 3; // how often we look whether another tab has signed in

const form = document.getElementById("add");
const box = document.getElementById("progress");
const bar = box.querySelector("progress");
const counts = box.querySelector("[data-field=counts]");
const title = box.querySelector("[data-field=title]");
const refusedBox = document.getElementById("refused");
const failureTemplate = document.getElementById("failure");

let queue = []; // batches: {label, files}
let lanes = 0;
let stop = null;
let tally = null;

const isClutter = ({ name }) => /(^|\/)(\.[^/]*|Thumbs\.db|desktop\.ini)$/.test(name);

onFiles(
  (files) => {
    if (!lanes) reset();
    const photos = files.filter((file) => !isClutter(file));
    tally.total += photos.length;
    queue.push(...batches(photos));
    start();
  },
  { inputs: [document.getElementById("files"), document.getElementById("folder")], folders: true, form },
);

function reset() {
  tally = { total: 0, added: 0, unchanged: 0, restored: 0, refused: 0, pending: 0, failed: 0 };
  refusedBox.hidden = true;
  refusedBox.querySelector("ul").replaceChildren();
}

function batches(files) {
  const common = form.elements.label.value.trim();
  const byFolder = document.getElementById("by-folder").checked;
  const groups = new Map();
  for (const file of files) {
    if (file.refusal) {
      refuse(file.name, file.refusal);
      continue;
    }
    const label = common || (byFolder && file.folder) || "";
    if (!groups.has(label)) groups.set(label, []);
    groups.get(label).push(file);
  }
  const full = [];
  for (const [label, members] of groups) {
    let batch = null;
    for (const file of members) {
      const isFull = batch && (batch.files.length >= BATCH_FILES || batch.bytes + file.blob.size > BATCH_BYTES);
      if (!batch || isFull) full.push((batch = { label, labelFrom: common ? "person" : "folder", files: [], bytes: 0 }));
      batch.files.push(file);
      batch.bytes += file.blob.size;
    }
  }
  return full;
}

function start() {
  box.hidden = false;
  box.querySelector("[data-stop]").hidden = false;
  box.querySelector("[data-next]").hidden = true;
  stop ??= new AbortController();
  tell();
  while (lanes < LANES && queue.length) lane();
  if (!lanes) finish();
}

async function lane() {
  lanes += 1;
  while (queue.length && !stop.signal.aborted) await send(queue.shift());
  lanes -= 1;
  if (!lanes) finish();
}

async function send(batch) {
  for (;;) {
    try {
      const { images } = await keep(batch.files, batch.label, { signal: stop.signal, labelFrom: batch.labelFrom });
      for (const image of images) count(image);
      break;
    } catch (error) {
      if (error.name === "AbortError") return;
      const waitS = error.status === 401 ? SIGNED_OUT_S : error.status === 503 ? error.retryAfterS : 0;
      if (waitS) {
        title.textContent = error.status === 401 ? error.text : "The system is busy: waiting";
        await new Promise((resolve) => setTimeout(resolve, 1000 * waitS));
        if (stop.signal.aborted) return;
        continue;
      }
      if (error.errors.length && error.errors[0].file) for (const each of error.errors) refuse(each.file, each.reason);
      else for (const file of batch.files) refuse(file.name, error.text);
      break;
    }
  }
  tell();
}

function count({ file, outcome, reason }) {
  if (outcome === "refused") refuse(file, reason);
  else tally[outcome] += 1;
}

function refuse(file, reason) {
  tally.refused += 1;
  refusedBox.hidden = false;
  const item = failureTemplate.content.firstElementChild.cloneNode(true);
  item.querySelector("strong").textContent = file;
  item.querySelector("span").textContent = reason;
  refusedBox.querySelector("ul").append(item);
}

function tell() {
  const done = tally.added + tally.unchanged + tally.restored + tally.refused + tally.pending;
  title.textContent = `Adding ${tally.total} ${tally.total === 1 ? "photo" : "photos"}`;
  bar.value = tally.total ? done / tally.total : 1;
  const parts = [`${tally.added} added`];
  if (tally.unchanged) parts.push(`${tally.unchanged} there already`);
  if (tally.restored) parts.push(`${tally.restored} restored from the trash`);
  if (tally.pending) parts.push(`${tally.pending} stored and still being indexed`);
  if (tally.refused) parts.push(`${tally.refused} left out`);
  counts.textContent = `${done} of ${tally.total}: ${parts.join(", ")}`;
}

function finish() {
  tell();
  title.textContent = stop.signal.aborted ? "Stopped" : "Done";
  box.querySelector("[data-stop]").hidden = true;
  box.querySelector("[data-next]").hidden = !(tally.added + tally.unchanged + tally.restored + tally.pending);
  queue = [];
  stop = null;
}

box.querySelector("[data-stop]").addEventListener("click", () => stop?.abort());
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("beforeunload", (event) => {
  if (lanes) event.preventDefault();
});
suggestLabels();
askWhetherMeant();
document.getElementById("main").dataset.ready = "true";
