// Short messages at the foot of the page, with *Undo* where a change can be taken back. Messages that the server put
// there are treated alike; without scripts they stand at the top of the page, with the same button.

import { undo } from "./api.js";

const STAYS_MS = 8_000;
const UNDO_STAYS_MS = 30_000;
const box = document.getElementById("toasts");
const LATER = "Searches follow when the search engine is back.";
const blank = document.getElementById("toast");

/**
 * Shows a message. With `undo`, the job of a change, it has a button that takes the change back and then calls `undone`;
 * without that the page is loaded again. `isLater` adds that searches do not see it yet.
 */
export function toast(text, { undo: job = null, undone = () => location.reload(), isLater = false } = {}) {
  const message = blank.content.firstElementChild.cloneNode(true);
  message.querySelector("[data-field=text]").textContent = isLater ? `${text} ${LATER}` : text;
  const button = message.querySelector("[data-undo]");
  button.closest("form").hidden = !job;
  button.value = job ?? "";
  if (box.children.length > 2) box.firstElementChild.remove();
  box.append(message);
  const dialog = document.querySelector("dialog[open]");
  if (dialog && !dialog.contains(box)) {
    dialog.append(box); // what lies outside of an open dialog cannot be pressed
    dialog.addEventListener("close", () => document.body.append(box), { once: true });
  }
  look(message, undone);
}

function look(message, undone) {
  const button = message.querySelector("[data-undo]");
  const form = button.closest("form");
  const stays = form.hidden ? STAYS_MS : UNDO_STAYS_MS;
  let timer = setTimeout(() => message.remove(), stays);
  // Whoever is about to press the button is not raced.
  const hold = () => clearTimeout(timer);
  const go = () => {
    hold();
    timer = setTimeout(() => message.remove(), stays);
  };
  message.addEventListener("pointerenter", hold);
  message.addEventListener("focusin", hold);
  message.addEventListener("pointerleave", go);
  message.addEventListener("focusout", go);
  message.querySelector("[data-dismiss]").addEventListener("click", () => message.remove());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    hold();
    button.disabled = true;
    try {
      const done = await undo(button.value);
      message.remove();
      if (done.isLater) toast("Undone.", { isLater: true });
      undone();
    } catch (error) {
      message.remove();
      toast(error.text);
    }
  });
}

for (const message of box.children) look(message, () => location.reload());
