// Which photos of a wall are chosen: ranges with Shift, and the count in the bar.

/** Keeps the bar's count, and chooses everything between two boxes when the second is clicked with Shift. */
export function tellChosen(form) {
  const boxes = () => [...form.querySelectorAll("[name=ids]")];
  const count = document.getElementById("chosen-count");
  let last = null;
  const tell = () => {
    const chosen = boxes().filter((each) => each.checked).length;
    count.textContent = chosen === 1 ? "1 photo chosen" : `${chosen} photos chosen`;
  };
  form.addEventListener("click", (event) => {
    const box = event.target.closest("[name=ids]");
    if (!box) return;
    const all = boxes();
    const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
    if (event.shiftKey && from >= 0) for (const each of all.slice(from, to + 1)) each.checked = box.checked;
    last = box;
    tell();
  });
  form.addEventListener("change", tell);
  // What the browser remembers of this form when one comes back to it.
  tell();
}
