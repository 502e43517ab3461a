// A wall that goes on: the next page's photos are added when its foot comes near, and the address follows the page that is
// in sight, so that loading it again or sending it to somebody shows the same.

import { getPage } from "./pages.js";

/** Extends the list by the pages that links rel=next lead to. Returns a function that loads one more. */
export function goesOn(list) {
  let loading = null;
  const starts = [{ card: list.firstElementChild, address: location.href }]; // first cards of pages

  async function load(link) {
    link.setAttribute("aria-busy", "true");
    const page = await getPage(link.href);
    if (!page) {
      link.removeAttribute("aria-busy"); // it is still there to be pressed
      return false;
    }
    const cards = [...page.querySelectorAll(".wall > li")].map((card) => document.importNode(card, true));
    if (cards.length) starts.push({ card: cards[0], address: link.href });
    list.append(...cards);
    const following = page.querySelector("a[rel=next]");
    if (following) link.replaceWith(document.importNode(following, true));
    else link.remove();
    watch();
    return cards.length > 0;
  }

  async function more() {
    const link = document.querySelector("a[rel=next]");
    if (!link) return false;
    loading ??= load(link).finally(() => {
      loading = null;
    });
    return loading;
  }

  const nearing = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more(), {
    rootMargin: "800px",
  });
  function watch() {
    nearing.disconnect();
    const link = document.querySelector("a[rel=next]");
    if (link) nearing.observe(link);
  }
  watch();

  let waiting = false;
  const follow = () => {
    if (waiting || starts.length < 2) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      const begun = starts.filter(({ card }) => card.isConnected && card.getBoundingClientRect().top < innerHeight);
      const { address } = begun.at(-1) ?? starts[0];
      if (address !== location.href) history.replaceState(history.state, "", address);
    }, 250);
  };
  addEventListener("scroll", follow, { passive: true });
  return more;
}
