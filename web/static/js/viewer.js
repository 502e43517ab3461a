// One photo large, over the gallery: arrow keys, buttons and swipes move through the photos, the browser's Back closes it.

import { changeImages, imageUrl, root, viewUrl } from "./api.js";
import { onPlainClick } from "./buttons.js";
import { toast } from "./toast.js";

const SWIPE_PX = 50;
const dialog = document.getElementById("viewer");
const image = dialog.querySelector("img");
const error = dialog.querySelector(".error");
const part = (name) => dialog.querySelector(`[data-field=${name}]`);

/**
 * Opens links marked data-view. cards() lists the photos' cards in order; more() loads the next page of them, and tells
 * whether there was one; deleted(id) and restored(id) are told.
 */
export function useViewer({ cards, more, deleted, restored }) {
  let shown = null;

  const cardOf = (id) => cards().find((card) => card.dataset.id === id);

  function show(id) {
    const card = cardOf(id);
    if (!card) return;
    shown = id;
    const small = card.querySelector("img");
    error.textContent = "";
    image.src = small.src; // at once, until the large one is there
    image.alt = small.alt;
    const large = new Image();
    large.onload = () => {
      if (shown === id) image.src = large.src;
    };
    large.onerror = () => {
      if (shown === id) error.textContent = "The large photo cannot be shown: its original is damaged, or no worker is running";
    };
    large.src = viewUrl(id);
    part("name").textContent = small.alt;
    part("search").href = `${root}/?id=${id}`;
    part("page").href = imageUrl(id);
    const at = cards().indexOf(card);
    dialog.querySelector(".previous").hidden = at === 0;
    dialog.querySelector(".following").hidden = at === cards().length - 1 && !document.querySelector("a[rel=next]");
    if (!dialog.open) dialog.showModal();
    const neighbour = cards()[at + 1];
    if (neighbour) new Image().src = viewUrl(neighbour.dataset.id);
  }

  async function step(by) {
    const at = cards().indexOf(cardOf(shown)) + by;
    if (at >= cards().length) await more();
    const card = cards()[at];
    if (!card) return;
    history.replaceState({ ...history.state, view: card.dataset.id }, "");
    show(card.dataset.id);
  }

  function close() {
    const card = cardOf(shown);
    dialog.close();
    card?.scrollIntoView({ block: "nearest" });
    card?.querySelector(".photo").focus();
  }

  onPlainClick("a[data-view]", (link) => {
    const { id } = link.closest("[data-id]").dataset;
    history.pushState({ view: id }, "");
    show(id);
  });
  addEventListener("popstate", ({ state }) => {
    if (state?.view) show(state.view);
    else if (dialog.open) close();
  });
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    history.back();
  });
  dialog.querySelector("[data-close]").addEventListener("click", () => history.back());
  dialog.querySelector(".previous").addEventListener("click", () => step(-1));
  dialog.querySelector(".following").addEventListener("click", () => step(1));
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by) step(by);
  });
  let from = null;
  image.addEventListener("pointerdown", (event) => {
    from = event.clientX;
  });
  image.addEventListener("dragstart", (event) => event.preventDefault());
  dialog.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const moved = event.clientX - from;
    from = null;
    if (Math.abs(moved) > SWIPE_PX) step(moved < 0 ? 1 : -1);
  });
  dialog.querySelector("[data-delete]")?.addEventListener("click", async () => {
    const id = shown;
    const at = cards().indexOf(cardOf(id));
    try {
      const { job, isLater } = await changeImages("delete", [id]);
      deleted(id);
      toast("Moved to the trash.", { undo: job, undone: () => restored(id), isLater });
    } catch (problem) {
      error.textContent = problem.text;
      return;
    }
    const card = cards()[Math.min(at, cards().length - 1)];
    if (card) {
      history.replaceState({ ...history.state, view: card.dataset.id }, "");
      show(card.dataset.id);
    } else history.back();
  });
  // A page that is loaded again shows its photos, not one of them.
  if (history.state?.view) history.replaceState(null, "");
}
