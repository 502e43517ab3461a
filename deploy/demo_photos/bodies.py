"""How shapes look in a pose: solids of revolution, cartons, and flat outlines puffed up by their shading.

A drawing is a uint8 RGBA array [s, s, 4] that covers -1..1 in both directions, y down; products stand at y = 0.92.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFilter

from deploy.demo_photos.patterns import Points

Drawing = NDArray[np.uint8]
FLOOR = 0.92
_EYE = 5.0  # distance of the camera, in units of the drawing


@dataclass(frozen=True)
class Pose:
    """Where the camera and the light stand.

    Attributes:
        yaw: how far the product is turned about its upright axis, in radians; 0 shows its front.
        pitch: height of the camera, as the ratio of the axes of a level circle.
        light: direction of the light, in radians; negative from the left.
        mirrored: whether what faces left faces right.
    """

    yaw: float
    pitch: float
    light: float
    mirrored: bool

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Pose":
        return cls(
            yaw=float(rng.uniform(-0.75, 0.75)),
            pitch=float(rng.uniform(0.10, 0.42)),
            light=float(rng.uniform(-1.0, 1.0)),
            mirrored=bool(rng.random() < 0.5),
        )


@lru_cache(maxsize=4)
def _grid(s: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    line = (np.arange(s, dtype=np.float32) + 0.5) * (2 / s) - 1
    return line[None, :], line[:, None]


def turned(
    s: int,
    skin: NDArray[np.uint8],
    profile: Sequence[tuple[float, float]],
    pose: Pose,
    *,
    opening: str | None = None,
    lid: bool = False,
    gloss: float = 0.3,
    shine_at: float | None = None,
    glow: float = 0.0,
) -> Drawing:
    """A solid of revolution.

    Args:
        skin: uint8 [h, w, 3], wrapped around it once; the middle is its front.
        profile: (y, radius) from the top down.
        opening: colour of what the upper rim shows: the inside, or with `lid` what closes it.
        gloss: strength of the highlight, 0..1.
        shine_at: height of the highlight when it is a spot; without it, it runs from top to bottom.
        glow: share of its own light, 0..1.
    """
    heights, radii = np.asarray(profile, dtype=np.float32).T
    top, bottom = float(heights[0]), float(heights[-1])
    widest = float(radii.max())
    columns = slice(max(0, int((1 - widest) * s / 2) - 2), int((1 + widest) * s / 2) + 3)
    rows = slice(
        max(0, int((1 + top - pose.pitch * float(radii[0])) * s / 2) - 2),
        int((1 + bottom + pose.pitch * widest) * s / 2) + 3,
    )
    x, y = _grid(s)
    x, y = x[:, columns], y[rows]
    table = np.interp(np.linspace(-1.5, 1.5, 1537), heights, radii).astype(np.float32)
    h = np.repeat(y, x.size, axis=1)
    # A point at height h and angle a shows at y = h + pitch * radius(h) * cos(a): solved for h by iteration.
    for _ in range(3):
        r = table[np.clip((h + 1.5) * 512, 0, 1536).astype(np.int32)]
        side = np.clip(x / r, -1, 1)
        facing = np.sqrt(1 - side * side)
        h = y - pose.pitch * r * facing
    angle = np.arcsin(side)
    u = ((angle + pose.yaw) / (2 * math.pi) + 0.5) % 1 * (skin.shape[1] - 1)
    v = np.clip((h - top) / (bottom - top), 0, 1) * (skin.shape[0] - 1)
    colour = skin[v.astype(np.int32), u.astype(np.int32)].astype(np.float32)
    lit = 0.38 + 0.66 * np.clip(np.cos(angle - pose.light), 0, 1)
    lit = lit + glow * (0.75 - lit)
    if shine_at is None:
        shine = 200 * gloss * np.exp(-(((angle - pose.light * 0.6) / 0.13) ** 2))
    else:
        shine = 200 * gloss * np.exp(-(((angle - pose.light * 0.6) / 0.3) ** 2) - ((h - shine_at) / 0.12) ** 2)
    edge = 0.5 * s
    alpha = np.clip((r - np.abs(x)) * edge + 0.5, 0, 1) * np.clip((bottom - h) * edge + 0.5, 0, 1)
    alpha = alpha * np.clip((h - top) * edge + 0.5, 0, 1)
    drawing = np.empty((*h.shape, 4), np.float32)
    drawing[..., :3] = colour * lit[..., None] + shine[..., None]
    drawing[..., 3] = alpha * 255
    if opening is not None:
        rim = float(radii[0])
        depth = (y - top) / (pose.pitch * rim)
        inner = np.sqrt((x / rim) ** 2 + depth**2)
        inside = np.clip((1 - inner) * rim * pose.pitch * edge + 0.5, 0, 1)[..., None]
        if lid:
            shade = 0.86 + 0.12 * depth + 0.1 * x * pose.light - 0.16 * (np.abs(inner - 0.86) < 0.04)
        else:
            # The far wall is lit, the near one hides behind the rim, and the ground is dark.
            shade = np.where(inner > 0.9, 0.98, 0.62 - 0.3 * depth - 0.12 * x * pose.light)
        colour = shade[..., None] * np.asarray(ImageColor.getrgb(opening)[:3], np.float32)
        drawing[..., :3] = drawing[..., :3] * (1 - inside) + colour * inside
        drawing[..., 3:] = np.maximum(drawing[..., 3:], inside * 255)
    whole = np.zeros((s, s, 4), np.uint8)
    whole[rows, columns] = np.clip(drawing, 0, 255).astype(np.uint8)
    return whole


def perspective(source: Sequence[tuple[float, float]], target: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """Pillow's eight coefficients that show the quadrilateral `source` at `target`."""
    rows: list[list[float]] = []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    values = np.asarray(source, dtype=np.float64).ravel()
    return tuple(float(c) for c in np.linalg.solve(np.asarray(rows, dtype=np.float64), values))


def warped(
    image: Image.Image, corners: Points, size: tuple[int, int], *, sharp: bool = False
) -> tuple[Image.Image, tuple[int, int]]:
    """The image seen with its corners, clockwise from the upper left, at `corners`.

    Returns:
        The part of a canvas of `size` that it covers, and the left upper corner of that part.
    """
    xs, ys = zip(*corners, strict=True)
    left, top = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
    right, bottom = min(size[0], math.ceil(max(xs))), min(size[1], math.ceil(max(ys)))
    w, h = image.size
    shifted = [(x - left, y - top) for x, y in corners]
    part = image.transform(
        (max(1, right - left), max(1, bottom - top)),
        Image.Transform.PERSPECTIVE,
        perspective([(0, 0), (w, 0), (w, h), (0, h)], shifted),
        Image.Resampling.BICUBIC if sharp else Image.Resampling.BILINEAR,
    )
    return part, (left, top)


def carton(
    s: int,
    size: tuple[float, float, float],
    front: Image.Image,
    side: Image.Image,
    top: Image.Image,
    pose: Pose,
) -> Drawing:
    """A cuboid of (width, height, depth) that stands on the floor, in perspective."""
    w, h, d = (length / 2 for length in size)
    yaw, pitch = pose.yaw, math.asin(pose.pitch)

    def project(x: float, y: float, z: float) -> tuple[float, float]:
        x, z = x * math.cos(yaw) + z * math.sin(yaw), -x * math.sin(yaw) + z * math.cos(yaw)
        y, z = y * math.cos(pitch) + z * math.sin(pitch), -y * math.sin(pitch) + z * math.cos(pitch)
        scale = _EYE / (_EYE - z) * s / 2
        return s / 2 + x * scale, s / 2 + y * scale

    turned_side = -w if yaw > 0 else w
    # Corners clockwise from the upper left, as the image on the face runs.
    faces = [
        (top, [(-w, -h, -d), (w, -h, -d), (w, -h, d), (-w, -h, d)], 1.04),
        (
            side,
            [(turned_side, -h, z) for z in ((-d, d) if yaw > 0 else (d, -d))]
            + [(turned_side, h, z) for z in ((d, -d) if yaw > 0 else (-d, d))],
            0.66 + 0.2 * math.sin(pose.light) * (-1 if yaw > 0 else 1),
        ),
        (front, [(-w, -h, d), (w, -h, d), (w, h, d), (-w, h, d)], 0.92 + 0.08 * math.cos(pose.light + yaw)),
    ]
    canvas = Image.new("RGBA", (s, s))
    for image, corners, light in faces:
        face = image.point(lambda value, light=light: min(255, int(value * light))).convert("RGBA")
        canvas.alpha_composite(*warped(face, [project(*corner) for corner in corners], (s, s), sharp=True))
    drawing = np.asarray(canvas)
    rows = np.flatnonzero(drawing[..., 3].max(axis=1))
    return np.roll(drawing, int((1 + FLOOR) * s / 2) - int(rows[-1]), axis=0)


def puffed(
    flat: Image.Image, pose: Pose, *, softness: float = 0.05, strength: float = 1.6, mirror: bool = False
) -> Drawing:
    """A flat RGBA image, shaded as if its outline were a cushion's, and turned a little.

    Args:
        softness: width of the shaded rim.
        strength: how steep it is.
        mirror: whether the pose's mirroring applies.
    """
    s = flat.width
    drawing = np.asarray(flat).astype(np.float32)
    small = flat.getchannel("A").reduce(2)
    height = np.zeros((small.height, small.width), np.float32)
    for share in (1.0, 0.4):
        height += np.asarray(small.filter(ImageFilter.GaussianBlur(softness * share * s / 2)), np.float32) * share
    dy, dx = np.gradient(height / 255)
    slope = (dx * math.sin(pose.light) * -1.0 + dy * 0.8) * s * softness * strength
    shade = Image.fromarray(np.clip(128 + 110 * slope, 0, 255).astype(np.uint8)).resize(
        (s, s), Image.Resampling.BILINEAR
    )
    drawing[..., :3] *= (np.asarray(shade, np.float32) / 128)[..., None] * 0.94
    image = Image.fromarray(np.clip(drawing, 0, 255).astype(np.uint8), "RGBA")
    if mirror and pose.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # Turned about the upright axis, the side that comes nearer grows and the other shrinks.
    lean, width = 0.09 * math.sin(pose.yaw) * s, (1 - math.cos(pose.yaw)) * s / 2.4
    corners = [(width, -lean), (s - width, lean), (s - width, s - lean * 0.3), (width, s + lean * 0.3)]
    part, spot = warped(image, corners, (s, s))
    canvas = Image.new("RGBA", (s, s))
    canvas.paste(part, spot)
    return np.asarray(canvas)


def outline(s: int, paint: Callable[[ImageDraw.ImageDraw, Callable[[Any], Any]], None]) -> Image.Image:
    """A flat RGBA image [s, s], painted at twice its size for smooth edges.

    Args:
        paint: gets the brush, and a function from coordinates in -1..1 (points or a box) to the brush's.
    """
    image = Image.new("RGBA", (2 * s, 2 * s))

    def scaled(points: Any) -> Any:
        return [tuple((c + 1) * s for c in point) for point in points]

    paint(ImageDraw.Draw(image), scaled)
    return image.reduce(2)


def stacked(*drawings: Drawing | Image.Image) -> Drawing:
    """The drawings on top of each other, the last one in front."""
    images = [d if isinstance(d, Image.Image) else Image.fromarray(d, "RGBA") for d in drawings]
    canvas = images[0].copy()
    for image in images[1:]:
        canvas.alpha_composite(image)
    return np.asarray(canvas)
