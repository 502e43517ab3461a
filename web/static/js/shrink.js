// A photo made small before it travels: models look at 224 to 512 px, and a slow line takes minutes for megabytes.

const LONG_SIDE_PX = 1024;

/**
 * A JPEG of at most 1,024 px, upright and in sRGB; the same blob when it is small already, or of a format that this browser
 * cannot decode. box: left, top, width and height of the part that is wanted, in shares of the photo.
 */
export async function shrunk(blob, box = null) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return blob;
  }
  const [left, top, width, height] = box ?? [0, 0, 1, 1];
  const cut = [left * bitmap.width, top * bitmap.height, width * bitmap.width, height * bitmap.height];
  const scale = Math.min(1, LONG_SIDE_PX / Math.max(cut[2], cut[3]));
  if (scale === 1 && !box) {
    bitmap.close();
    return blob;
  }
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(scale * cut[2]));
  canvas.height = Math.max(1, Math.round(scale * cut[3]));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // transparent parts over white, as workers have it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, ...cut, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const small = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return small && (box || small.size < blob.size) ? small : blob;
}
