// "Why is my photo not here?": a photo that is dropped, pasted or chosen is asked for at once.

import { onFiles } from "./dropzone.js";

const form = document.getElementById("why");
const input = document.getElementById("missed");

onFiles(
  ([file]) => {
    const chosen = new DataTransfer();
    chosen.items.add(new File([file.blob], file.name.split("/").at(-1), { type: file.blob.type }));
    input.files = chosen.files;
    form.requestSubmit();
  },
  { inputs: [input], form },
);
document.getElementById("answer")?.focus();
document.getElementById("main").dataset.ready = "true";
