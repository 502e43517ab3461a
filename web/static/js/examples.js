// The further photos of a query, as chips: a plus is looked for, too, a minus is not. Pressing the sign turns it around.

import { MOST, others, shownAt } from "./query.js";

/** Wires the chips. changed(query) is called with the new query. */
export function useExamples(list, { current, changed }) {
  const blank = document.getElementById("example");
  const strategy = document.getElementById("strategy-field");

  function chip(query, each, kind) {
    const item = blank.content.firstElementChild.cloneNode(true);
    item.dataset.kind = kind;
    const image = item.querySelector("img");
    image.src = shownAt(each);
    image.alt = each.name;
    const sign = item.querySelector("[data-turn]");
    const isMore = kind === "more";
    sign.setAttribute("aria-label", `${isMore ? "Also like" : "Not like"} ${each.name}: turn around`);
    sign.querySelector("[data-plus]").toggleAttribute("hidden", !isMore);
    sign.querySelector("[data-minus]").toggleAttribute("hidden", isMore);
    sign.addEventListener("click", () => changed(added(without(query, each), each, isMore ? "unlike" : "more")));
    const remove = item.querySelector("[data-remove]");
    remove.setAttribute("aria-label", `Remove ${each.name} from the query`);
    remove.addEventListener("click", () => {
      const follows = item.nextElementSibling ?? item.previousElementSibling;
      const at = [...list.children].indexOf(follows);
      changed(without(query, each));
      (list.children[Math.min(at, list.children.length - 1)]?.querySelector("[data-remove]") ?? document.querySelector("[data-add-like]")).focus();
    });
    return item;
  }

  return {
    show(query) {
      const { more = [], unlike = [] } = query;
      list.replaceChildren(...more.map((each) => chip(query, each, "more")), ...unlike.map((each) => chip(query, each, "unlike")));
      list.hidden = !list.children.length;
      strategy.hidden = !more.length;
    },

    /** Takes another one into the query that is shown; kind is more or unlike. False when there is no room. */
    add(each, kind) {
      const query = current();
      if (others(query).length + 1 >= MOST) return false;
      changed(added(without(query, each), each, kind));
      return true;
    },
  };
}

const isSame = (one, other) => (one.id ? one.id === other.id : one.blob === other.blob);

function without(query, each) {
  const { more = [], unlike = [] } = query;
  const rest = (list) => list.filter((other) => !isSame(each, other));
  return { ...query, more: rest(more), unlike: rest(unlike) };
}

const added = (query, each, kind) => ({ ...query, [kind]: [...query[kind], each] });
