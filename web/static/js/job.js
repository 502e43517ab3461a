// A job's page: takes over what changed once a second, and loads the page anew when the job has ended.

import { getPage } from "./pages.js";

const state = document.querySelector("[data-field=state]").textContent;

async function look() {
  const page = await getPage(location.href);
  if (!page) return; // the next look tells
  if (page.querySelector("[data-field=state]")?.textContent !== state) {
    location.reload();
    return;
  }
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = page.querySelector(`[data-live=${part.dataset.live}]`);
    if (now && !now.isEqualNode(part)) part.replaceChildren(...now.childNodes);
  }
}

(async () => {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    if (!document.hidden) await look();
  }
})();
