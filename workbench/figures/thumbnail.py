"""Small static pictures of matrices, as PNG: they show with scripts stripped, and a page can hold dozens."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from jaxtyping import Float, UInt8

from workbench.figures.colours import signed_limit, unsigned_limit

_NEGATIVE = np.array([0, 114, 178], dtype=np.float32)
_POSITIVE = np.array([213, 94, 0], dtype=np.float32)


def thumbnail_png(matrix: Float[np.ndarray, "rows columns"], *, signed: bool, limit: float | None = None) -> bytes:
    """An RGBA PNG, one pixel an entry, whose opacity is the entry's size: it sits on a light and on a dark page alike.

    Negative values are blue, positive ones vermillion.

    Args:
        limit: the value that is fully opaque; None takes the figure's own limit (`signed_limit`, or the maximum).
    """
    values = np.nan_to_num(matrix.astype(np.float32))
    if limit is None:
        limit = signed_limit(values)[0] if signed else unsigned_limit(values)
    strength = np.clip(np.abs(values) / limit, 0.0, 1.0)[..., None]
    colour = np.where(values[..., None] < 0, _NEGATIVE, _POSITIVE)
    pixels = np.concatenate([np.broadcast_to(colour, (*values.shape, 3)), 255 * strength], axis=-1)
    return _encode(np.rint(pixels).astype(np.uint8))


def _encode(pixels: UInt8[np.ndarray, "rows columns 4"]) -> bytes:
    """PNG as in RFC 2083: signature, header, one compressed run of unfiltered rows, end."""
    rows, columns, _ = pixels.shape
    unfiltered = np.concatenate([np.zeros((rows, 1), np.uint8), pixels.reshape(rows, -1)], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)
    body = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(unfiltered, 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
