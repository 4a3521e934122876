"""Masks saved as palette PNG: their indices are the class ids, but OpenCV gives their colours."""

import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_END = 33
"""Bytes of the signature and of the chunk IHDR, which comes first."""
DEPTH, COLOUR_TYPE = 24, 25
"""Where IHDR says bits per sample and what they mean."""
GREY, PALETTE = 0, 3


def without_palette(data: bytes) -> bytes:
    """Turn a palette PNG into a grey one of the same numbers; everything else is handed back as it is."""
    if not data.startswith(SIGNATURE) or len(data) < HEADER_END or data[COLOUR_TYPE] != PALETTE:
        return data
    header = data[12:COLOUR_TYPE] + bytes([GREY]) + data[COLOUR_TYPE + 1 : HEADER_END - 4]
    parts = [data[:12], header, zlib.crc32(header).to_bytes(4, "big")]
    start = HEADER_END
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] not in (b"PLTE", b"tRNS"):
            parts.append(data[start:end])
        start = end
    return b"".join(parts)


def unscaled(mask: np.ndarray, data: bytes) -> np.ndarray:
    """Take back what a decoder does to grey PNGs of 1, 2 or 4 bits, whose largest number it makes 255."""
    if data.startswith(SIGNATURE) and data[COLOUR_TYPE] in (GREY, PALETTE) and data[DEPTH] < 8:
        return mask // (255 // (2 ** data[DEPTH] - 1))
    return mask
