// The trash: how many photos are chosen. Restoring and removing are plain forms.

import { tellChosen } from "./selection.js";

const form = document.getElementById("chosen");
if (form) tellChosen(form);
document.getElementById("main").dataset.ready = "true";
