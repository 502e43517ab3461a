// Files from wherever a person has them: dropped anywhere on the page, pasted, or chosen.

import { addressOfImage } from "./elsewhere.js";

/**
 * Calls back with a non-empty list of {blob, name, folder, refusal} for every drop, paste and choice. `refusal` says why
 * a file need not be sent, and is null for those that may be. onAddress, if given, is called with where an image is that
 * was dropped from a page.
 */
export function onFiles(callback, { inputs, folders = false, form, onAddress = null }) {
  const carries = (event) => carriesFiles(event) || (onAddress && carriesAddress(event));
  const maxBytes = Number(form.dataset.maxBytes);
  const entry = (file, path) => {
    const parts = path.replace(/^\//, "").split("/");
    const refusal = file.size > maxBytes ? `is larger than ${Math.floor(maxBytes / 2 ** 20)} MB` : null;
    return { blob: file, name: parts.join("/"), folder: parts.length > 1 ? parts.at(-2) : null, refusal };
  };
  for (const input of inputs) {
    input.addEventListener("change", () => {
      const files = [...input.files].map((file) => entry(file, file.webkitRelativePath || file.name));
      input.value = ""; // so that choosing the same file again is a change again
      if (files.length) callback(files);
    });
  }

  let depth = 0; // dragenter and dragleave also fire for every element inside the page
  const veil = (shown) => document.body.classList.toggle("dragging", shown);
  addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth += 1;
    veil(true);
  });
  addEventListener("dragover", (event) => {
    if (carries(event)) event.preventDefault();
  });
  addEventListener("dragleave", (event) => {
    if (!carries(event)) return;
    depth = Math.max(0, depth - 1);
    if (depth === 0) veil(false);
  });
  addEventListener("drop", async (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    veil(false);
    const address = addressOfImage(event.dataTransfer); // before the first await, as files below
    const files = (await dropped(event.dataTransfer, folders)).map(({ file, path }) => entry(file, path));
    if (files.length) callback(files);
    else if (address) onAddress?.(address);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].map((file) => entry(file, file.name || "pasted.png"));
    if (files.length) {
      event.preventDefault();
      callback(files);
    }
  });
}

const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
const carriesAddress = (event) => [...(event.dataTransfer?.types ?? [])].includes("text/uri-list");

async function dropped(transfer, folders) {
  // Entries have to be taken before the first await: the browser empties the list after the event.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!folders || !entries.some((each) => each.isDirectory)) {
    return [...transfer.files].map((file) => ({ file, path: file.name }));
  }
  const files = [];
  for (const each of entries) await walk(each, files);
  return files;
}

async function walk(each, files) {
  if (each.isFile) {
    const file = await new Promise((resolve, reject) => each.file(resolve, reject));
    files.push({ file, path: each.fullPath });
    return;
  }
  const reader = each.createReader();
  for (;;) {
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) return;
    for (const inner of batch) await walk(inner, files);
  }
}
