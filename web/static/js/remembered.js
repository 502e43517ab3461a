// Photos that were searched with, in this browser's own store (IndexedDB), so that reloading the page and going back find
// them again. They are kept for a day, the latest few of them; nothing of it leaves the browser.

const KEPT = 12;
const KEPT_MS = 24 * 3600 * 1000;

const opened = new Promise((resolve) => {
  const request = indexedDB.open("lookalike", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("queries", { keyPath: "key" });
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => resolve(null); // a private window, say: the photo then lives as long as the page
  request.onblocked = () => resolve(null);
});

async function within(mode, work) {
  const database = await opened;
  if (!database) return undefined;
  return new Promise((resolve) => {
    const transaction = database.transaction("queries", mode);
    const request = work(transaction.objectStore("queries"));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => resolve(undefined); // the disk is full, say
  });
}

/** Keeps {blob, small, name} under a key, and forgets what is old. */
export async function keepQuery(key, { blob, small, name }) {
  await within("readwrite", (store) => store.put({ key, blob, small, name, at: Date.now() }));
  const all = (await within("readonly", (store) => store.getAll())) ?? [];
  const old = all.sort((a, b) => b.at - a.at).filter(({ at }, n) => n >= KEPT || Date.now() - at > KEPT_MS);
  for (const each of old) await within("readwrite", (store) => store.delete(each.key));
}

/** What was kept under a key; undefined when it is forgotten. */
export const keptQuery = (key) => within("readonly", (store) => store.get(key));
