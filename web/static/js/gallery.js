// The gallery: details in a dialog, a count of the chosen photos, arrow keys, a question before many are deleted.

import { moveWithArrows, rename } from "./cards.js";
import { asksFirst } from "./buttons.js";
import { onDetails } from "./details.js";

const form = document.getElementById("chosen");
const cardOf = (id) => [...document.querySelectorAll(".wall > li")].find((card) => card.dataset.id === id);

onDetails({
  failed: (error) => {
    document.getElementById("chosen-count").textContent = error.text;
  },
  relabelled: (image) => rename(cardOf(image.id), image),
  deleted: (id) => cardOf(id)?.remove(),
});

if (form?.querySelector("[value=delete]")) {
  const chosen = () => form.querySelectorAll("[name=ids]:checked").length;
  const tell = () => {
    const count = chosen();
    document.getElementById("chosen-count").textContent = count === 1 ? "1 photo chosen" : `${count} photos chosen`;
  };
  const deleting = asksFirst(form.querySelector("[value=delete]"), () => `Really delete ${chosen()}?`);
  form.addEventListener("change", tell);
  form.addEventListener("submit", (event) => {
    if (event.submitter?.value === "delete" && !deleting.isSure()) event.preventDefault();
  });
}
if (form) moveWithArrows(form.querySelector(".wall"));
document.getElementById("main").dataset.ready = "true";
