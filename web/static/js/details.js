// The dialog with what is known of one image, where it is relabelled and deleted.

import { deleteImage, getImage, originalUrl, root, setLabel, thumbnailUrl } from "./api.js";
import { asksFirst, onPlainClick } from "./buttons.js";

const dialog = document.getElementById("details");
const field = (name) => dialog.querySelector(`[data-field="${name}"]`);
const deleteButton = dialog.querySelector("[data-delete]");
const labelInput = dialog.querySelector("[name=label]");
const deleting = asksFirst(deleteButton, () => "Really delete it?");
let shown = null;
let callbacks = {};

/** Opens details for links marked data-details; calls back after a change. */
export function onDetails(handlers) {
  callbacks = handlers;
  onPlainClick("a[data-details]", (link) => open(link.closest("[data-id]").dataset.id));
}

async function open(id) {
  field("error").textContent = "";
  try {
    fill(await getImage(id));
  } catch (error) {
    callbacks.failed?.(error);
    return;
  }
  dialog.showModal();
}

function fill(facts) {
  shown = facts;
  const name = facts.label || facts.name;
  field("title").textContent = name;
  field("image").src = thumbnailUrl(facts.id);
  field("image").alt = name;
  field("name").textContent = facts.name;
  field("path").textContent = facts.path;
  field("size").textContent = !facts.width ? "" : `${facts.width} × ${facts.height} px, ${facts.format}, ${size(facts.bytes)}`;
  field("added").textContent = new Date(1000 * facts.added_at).toLocaleString();
  field("id").textContent = facts.id;
  field("search").href = `${root}/?id=${facts.id}`;
  field("search").dataset.search = "";
  field("search").dataset.id = facts.id;
  field("original").href = originalUrl(facts.id);
  labelInput.value = facts.label ?? "";
  deleting.calm();
  if (facts.state !== "ok") field("error").textContent = `This photo is ${facts.state}. To see more: lookalike verify`;
}

function size(bytes) {
  const [value, unit] = bytes < 1e6 ? [bytes / 1e3, "kB"] : [bytes / 1e6, "MB"];
  return `${value.toFixed(value < 9.95 ? 1 : 0)} ${unit}`;
}

async function attempt(button, action) {
  button.disabled = true;
  field("error").textContent = "";
  try {
    return await action();
  } catch (error) {
    field("error").textContent = error.text;
    return undefined;
  } finally {
    button.disabled = false;
  }
}

dialog.querySelector("[data-label-form]").addEventListener("submit", async (event) => {
  event.preventDefault();
  const changed = await attempt(event.submitter ?? labelInput, () => setLabel(shown.id, labelInput.value.trim()));
  if (!changed) return;
  fill(changed);
  callbacks.relabelled?.(changed);
});

deleteButton.addEventListener("click", async () => {
  if (!deleting.isSure()) return;
  const id = shown.id;
  const gone = await attempt(deleteButton, async () => {
    await deleteImage(id);
    return true;
  });
  if (!gone) return;
  dialog.close();
  callbacks.deleted?.(id);
});

dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop
  if (event.target.closest("a[data-search]")) dialog.close();
});
