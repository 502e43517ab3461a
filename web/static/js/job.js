// A job's page: takes over what changed once a second, and loads the page anew when the job has ended.

const state = document.querySelector("[data-field=state]").textContent;

/** This page as it is now; null when there is no answer. The browser parses it, and runs none of its scripts. */
function again() {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.onload = () => resolve(request.status === 200 ? request.response : null);
    request.onerror = () => resolve(null);
    request.open("GET", location.href);
    request.send();
  });
}

async function look() {
  const page = await again();
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
