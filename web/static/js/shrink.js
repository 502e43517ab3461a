// A photo made small before it travels: models look at 224 to 512 px, and a slow line takes minutes for megabytes.

const LONG_SIDE_PX = 1024;

/**
 * A JPEG of at most 1,024 px, upright and in sRGB; the same blob when it is small already, or of a format that this browser
 * cannot decode.
 */
export async function shrunk(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return blob;
  }
  const scale = LONG_SIDE_PX / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) {
    bitmap.close();
    return blob;
  }
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(scale * bitmap.width));
  canvas.height = Math.max(1, Math.round(scale * bitmap.height));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // transparent parts over white, as workers have it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const small = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return small && small.size < blob.size ? small : blob;
}
