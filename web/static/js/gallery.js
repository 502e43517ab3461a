// The gallery: photos large, chosen photos over all pages that are loaded, arrow keys.

import { moveWithArrows, takeOut } from "./cards.js";
import { goesOn } from "./endless.js";
import { askWhetherMeant } from "./labels.js";
import { tellChosen } from "./selection.js";
import { useViewer } from "./viewer.js";

const form = document.getElementById("chosen");
if (form) {
  const wall = form.querySelector(".wall");
  const more = goesOn(wall);
  const cards = () => [...wall.children];
  const taken = new Map(); // id -> puts its card back
  useViewer({
    cards,
    more,
    deleted: (id) => taken.set(id, takeOut(cards().find((card) => card.dataset.id === id))),
    restored: (id) => taken.get(id)?.(),
  });
  if (document.getElementById("chosen-count")) tellChosen(form);
  moveWithArrows(wall);
}
askWhetherMeant();
document.getElementById("main").dataset.ready = "true";
