// Forms that take one photo: what was chosen, dropped or pasted is named before it is sent.

import { onFiles } from "./dropzone.js";

for (const form of document.querySelectorAll("form[data-one-photo]")) {
  const input = form.querySelector("input[type=file]");
  const told = form.querySelector("[data-chosen]");
  const submit = form.querySelector("button");
  onFiles(
    ([file]) => {
      const chosen = new DataTransfer();
      if (!file.refusal) chosen.items.add(new File([file.blob], file.name.split("/").at(-1), { type: file.blob.type }));
      input.files = chosen.files;
      told.textContent = file.refusal ? `${file.name} ${file.refusal}` : file.name.split("/").at(-1);
      form.querySelector("[data-how]").hidden = true;
      if (!file.refusal) submit.focus();
    },
    { inputs: [input], form },
  );
}
