// Links and buttons that every page treats alike.

/** Calls back for plain clicks on links of the kind; a click that opens a tab or a window stays the browser's. */
export function onPlainClick(selector, callback) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest(selector);
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    callback(link);
  });
}

/** A button that does something only when it is pressed twice: the first time it asks. */
export function asksFirst(button, question) {
  const text = button.textContent;
  const calm = () => {
    button.classList.remove("sure");
    button.textContent = text;
  };
  button.addEventListener("blur", calm);
  return {
    calm,
    /** Whether this press is the second one. */
    isSure() {
      if (button.classList.contains("sure")) return true;
      button.classList.add("sure");
      button.textContent = question();
      return false;
    },
  };
}
