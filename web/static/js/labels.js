// Suggestions for every field that takes a label.

import { labels } from "./api.js";

/** Fills the page's datalist. Without it the fields still work, so a failure here is nobody's trouble. */
export async function suggestLabels() {
  const list = document.getElementById("label-list");
  let known;
  try {
    known = await labels();
  } catch {
    return;
  }
  list.replaceChildren(
    ...known.map(({ label, count }) => {
      const option = document.createElement("option");
      option.value = label;
      option.textContent = count;
      return option;
    }),
  );
}
