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

/** A label without what people write differently: case, accents' forms, spaces, hyphens. */
const folded = (text) => text.normalize("NFKC").toLowerCase().replace(/[\s_-]+/gu, "");

/** Below a field whose text is a label in use but for case and spaces: *Did you mean Lemon?*, and a press takes it. */
export function askWhetherMeant() {
  const question = document.createElement("p");
  question.className = "did-you-mean hint";
  question.setAttribute("role", "status");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  question.append("Did you mean ", button, "?");
  let field = null;

  document.addEventListener("input", ({ target }) => {
    if (!target.matches?.("input[list=label-list]")) return;
    const typed = target.value.trim();
    const known = [...target.list.options].map((option) => option.value);
    const meant = typed && !known.includes(typed) ? known.find((label) => folded(label) === folded(typed)) : undefined;
    if (!meant) {
      question.remove();
      return;
    }
    field = target;
    button.textContent = meant;
    target.insertAdjacentElement("afterend", question);
  });
  button.addEventListener("click", () => {
    field.value = button.textContent;
    question.remove();
    field.focus();
    field.dispatchEvent(new Event("change", { bubbles: true }));
  });
}
