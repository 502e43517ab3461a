// The camera: one photo on demand, or one a second while *live* is on.

import { Problem } from "./api.js";

const LIVE_EVERY_MS = 1000;
const LONG_SIDE_PX = 1024; // a video frame shrunk to what the models can use; they look at 224 to 512 px

/**
 * Wires the camera's box.
 * search(blob, {live}) -> Promise that settles when the answer is shown; failed(problem) shows what went wrong.
 */
export function useCamera(box, opener, { search, failed }) {
  const video = box.querySelector("video");
  const liveSwitch = box.querySelector("[data-live]");
  let stream = null;

  if (!navigator.mediaDevices?.getUserMedia) {
    opener.hidden = true; // browsers offer the camera to secure pages only: HTTPS, or this machine
    return { close() {} };
  }

  async function open() {
    opener.disabled = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 960 } },
      });
    } catch (error) {
      failed(new Problem({ detail: "The camera cannot be used", hint: reason(error) }));
      return;
    } finally {
      opener.disabled = false;
    }
    const facing = stream.getVideoTracks()[0].getSettings().facingMode;
    box.classList.toggle("mirrored", facing === "user");
    stream.getVideoTracks()[0].addEventListener("ended", close);
    video.srcObject = stream;
    box.hidden = false;
    opener.hidden = true;
    await video.play();
    box.querySelector("[data-capture]").focus();
  }

  function close() {
    if (!stream) return;
    liveSwitch.checked = false;
    for (const track of stream.getTracks()) track.stop();
    stream = null;
    video.srcObject = null;
    box.hidden = true;
    opener.hidden = false;
  }

  async function frame() {
    const scale = Math.min(1, LONG_SIDE_PX / Math.max(video.videoWidth, video.videoHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(scale * video.videoWidth);
    canvas.height = Math.round(scale * video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
  }

  // One search after the other: the next frame is taken when the answer to the last one is shown, a second after it began
  // at the earliest, and only while someone can see the page.
  async function runLive() {
    while (stream && liveSwitch.checked) {
      const began = performance.now();
      if (document.hidden) {
        await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
        continue;
      }
      const blob = video.videoWidth ? await frame() : null;
      const went = blob ? await search(blob, { live: true }) : true;
      if (went === false) liveSwitch.checked = false;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, began + LIVE_EVERY_MS - performance.now())));
    }
  }

  opener.addEventListener("click", open);
  box.querySelector("[data-close]").addEventListener("click", () => {
    close();
    opener.focus();
  });
  box.querySelector("[data-capture]").addEventListener("click", async () => {
    liveSwitch.checked = false;
    const blob = await frame();
    close();
    await search(blob, { live: false });
  });
  liveSwitch.addEventListener("change", () => {
    if (liveSwitch.checked) runLive();
  });
  addEventListener("pagehide", close);
  return { close };
}

function reason(error) {
  if (error.name === "NotAllowedError") return "Allow it in the browser’s settings for this page, then try again";
  if (error.name === "NotFoundError") return "No camera was found: connect one, or choose a photo";
  return "Another program may be using it: close that, or choose a photo";
}
