// The JSON API, as the pages use it. Every failure is a Problem with words fit to show.

/** Where the portal is mounted: empty, or the path that a proxy gave it. */
export const root = document.documentElement.dataset.root;
const api = `${root}/api/v1`;

export class Problem extends Error {
  /** isAway: a part of the system does not answer, and what was asked can be asked again when it is back. */
  constructor({ detail, hint = "", status = 0, errors = [], retryAfterS = 0, safe = "", isAway = status === 503 }) {
    const told = safe.replace(/\.$/, "") || detail;
    super(told);
    if (told.toLowerCase() !== detail.toLowerCase()) hint = [detail, hint].filter(Boolean).join(": ");
    Object.assign(this, { hint, status, errors, retryAfterS, isAway });
  }

  /** What is the case and what to do, as one line. */
  get text() {
    return [this.message, this.hint].filter(Boolean).join(": ");
  }
}

/** Sends a form, telling how much of it has left, 0 to 1: fetch does not know. */
function send(address, form, { signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const aborted = () => {
      request.abort();
      reject(new DOMException("", "AbortError"));
    };
    if (signal?.aborted) {
      aborted();
      return;
    }
    signal?.addEventListener("abort", aborted, { once: true });
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 1);
    request.onerror = () => reject(new TypeError("no answer"));
    request.onload = () => {
      const headers = { "Retry-After": request.getResponseHeader("Retry-After") ?? "" };
      resolve(new Response(request.responseText, { status: request.status, headers }));
    };
    request.open("POST", address);
    request.send(form);
  });
}

async function call(path, options = {}) {
  let response;
  try {
    response = options.onProgress
      ? await send(api + path, options.body, options)
      : await fetch(api + path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const hint = "Check that Lookalike is running and that you are online";
    throw new Problem({ detail: "The portal does not answer", hint, isAway: true });
  }
  // Nobody is led away: what is typed, chosen and under way on this page stays while another tab signs in.
  document.getElementById("signed-out")?.toggleAttribute("hidden", response.status !== 401);
  const text = await response.text();
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    body = null; // an answer of something between us and the portal, a proxy say
  }
  if (response.status === 202) return { ...body, isLater: true };
  if (response.ok) return body;
  if (response.status === 401) {
    throw new Problem({ detail: "You are signed out", hint: "Sign in in another tab, then try again", status: 401 });
  }
  throw new Problem({
    detail: `The portal answered ${response.status}`,
    ...body,
    status: response.status,
    retryAfterS: Number(response.headers.get("Retry-After")) || 0,
  });
}

const json = (method, body) => ({ method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Searches with a query as web/static/js/query.js has it. */
export function search(query, { k, label, rerank, strategy }, signal, onProgress) {
  const { box, more = [], unlike = [] } = query;
  const isSeveral = more.length + unlike.length > 0;
  const asked = { k, label: label || null, rerank: rerank && !isSeveral, strategy };
  const ids = (list) => list.filter(({ id }) => id).map(({ id }) => id);
  if ([query, ...more, ...unlike].every(({ id }) => id)) {
    const named = { id: query.id, box, more: ids(more), unlike: ids(unlike) };
    return call("/search", { ...json("POST", { ...named, ...asked }), signal });
  }
  const form = new FormData();
  if (query.id) form.append("id", query.id);
  else form.append("image", query.part ?? query.small ?? query.blob, query.name);
  if (query.id && box) form.append("box", box.join(","));
  for (const [kind, list] of Object.entries({ more, unlike })) {
    for (const { id, small, blob, name } of list) {
      if (id) form.append(`${kind}_id`, id);
      else form.append(kind, small ?? blob, name);
    }
  }
  for (const [name, value] of Object.entries(asked)) if (value !== null) form.append(name, value);
  return call("/search", { method: "POST", body: form, signal, onProgress });
}

/** Keeps files: [{blob, name}]. Answers when they are searchable, or after waitS seconds. */
export function keep(files, label, { signal, waitS = 10, labelFrom = "person" } = {}) {
  const form = new FormData();
  for (const { blob, name } of files) form.append("images", blob, name);
  if (label) form.append("label", label);
  form.append("label_from", labelFrom);
  form.append("wait_s", waitS);
  return call("/images", { method: "POST", body: form, signal });
}

/**
 * Does one of label, remove_label and delete to images: {job, changed, missing, skipped, isLater}; the job undoes it.
 * isLater: it is done, and searches see it when the search engine is back.
 */
export const changeImages = (action, ids, label) => call("/changes", json("POST", { action, ids, label }));
export const undo = (job) => call(`/changes/${encodeURIComponent(job)}/undo`, { method: "POST" });

/** What was said of an image: other id -> whether it shows the same. */
export async function answersAbout(image) {
  const { answers } = await call(`/answers?image=${image}`);
  return new Map(answers.map(({ other, same }) => [other, same]));
}
export const giveAnswer = (image, other, same) => call("/answers", json("PUT", { images: [image, other], same }));

export const getImage = (id) => call(`/images/${id}`);
export const labels = async () => (await call("/labels")).labels;

export const thumbnailUrl = (id) => `${api}/images/${id}/thumbnail`;
export const viewUrl = (id) => `${api}/images/${id}/view`;
export const originalUrl = (id) => `${api}/images/${id}/original`;
export const imageUrl = (id) => `${root}/images/${id}`;
