// The gallery: details in a dialog, chosen photos, arrow keys.

import { moveWithArrows, rename, takeOut } from "./cards.js";
import { onDetails } from "./details.js";
import { tellChosen } from "./selection.js";
import { toast } from "./toast.js";

const form = document.getElementById("chosen");
const cardOf = (id) => [...document.querySelectorAll(".wall > li")].find((card) => card.dataset.id === id);
const taken = new Map(); // id -> puts its card back

onDetails({
  failed: (error) => toast(error.text),
  relabelled: (image) => rename(cardOf(image.id), image),
  deleted: (id) => taken.set(id, takeOut(cardOf(id))),
  restored: (id) => taken.get(id)?.(),
});

if (document.getElementById("chosen-count")) tellChosen(form);
if (form) moveWithArrows(form.querySelector(".wall"));
document.getElementById("main").dataset.ready = "true";
