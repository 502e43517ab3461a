// The ranked grid: fills cards, keeps those that stay, and moves between them with the arrow keys.

import { imageUrl, thumbnailUrl } from "./api.js";

const blank = document.getElementById("card");
const divide = document.getElementById("divide");
const field = (card, name) => card.querySelector(`[data-field="${name}"]`);
export const shownName = (result) => result.label || result.path.split("/").at(-1);

/**
 * Shows results in the list: those that are the same above a line, the others below. Cards of images that were shown before
 * are moved, not made anew: no flicker.
 */
export function show(list, { same, others }, searchUrl) {
  const old = new Map([...list.children].map((card) => [card.dataset.id, card]));
  const cards = (results) => results.map((result) => fill(old.get(result.id) ?? fresh(result.id), result, searchUrl));
  const line = same?.length && others.length ? [divide.content.firstElementChild.cloneNode(true)] : [];
  list.replaceChildren(...cards(same ?? []), ...line, ...cards(others));
}

/** An answer as the page divides it: without the query itself, whose id is `own`; `same` is null where nothing is claimed. */
export function divided({ results, matches }, own, k) {
  const rest = results.filter(({ id }) => id !== own).slice(0, k);
  const isOwn = results.some(({ id }) => id === own);
  if (matches === null) return { own: isOwn ? own : null, same: null, others: rest };
  const isSame = ({ verdict }) => verdict === "same";
  return { own: isOwn ? own : null, same: rest.filter(isSame), others: rest.filter((each) => !isSame(each)) };
}

function fresh(id) {
  const card = blank.content.firstElementChild.cloneNode(true);
  card.dataset.id = id;
  card.querySelector("img").src = thumbnailUrl(id);
  card.querySelector("[data-details]").href = imageUrl(id);
  return card;
}

function fill(card, result, searchUrl) {
  card.querySelector("[data-search]").href = searchUrl(result.id);
  const badge = card.querySelector(".badge");
  badge.hidden = result.verdict !== "same";
  card.dataset.verdict = result.verdict ?? "";
  field(card, "probability").textContent = result.probability === null ? "" : `${Math.round(100 * result.probability)} % · `;
  for (const rank of card.querySelectorAll("[data-field=rank]")) rank.textContent = result.rank;
  field(card, "similarity").textContent = result.similarity.toFixed(3);
  field(card, "bar").setAttribute("width", 100 * Math.min(1, Math.max(0, result.similarity)));
  field(card, "name").title = result.path;
  rename(card, result);
  return card;
}

/** Writes the label, or the file's name where there is none. */
export function rename(card, { label, path }) {
  const name = field(card, "name");
  name.textContent = shownName({ label, path });
  name.classList.toggle("unlabelled", !label);
  card.querySelector("img").alt = label || path;
}

/** Takes a card out and moves the focus to its neighbour. Returns what puts it back. */
export function takeOut(card) {
  if (!card) return () => {};
  const list = card.parentElement;
  const following = card.nextElementSibling;
  const cards = [...list.children].filter((each) => each.dataset.id);
  const neighbour = cards[cards.indexOf(card) + 1] ?? cards[cards.indexOf(card) - 1];
  card.remove();
  const link = neighbour?.querySelector(".photo");
  if (link) link.focus();
  else {
    const main = document.getElementById("main");
    main.tabIndex = -1;
    main.focus();
  }
  return () => {
    list.insertBefore(card, following?.parentElement === list ? following : null);
    card.querySelector(".photo").focus();
  };
}

/** Arrow keys, Home and End move the focus over a grid of links. */
export function moveWithArrows(list, selector = ".photo") {
  list.addEventListener("keydown", (event) => {
    const links = [...list.querySelectorAll(selector)];
    const at = links.indexOf(event.target.closest(selector));
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const columns = links.filter((link) => link.getBoundingClientRect().top === links[0].getBoundingClientRect().top).length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: links.length - 1 - at };
    const goal = links[at + steps[event.key]];
    if (!goal) return;
    event.preventDefault();
    goal.focus();
  });
}
