"""ICC profiles of our own: gamma and the place of red, green and blue."""

import struct

# Corners of colour spaces, CIE XYZ relative to D50: rows are red, green, blue.
SRGB = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139))
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
PROPHOTO = ((0.7977, 0.2880, 0.0000), (0.1352, 0.7119, 0.0000), (0.0313, 0.0001, 0.8249))
D50 = (0.9642, 1.0, 0.8249)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def profile(corners: tuple[tuple[float, float, float], ...], gamma: float, *, space: bytes = b"RGB ") -> bytes:
    """A display's profile, version 2."""
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\x00" + bytes(78)}
    tags[b"cprt"] = b"text" + bytes(4) + b"none\x00"
    tags[b"wtpt"] = b"XYZ " + bytes(4) + b"".join(_fixed(value) for value in D50)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for letter, corner in zip("rgb", corners, strict=True):
            tags[f"{letter}XYZ".encode()] = b"XYZ " + bytes(4) + b"".join(_fixed(value) for value in corner)
            tags[f"{letter}TRC".encode()] = curve
    table, bodies, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        body += bytes(-len(body) % 4)
        table += name + struct.pack(">II", at + len(bodies), len(body))
        bodies += body
    head = struct.pack(">I4sI4s4s4s", at + len(bodies), b"none", 0x02200000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + b"".join(_fixed(value) for value in D50) + bytes(48)
    return head + table + bodies
