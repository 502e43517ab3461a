// A job's page: asks once a second how far it is, and loads the page anew when it has ended.

import { job } from "./api.js";

const box = document.getElementById("job");
const bar = box.querySelector("progress");
const format = (count) => count.toLocaleString("en");

async function look() {
  let status;
  try {
    status = await job(box.dataset.job);
  } catch {
    return; // the next look tells
  }
  if (status.state !== "running") {
    location.reload();
    return;
  }
  bar.max = status.total || 1;
  bar.value = status.done;
  const counts = ["added", "updated", "unchanged", "removed", "failed"]
    .filter((name) => status[name])
    .map((name) => `${format(status[name])} ${name === "failed" ? "left out" : name}`);
  box.querySelector("[data-field=counts]").textContent =
    `${format(status.done)} of ${format(status.total)} done${counts.length ? ": " : ""}${counts.join(", ")}`;
  box.querySelector("[data-field=seconds]").textContent = `${status.seconds.toFixed(0)} s`;
}

(async () => {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
})();
