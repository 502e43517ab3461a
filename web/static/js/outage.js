// A page that could not be shown because a part of the system is away: looks again, and shows it once it is back.

const EVERY_MS = 1500;

(async () => {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    if (document.hidden) continue;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (answer.status !== 503) location.reload();
    } catch {
      continue; // the portal itself is away
    }
  }
})();
