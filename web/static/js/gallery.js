// The gallery: details in a dialog, a count of the chosen images, arrow keys, a question before many are deleted.

import { moveWithArrows, rename } from "./cards.js";
import { onDetails } from "./details.js";

const form = document.getElementById("chosen");
const cardOf = (id) => [...document.querySelectorAll(".wall > li")].find((card) => card.dataset.id === id);

onDetails({
  failed: (error) => {
    document.getElementById("chosen-count").textContent = error.message;
  },
  relabelled: (image) => rename(cardOf(image.id), image),
  deleted: (id) => cardOf(id)?.remove(),
});

if (form) {
  const chosen = () => form.querySelectorAll("[name=ids]:checked").length;
  const tell = () => {
    const count = chosen();
    document.getElementById("chosen-count").textContent = count === 1 ? "1 image chosen" : `${count} images chosen`;
  };
  form.addEventListener("change", tell);
  form.addEventListener("submit", (event) => {
    if (event.submitter?.value !== "delete" || event.submitter.classList.contains("sure")) return;
    event.preventDefault();
    event.submitter.classList.add("sure");
    event.submitter.textContent = `Really delete ${chosen()}?`;
  });
  moveWithArrows(form.querySelector(".wall"));
}
document.getElementById("main").dataset.ready = "true";
