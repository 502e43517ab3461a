// The dialog with what is known of one image, where it is relabelled and deleted: at once, and with *Undo*.

import { changeImages, getImage, originalUrl, root, thumbnailUrl } from "./api.js";
import { onPlainClick } from "./buttons.js";
import { toast } from "./toast.js";

const dialog = document.getElementById("details");
const field = (name) => dialog.querySelector(`[data-field="${name}"]`);
const deleteButton = dialog.querySelector("[data-delete]");
const labelInput = dialog.querySelector("[name=label]");
const removeLabelButton = dialog.querySelector("[data-remove-label]");
const mayEdit = !deleteButton.hidden;
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
  const taken = facts.taken_at === null ? "–" : new Date(1000 * facts.taken_at).toISOString().slice(0, 16).replace("T", " ");
  field("taken").textContent = taken; // by the camera's clock, which knows no zone
  field("added").textContent = new Date(1000 * facts.added_at).toLocaleString();
  field("id").textContent = facts.id;
  field("search").href = `${root}/?id=${facts.id}`;
  field("search").dataset.search = "";
  field("search").dataset.id = facts.id;
  field("original").href = originalUrl(facts.id);
  labelInput.value = facts.label ?? "";
  removeLabelButton.hidden = !facts.label || !mayEdit;
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

/** Makes a change of the shown image, tells it with *Undo*, and calls back; `undone` when it was taken back. */
async function change(button, action, label, said, callback, undone) {
  const id = shown.id;
  const done = await attempt(button, () => changeImages(action, [id], label));
  if (!done) return;
  const isThere = done.changed.length > 0;
  const told = { undo: done.job, undone: () => undone(id), isLater: done.isLater };
  toast(isThere ? said : "This photo was no longer there.", told);
  await callback(id);
}

const relabelled = async (id) => {
  const image = await getImage(id);
  if (dialog.open && shown.id === id) fill(image);
  callbacks.relabelled?.(image);
};

dialog.querySelector("[data-label-form]").addEventListener("submit", async (event) => {
  event.preventDefault();
  const label = labelInput.value.trim();
  if (!label) {
    field("error").textContent = "Type the label to give; to take it away, choose Remove label";
    labelInput.focus();
    return;
  }
  await change(event.submitter ?? labelInput, "label", label, `Labelled ${label}.`, relabelled, relabelled);
});

removeLabelButton.addEventListener("click", async () => {
  await change(removeLabelButton, "remove_label", null, "Label removed.", relabelled, relabelled);
  if (removeLabelButton.hidden) labelInput.focus();
});

deleteButton.addEventListener("click", () =>
  change(
    deleteButton,
    "delete",
    null,
    "Moved to the trash.",
    (id) => {
      dialog.close();
      callbacks.deleted?.(id);
    },
    (id) => callbacks.restored?.(id),
  ),
);

dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop
  if (event.target.closest("a[data-search]")) dialog.close();
});
