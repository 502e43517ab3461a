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
