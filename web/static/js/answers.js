// *Same* and *Not the same* under each result: remembered by the content of both photos, asked once, taken back by a second
// press. Of one whole photo alone: a part, or several photos, are no image that could be remembered.

import { answersAbout, giveAnswer } from "./api.js";
import { isSeveral } from "./query.js";
import { toast } from "./toast.js";

/** The id that a query has, or would have in the gallery; null where the browser cannot say. */
export async function contentOf(query) {
  if (query.box || isSeveral(query)) return null;
  if (query.id) return query.id;
  if (!crypto.subtle) return null; // browsers give it to secure pages only: HTTPS, or this machine
  const digest = await crypto.subtle.digest("SHA-256", await query.blob.arrayBuffer());
  const hex = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.slice(0, 32);
}

/** Wires the answers below the results of a list. */
export function useAnswers(list, { announce }) {
  let asked = null; // the id of the query whose results are shown
  let known = new Map();
  let shown = null;

  function mark(card) {
    const answer = card.querySelector(".answers");
    if (!answer) return;
    answer.hidden = asked === null || card.dataset.id === asked;
    const same = known.get(card.dataset.id) ?? null;
    for (const button of answer.querySelectorAll("[data-same]")) {
      button.setAttribute("aria-pressed", String(same !== null && button.dataset.same === String(same)));
    }
    card.dataset.answer = same === null ? "" : same ? "same" : "different";
    const badge = card.querySelector(".badge");
    badge.hidden = same === null ? card.dataset.verdict !== "same" : !same;
  }
  const markAll = () => [...list.querySelectorAll("[data-id]")].forEach(mark);

  list.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-same]");
    if (!button) return;
    const card = button.closest("[data-id]");
    const before = known.get(card.dataset.id) ?? null;
    const wanted = button.dataset.same === "true";
    const same = before === wanted ? null : wanted;
    const image = asked;
    const say = (value) => {
      if (value === null) known.delete(card.dataset.id);
      else known.set(card.dataset.id, value);
      if (asked === image) mark(card);
    };
    say(same); // at once; put back if it fails
    try {
      const { since_training: count } = await giveAnswer(image, card.dataset.id, same);
      announce(`${same === null ? "Taken back" : "Remembered"}. ${count} ${count === 1 ? "answer" : "answers"} since the last training`);
    } catch (error) {
      say(before);
      toast(error.text);
    }
  });

  return {
    /** Shows what was said of the photo that a query is, under its results. */
    async show(query) {
      shown = query;
      asked = null;
      known = new Map();
      markAll();
      const id = await contentOf(query).catch(() => null);
      const found = id === null ? null : await answersAbout(id).catch(() => null);
      if (shown !== query || found === null) return; // another query is shown meanwhile
      asked = id;
      known = found;
      markAll();
    },
  };
}
