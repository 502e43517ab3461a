// Which photos of a wall are chosen: ranges with Shift, X for the one in focus, Escape for none; B goes to the bar.

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
  addEventListener("keydown", (event) => {
    if (event.target.matches("input:not([type=checkbox]), select, dialog, dialog *") || event.ctrlKey || event.metaKey) return;
    const box = event.target.closest("li")?.querySelector("[name=ids]");
    if (event.key === "x" && box) box.click();
    else if (event.key === "b") form.querySelector(".bulk input, .bulk button")?.focus();
    else if (event.key === "Escape") for (const each of boxes()) each.checked = false;
    else return;
    event.preventDefault();
    tell();
  });
  // What the browser remembers of this form when one comes back to it.
  tell();
}
