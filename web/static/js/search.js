// The search page: from a query (see query.js) to its answer, however it is asked.

import { contentOf, useAnswers } from "./answers.js";
import { Problem, imageUrl, keep, root, search } from "./api.js";
import { onPlainClick } from "./buttons.js";
import { useCamera } from "./camera.js";
import { divided, moveWithArrows, rename, show, shownName, takeOut } from "./cards.js";
import { useCrop } from "./crop.js";
import { onDetails } from "./details.js";
import { onFiles } from "./dropzone.js";
import { fetched, idOf } from "./elsewhere.js";
import { useExamples } from "./examples.js";
import { addressOf, enter, fromState, isSeveral, keepPhotos, photos, prepare, shownAt, stateOf } from "./query.js";
import { askWhetherMeant, suggestLabels } from "./labels.js";
import { back } from "./outage.js";

const page = document.getElementById("main");
const form = page.querySelector("form.query");
const list = document.getElementById("results");
const section = document.getElementById("results-section");
const strangers = document.getElementById("strangers"); // the results, folded away when none is the same
const ownBox = document.getElementById("own");
const problemBox = document.getElementById("problem");
const facts = document.getElementById("query-facts");
const keepButton = facts.querySelector("[data-keep]");
const mayKeep = !keepButton.disabled; // a viewer adds nothing
const photoBox = document.getElementById("query-photo");
const announcements = document.getElementById("announcements");
const titleAtStart = "Lookalike";
const MOST_RESULTS = 200; // that the API gives
const KEPT = { unchanged: "It is in the gallery already", restored: "Restored from the trash" };
const STAGES = ["wait", "decode", "embed", "search"];

const GOES_ON = "The search goes on by itself";
const SAID_AFTER_MS = 400; // a photo that travels for longer is told about
let current = null;
let running = null;
let lastBest = null;

const options = () => ({
  k: Number(form.elements.k.value),
  label: form.elements.label.value.trim(),
  rerank: form.elements.rerank.checked,
  strategy: form.elements.strategy.value,
});
const address = (id) => addressOf({ id }, options());

/** Searches and shows the answer. history: "push" for a new query, "replace" for new options, "none" when going back. */
async function run(query, { history: step = "push", live = false, tries = 0 } = {}) {
  running?.abort();
  const controller = new AbortController();
  running = controller;
  query = { box: null, more: [], unlike: [], ...query };
  current = query;
  if (!live) remember(query, step);
  preview(query);
  hideProblem();
  page.dataset.state = "answer";
  if (query.refusal) {
    fail(new Problem({ detail: `${query.name} ${query.refusal}`, hint: "choose a smaller photo" }));
    return false;
  }
  section.setAttribute("aria-busy", "true");
  const began = performance.now();
  try {
    if (!live) await prepare(query);
    if (!live && step !== "none") keepPhotos(query);
    if (controller.signal.aborted) return true;
    const sending = (share) => {
      const isSlow = performance.now() - began > SAID_AFTER_MS && share < 1 && running === controller;
      if (isSlow) document.getElementById("results-title").textContent = `Sending ${query.name}: ${Math.round(100 * share)} %`;
    };
    const { k } = options();
    const asked = { ...options(), k: Math.min(MOST_RESULTS, k + 1) }; // one may be the query itself
    const answer = await search(query, asked, controller.signal, sending);
    const own = live ? null : await contentOf(query);
    if (!controller.signal.aborted) present(query, answer, divided(answer, own, k), performance.now() - began, live);
    if (!live) answers.show(query);
    return true;
  } catch (error) {
    if (error.name === "AbortError") return true;
    fail(error);
    if (error.isAway && !live) goOn(query, controller.signal, tries);
    return false;
  } finally {
    if (running === controller) {
      section.removeAttribute("aria-busy");
    }
  }
}

/** Asks once more when what is away has come back, unless something else was asked meanwhile. */
async function goOn(query, signal, tries) {
  if (await back(signal, tries)) run(query, { history: "replace", tries: tries + 1 });
}

function remember(query, step) {
  if (step === "none") return;
  enter(query);
  tellQueries(query);
  window.history[step === "push" ? "pushState" : "replaceState"](stateOf(query), "", addressOf(query, options()));
}

function preview(query) {
  const image = photoBox.querySelector("img");
  photoBox.classList.remove("no-preview");
  image.onerror = () => photoBox.classList.add("no-preview"); // a format that this browser cannot show, HEIC say
  const url = shownAt(query);
  if (image.getAttribute("src") !== url) image.src = url;
  image.hidden = false;
  image.alt = `The query: ${query.name}`;
  document.getElementById("query-name").textContent = query.name;
  photoBox.hidden = false;
  crop.show(query.box);
  examples.show(query);
  exampleBox.hidden = false;
  form.elements.rerank.disabled = isSeveral(query);
  keepButton.hidden = Boolean(query.id) || !mayKeep;
  keepButton.disabled = false;
  keepButton.textContent = "Keep this photo in the gallery";
}

function heading({ own, same, others }) {
  const count = (same?.length ?? 0) + others.length;
  if (!count) return "Nothing to compare with";
  if (same === null) return `${count} most similar`;
  if (!same.length) return own ? "Nothing else in your gallery matches" : "Nothing in your gallery matches";
  return `${same.length} ${same.length === 1 ? "match" : "matches"} of ${count} most similar`;
}

function present(query, answer, shown, tookMs, live) {
  const results = [...(shown.same ?? []), ...shown.others];
  show(list, shown, address);
  const note = document.getElementById("answer-note");
  note.textContent = results.length && answer.told ? `${shown.same ? "Probabilities" : "No probabilities"}: ${answer.told}.` : "";
  note.hidden = !note.textContent;
  tellLeftOut(query, answer.skipped ?? []);
  const isStrange = results.length > 0 && shown.same?.length === 0;
  strangers.open = !isStrange;
  strangers.querySelector("summary").hidden = !isStrange;
  ownBox.hidden = !shown.own;
  if (shown.own) ownBox.querySelector("a").href = imageUrl(shown.own);
  document.getElementById("results-title").textContent = heading(shown);
  document.getElementById("no-results").hidden = results.length > 0;
  facts.hidden = false;
  facts.querySelector("[data-field=took]").textContent = `${tookMs.toFixed(0)} ms`;
  facts.querySelector("[data-field=model]").textContent = answer.model;
  facts.querySelector("[data-field=stages]").textContent = STAGES.filter((stage) => stage in answer.timings_ms)
    .map((stage) => `${stage} ${answer.timings_ms[stage].toFixed(0)}`)
    .join(" · ");
  document.title = `Like ${query.name} – Lookalike`;
  const best = results[0];
  if (live && best?.id === lastBest) return; // a screen reader should not hear the same every second
  lastBest = best?.id;
  const said = best ? `, best: ${shownName(best)}, similarity ${best.similarity.toFixed(2)}${best.verdict === "same" ? ", a match" : ""}` : "";
  announcements.textContent = `${results.length} results for ${query.name}${said}`;
}

/** Names the photos of a query that are gone, and goes on without them. */
function tellLeftOut(query, skipped) {
  const gone = new Set(skipped.map(({ id }) => id));
  const named = (id) => [query, ...query.more, ...query.unlike].find((each) => each.id === id)?.name;
  const told = skipped.map(({ id, name, reason }) => `${name || named(id) || "a photo"} (${reason})`);
  const box = document.getElementById("left-out");
  box.textContent = told.length ? `Left out: ${told.join("; ")}.` : "";
  box.hidden = !told.length;
  if (!told.length || gone.has(query.id)) return;
  for (const kind of ["more", "unlike"]) query[kind] = query[kind].filter(({ id }) => !gone.has(id));
  examples.show(query);
}

function fail({ message, hint, isAway }) {
  const detail = problemBox.querySelector("[data-field=detail]");
  detail.textContent = message;
  detail.classList.toggle("as-is", Boolean(current?.name && message.startsWith(current.name))); // a file's name stays as it is
  const advice = isAway && hint?.includes("by itself") ? "" : hint;
  problemBox.querySelector("[data-field=hint]").textContent = [advice, isAway && GOES_ON].filter(Boolean).join(". ");
  problemBox.classList.toggle("passing", Boolean(isAway));
  problemBox.querySelector("[data-retry]").hidden = !current;
  problemBox.hidden = false;
  list.replaceChildren();
  ownBox.hidden = true;
  strangers.querySelector("summary").hidden = true;
  document.getElementById("results-title").textContent = "";
  for (const id of ["no-results", "answer-note", "left-out"]) document.getElementById(id).hidden = true;
  facts.hidden = true;
}

function hideProblem() {
  problemBox.hidden = true;
}

function backToStart() {
  if (page.querySelector(".start .samples, .start .empty, .start .problem") === null) {
    location.assign(`${root}/`); // this page was made with an answer, so it has no start to show
    return;
  }
  running?.abort();
  current = null;
  hideProblem();
  page.dataset.state = "start";
  document.title = titleAtStart;
}

// Ways to ask

onFiles(
  async (files) => {
    camera.close();
    const queries = files.map((file) => ({ ...file, name: file.name.split("/").at(-1) }));
    // Each is a query of its own; the first is shown, the others are one press or one step back away.
    for (const query of queries.slice(1).reverse()) {
      remember(query, "push");
      await prepare(query).then(() => keepPhotos(query), () => photos.delete(query.key)); // one that cannot be read
    }
    run(queries[0]);
  },
  { inputs: [form.elements.image], form, onAddress: searchElsewhere },
);

/** Searches with an image that was dropped from a page: one of ours by its id, another one if its site lets us read it. */
async function searchElsewhere(address) {
  const id = idOf(address);
  if (id) {
    run({ id, name: "this photo" });
    return;
  }
  try {
    run(await fetched(address));
  } catch (error) {
    fail(error);
  }
}

const camera = useCamera(document.getElementById("camera"), form.querySelector("[data-camera-open]"), {
  search: (blob, { live }) => run({ blob, name: live ? "live camera" : "camera.jpg" }, { live }),
  failed: fail,
});

onPlainClick("a[data-search]", (link) => {
  camera.close();
  const holder = link.closest("[data-id]");
  const name = holder.querySelector("[data-field=name]")?.textContent || link.querySelector("img")?.alt || "this photo";
  scrollTo({ top: 0, behavior: "smooth" });
  run({ id: holder.dataset.id, name });
});

form.querySelector(".options").addEventListener("change", () => {
  if (current) run(current, { history: "replace" });
});
form.addEventListener("submit", (event) => {
  event.preventDefault(); // Enter in the label field
  if (current) run(current, { history: "replace" });
});
problemBox.querySelector("[data-retry]").addEventListener("click", () => run(current, { history: "replace" }));

addEventListener("popstate", ({ state }) => {
  camera.close();
  if (state?.id || state?.photo) again(state);
  else backToStart();
});

/** Searches once more with what was searched with before; the start when a photo of it is forgotten. */
async function again(state) {
  const query = await fromState(state);
  if (!query) {
    backToStart();
    return;
  }
  await run(query, { history: "none" });
  tellQueries(query);
}

/** Loads a page again that came without its answer or its samples, unless something was asked meanwhile. */
async function loadWhenBack() {
  if ((await back()) && !current) location.reload();
}

/** The photos of this tab, to go from one to another when there are several. */
function tellQueries(shown) {
  const strip = document.getElementById("queries");
  strip.hidden = photos.size < 2;
  strip.replaceChildren(
    ...[...photos.values()].slice(-8).map((query) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", `Search with ${query.name}`);
      if (query.key === shown.key) button.setAttribute("aria-current", "true");
      const image = document.createElement("img");
      image.alt = "";
      image.src = shownAt(query);
      button.append(image);
      button.addEventListener("click", () => run(query));
      return button;
    }),
  );
}

keepButton.addEventListener("click", async () => {
  keepButton.disabled = true;
  const photo = current;
  try {
    const { images } = await keep([photo], form.elements.label.value.trim());
    keepButton.textContent = KEPT[images[0].outcome] ?? "Kept";
    announcements.textContent = keepButton.textContent;
  } catch (error) {
    keepButton.disabled = false;
    keepButton.textContent = `${error.text}. Try again`;
  }
});

// Parts of the query, and further photos

const exampleBox = document.getElementById("examples");
const crop = useCrop(photoBox, exampleBox.querySelector("[data-crop]"), { chosen: (box) => run({ ...current, box }) });
const examples = useExamples(exampleBox.querySelector("ul"), { current: () => current, changed: (query) => run(query) });
const FULL = { message: "A search takes at most 16 photos", hint: "Remove one first" };

function addExample(each, kind) {
  if (!current) run(each);
  else if (examples.add(each, kind)) announcements.textContent = `${kind === "more" ? "Also like" : "Not like"} ${each.name}`;
  else fail(FULL);
}

for (const input of exampleBox.querySelectorAll("[data-add]")) {
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    for (const file of files) addExample({ blob: file, name: file.name }, input.dataset.add);
  });
}
list.addEventListener("click", (event) => {
  const button = event.target.closest("[data-example]");
  if (!button) return;
  const card = button.closest("[data-id]");
  addExample({ id: card.dataset.id, name: card.querySelector("[data-field=name]").textContent }, button.dataset.example);
});

// What happens to images that are shown

const answers = useAnswers(list, { announce: (text) => (announcements.textContent = text) });

const taken = new Map(); // id -> puts its card back
const cardOf = (id) => [...list.children].find((card) => card.dataset.id === id);
onDetails({
  failed: fail,
  relabelled: (image) => {
    const card = cardOf(image.id);
    if (card) rename(card, image);
    suggestLabels();
  },
  deleted: (id) => taken.set(id, takeOut(cardOf(id))),
  restored: (id) => taken.get(id)?.(),
});
moveWithArrows(list);
suggestLabels();
askWhetherMeant();

// A page that came with its answer in it
const given = form.elements.id?.value;
if (given && page.dataset.state === "answer") {
  const chips = (kind) => [...exampleBox.querySelectorAll(`[data-kind=${kind}]`)].map(({ dataset }) => ({ id: dataset.id, name: dataset.name }));
  const box = form.elements.box?.value.split(",").map(Number) ?? null;
  current = { id: given, name: document.getElementById("query-name").textContent, box, more: chips("more"), unlike: chips("unlike") };
  window.history.replaceState(stateOf(current), "", location.href);
  preview(current);
  answers.show(current);
}
if (!given && (history.state?.photo || history.state?.id)) await again(history.state); // the page was loaded again
else if (page.querySelector("[data-away]")) loadWhenBack();
page.dataset.ready = "true";
