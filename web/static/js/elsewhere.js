// Images dropped from another page. The browser fetches them, never the portal: only what this person may see, and only
// where the other site allows it (CORS).

import { Problem } from "./api.js";

const SOURCE = /<img\b[^>]*?\ssrc\s*=\s*(?:"([^"]*)"|'([^']*)')/i;

/** Where an image is that was dragged from a page; null when none was. */
export function addressOfImage(transfer) {
  const [, double, single] = SOURCE.exec(transfer.getData("text/html")) ?? [];
  const stated = (double ?? single)?.replaceAll("&amp;", "&");
  const listed = transfer.getData("text/uri-list").split("\n").find((line) => line && !line.startsWith("#"));
  const address = (stated || listed || "").trim();
  return /^(https?:|data:image\/)/i.test(address) ? address : null;
}

/** The id of an image of this gallery, by the address of its copies. */
export function idOf(address) {
  if (!address.startsWith(location.origin)) return null;
  return /\/images\/([0-9a-f]{32})\/(thumbnail|view)/.exec(address)?.[1] ?? null;
}

/** A query with the image at an address. Throws a Problem that says what to do instead. */
export async function fetched(address) {
  const name = nameOf(address);
  let blob;
  try {
    blob = address.startsWith("data:") ? decoded(address) : await download(address);
  } catch {
    throw new Problem({
      detail: "The site that this photo is from does not let other pages read it",
      hint: "Save the photo and drop the file, or copy it there and paste it here",
    });
  }
  if (blob.type && !blob.type.startsWith("image/")) {
    throw new Problem({ detail: "What was dropped is a link, not a photo", hint: "Drop the photo itself, or save it first" });
  }
  return { blob, name };
}

async function download(address) {
  const response = await fetch(address, { credentials: "omit", referrerPolicy: "no-referrer" });
  if (!response.ok) throw new Error(String(response.status));
  return response.blob();
}

/** The content of a data: address, which a page must not fetch. */
function decoded(address) {
  const [, type, base64, data] = /^data:([^;,]*)[^,]*?(;base64)?,(.*)$/is.exec(address);
  const text = base64 ? atob(data) : decodeURIComponent(data);
  return new Blob([Uint8Array.from(text, (character) => character.charCodeAt(0))], { type });
}

function nameOf(address) {
  try {
    const last = address.startsWith("data:") ? "" : decodeURIComponent(new URL(address).pathname.split("/").at(-1));
    return last || "dropped.jpg";
  } catch {
    return "dropped.jpg";
  }
}
