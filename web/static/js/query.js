// What is searched with. A query is {blob, name, refusal} (a photo, not kept) or {id, name} (an image of the gallery).
// `box` is the part of it that is meant, `more` and `unlike` hold further ones: what is looked for, too, and what is not.
// The address holds queries by id; photos are remembered in this browser, and history states hold their keys.

import { Problem, root, thumbnailUrl } from "./api.js";
import { keepQuery, keptQuery } from "./remembered.js";
import { shrunk } from "./shrink.js";

export const DEFAULT_K = 12;
export const MOST = 16;

export const photos = new Map(); // key -> what this tab has searched with

export const others = ({ more = [], unlike = [] }) => [...more, ...unlike];
export const isSeveral = (query) => others(query).length > 0;
const isPhoto = (each) => !each.id;

/** An image of it that this page can show. */
export const shownAt = (each) => (each.id ? thumbnailUrl(each.id) : (each.url ??= URL.createObjectURL(each.small ?? each.blob)));

/** Gives every photo of a query a key under which this tab finds it again. */
export function enter(query) {
  for (const each of [query, ...others(query)].filter(isPhoto)) {
    each.key ??= crypto.randomUUID?.() ?? String(Math.random());
    photos.set(each.key, each);
  }
}

/** Makes what is to be sent: photos small, and of one with a box that part alone, cut from all its pixels. */
export async function prepare(query) {
  for (const each of [query, ...others(query)].filter(isPhoto)) {
    await hold(each);
    each.small ??= await shrunk(each.blob);
  }
  if (isPhoto(query)) query.part = query.box ? await shrunk(query.blob, query.box) : null;
}

/** Reads a photo once and for all: its file may be moved, deleted or changed while it is searched with. */
async function hold(each) {
  if (each.isHeld) return;
  try {
    each.blob = new Blob([await each.blob.arrayBuffer()], { type: each.blob.type });
  } catch {
    const hint = "It may have been moved, deleted or changed: choose it again";
    throw new Problem({ detail: `${each.name} cannot be read`, hint });
  }
  each.isHeld = true;
}

/** Keeps the photos of a query in this browser. */
export function keepPhotos(query) {
  for (const each of [query, ...others(query)].filter(isPhoto)) keepQuery(each.key, each);
}

/** What of a query goes into a history state. */
export function stateOf(query) {
  const one = (each) => (each.id ? { id: each.id, name: each.name } : { photo: each.key });
  const { box = null, more = [], unlike = [] } = query;
  return { ...one(query), box, more: more.map(one), unlike: unlike.map(one) };
}

/** The query of a history state; null when a photo of it is forgotten. */
export async function fromState({ box = null, more = [], unlike = [], ...first }) {
  const one = async ({ id, name, photo }) => (id ? { id, name } : (photos.get(photo) ?? (await keptQuery(photo))));
  const query = await one(first);
  const lists = await Promise.all([more, unlike].map((list) => Promise.all(list.map(one))));
  if (!query || lists.flat().some((each) => !each)) return null;
  const found = { ...query, box, more: lists[0], unlike: lists[1] };
  enter(found);
  return found;
}

/** Where it can be come back to: all of it when it is made of images of the gallery. */
export function addressOf(query, { k, label, rerank, strategy }) {
  const parameters = new URLSearchParams();
  if (query?.id && !others(query).some(isPhoto)) {
    parameters.set("id", query.id);
    if (query.box) parameters.set("box", query.box.map((share) => share.toFixed(4)).join(","));
    for (const { id } of query.more ?? []) parameters.append("more", id);
    for (const { id } of query.unlike ?? []) parameters.append("unlike", id);
  }
  if (k !== DEFAULT_K) parameters.set("k", k);
  if (label) parameters.set("label", label);
  if (rerank) parameters.set("rerank", "1");
  if (strategy && strategy !== "average") parameters.set("strategy", strategy);
  return `${root}/${parameters.size ? `?${parameters}` : ""}`;
}
