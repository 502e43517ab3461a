// The JSON API, as the pages use it. Every failure is a Problem with words fit to show.

const root = document.documentElement.dataset.root + "/api/v1";

export class Problem extends Error {
  constructor({ detail, hint = "", status = 0, errors = [], retryAfterS = 0 }) {
    super(detail);
    Object.assign(this, { hint, status, errors, retryAfterS });
  }
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(root + path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ detail: "The portal does not answer", hint: "Check that Lookalike is running and that you are online" });
  }
  if (response.status === 401) {
    location.assign(`${document.documentElement.dataset.root}/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  const text = await response.text();
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    body = null; // an answer of something between us and the portal, a proxy say
  }
  if (response.ok) return body;
  throw new Problem({
    detail: `The portal answered ${response.status}`,
    ...body,
    status: response.status,
    retryAfterS: Number(response.headers.get("Retry-After")) || 0,
  });
}

const json = (method, body) => ({ method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Searches with a Blob, or with the id of an image of the gallery. */
export function search(query, { k, label, rerank }, signal) {
  if (query.id) {
    return call("/search", { ...json("POST", { image: query.id, k, label: label || null, rerank }), signal });
  }
  const form = new FormData();
  form.append("image", query.blob, query.name);
  form.append("k", k);
  if (label) form.append("label", label);
  if (rerank) form.append("rerank", "true");
  return call("/search", { method: "POST", body: form, signal });
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

export const image = (id) => call(`/images/${id}`);
export const setLabel = (id, label) => call(`/images/${id}`, json("PATCH", { label: label || null }));
export const remove = (id) => call(`/images/${id}`, { method: "DELETE" });
export const labels = async () => (await call("/labels")).labels;
export const job = (id) => call(`/jobs/${encodeURIComponent(id)}`);

export const thumbnailUrl = (id) => `${root}/images/${id}/thumbnail`;
export const originalUrl = (id) => `${root}/images/${id}/original`;
export const imageUrl = (id) => `${document.documentElement.dataset.root}/images/${id}`;
