// Pages about labels: which photos of a group are chosen, and labels that are nearly what was typed.

import { askWhetherMeant } from "./labels.js";
import { tellChosen } from "./selection.js";

const form = document.getElementById("chosen");
if (form && document.getElementById("chosen-count")) tellChosen(form);
form?.addEventListener("submit", (event) => {
  if (form.dataset.sent) event.preventDefault(); // a second Enter while the first is under way
  form.dataset.sent = "true";
});
addEventListener("pageshow", () => delete form?.dataset.sent);
const label = form?.querySelector("#label");
if (label?.value) label.select();
askWhetherMeant();
document.getElementById("main").dataset.ready = "true";
