// While a part of the system is away: looks again, and goes on once it is back.

import { labels } from "./api.js";

const EVERY_MS = 1500;
const MOST_MS = 12_000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves when a worker answers, false when the signal ended the waiting. `tries`: how often it was in vain already. */
export async function back(signal, tries = 0) {
  await pause(Math.min(MOST_MS, EVERY_MS * 2 ** tries));
  while (!signal?.aborted) {
    if (!document.hidden) {
      try {
        await labels(); // any worker, the store behind it, and the queue between
        return true;
      } catch (error) {
        if (!error.isAway) return true; // signed out, say: whoever asks again hears of it
      }
    }
    await pause(EVERY_MS);
  }
  return false;
}

// A page that could not be shown is loaded again when it can. It is not asked for to find that out: a message that waits
// for it, with its Undo, would be gone.
if (document.querySelector("[data-again]") && (await back())) location.reload();
