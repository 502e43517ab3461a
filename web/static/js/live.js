// Parts of a page that follow what happens: taken over from the page as the server would show it now.
//
// An element with `data-live` is replaced when it differs. One with `data-version` too holds buttons: while its version
// stays the same only the live parts inside are looked at, so that nobody loses the place of the keyboard. When the
// element `data-field=state` says something else, the whole page has changed, and is loaded again.

import { getPage } from "./pages.js";
import { showTimes } from "./times.js";

const EVERY_MS = 1000;

function take(part, page) {
  const now = page.querySelector(`[data-live="${part.dataset.live}"]`);
  if (!now || now.isEqualNode(part)) return;
  if (part.dataset.version !== undefined && part.dataset.version === now.dataset.version) {
    for (const inner of part.querySelectorAll("[data-live]")) take(inner, now);
    return;
  }
  const focused = part.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  part.replaceWith(now);
  if (focused) now.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
}

async function look() {
  const state = document.querySelector("[data-field=state]")?.textContent;
  const page = await getPage(location.href);
  if (!page) return; // the next look tells
  if (page.querySelector("[data-field=state]")?.textContent !== state) {
    location.reload();
    return;
  }
  showTimes(page);
  for (const part of document.querySelectorAll("[data-live]")) {
    if (part.isConnected && !part.parentElement.closest("[data-live]")) take(part, page);
  }
}

// What must not be begun twice by a double click.
document.addEventListener("submit", ({ submitter }) => {
  if (submitter?.dataset.once !== undefined) setTimeout(() => (submitter.disabled = true)); // it is part of the form
});
addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("[data-once]")) button.disabled = false;
});

(async () => {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    if (!document.hidden) await look();
  }
})();
