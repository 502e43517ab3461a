// Pages of the portal that scripts take parts of.

/** A page as it is now; null when there is no answer. The browser parses it, and runs none of its scripts. */
export function getPage(address) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.onload = () => resolve(request.status === 200 ? request.response : null);
    request.onerror = () => resolve(null);
    request.open("GET", address);
    request.send();
  });
}
