"""Image messages to and from numpy, stamps to and from nanoseconds.

Works on any object with the fields of ``sensor_msgs/Image``: rclpy's messages and those that rosbags reads.
OpenCV does the arithmetic; cv_bridge would add nothing but its dependence on one NumPy ABI, and other converters
ignore ``step``, so that padded rows come out sheared.
"""

import array
import sys
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from sdcpc_core.errors import InputError

NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class _Layout:
    """How an encoding lies in memory and which OpenCV conversion makes it RGB."""

    channels: int
    to_rgb: int | None = None
    item_bytes: int = 1
    rows_per_two: int = 2
    """Rows in memory for every two of the picture; three where half-size colour planes follow."""


_EIGHT_BIT = {
    "rgb8": _Layout(3),
    "bgr8": _Layout(3, cv2.COLOR_BGR2RGB),
    "rgba8": _Layout(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Layout(4, cv2.COLOR_BGRA2RGB),
    "mono8": _Layout(1, cv2.COLOR_GRAY2RGB),
    # OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first row's first two.
    "bayer_rggb8": _Layout(1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": _Layout(1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": _Layout(1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": _Layout(1, cv2.COLOR_BayerGB2RGB),
}
_LAYOUTS = {
    **_EIGHT_BIT,
    **{name[:-1] + "16": _Layout(layout.channels, layout.to_rgb, 2) for name, layout in _EIGHT_BIT.items()},
    # OpenCV's own type names carry no colour order; its convention is BGR.
    "8UC1": _EIGHT_BIT["mono8"],
    "8UC3": _EIGHT_BIT["bgr8"],
    "8UC4": _EIGHT_BIT["bgra8"],
    "yuv422": _Layout(2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": _Layout(2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": _Layout(2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": _Layout(2, cv2.COLOR_YUV2RGB_YUY2),
    "nv12": _Layout(1, cv2.COLOR_YUV2RGB_NV12, rows_per_two=3),
    "nv21": _Layout(1, cv2.COLOR_YUV2RGB_NV21, rows_per_two=3),
}
_NOT_A_PICTURE = {
    "16UC1": "depth in millimetres",
    "32FC1": "depth in metres",
    "16SC1": "labels or disparities",
    "32SC1": "labels",
}

SUPPORTED_ENCODINGS = tuple(_LAYOUTS)
"""Image encodings that ``image_to_rgb`` takes."""


def image_to_rgb(message: Any) -> np.ndarray:
    """Turn a camera image into RGB; row padding and byte order are honoured.

    Args:
        message: ``sensor_msgs/Image`` or an object with its fields.

    Returns:
        (H, W, 3) uint8 RGB; for ``rgb8`` without padding a view of the message's own memory.

    Raises:
        InputError: the encoding is none of ``SUPPORTED_ENCODINGS``, or the data do not fit the size.
    """
    layout = _layout(message.encoding)
    pixels = _unpad(message, layout)
    if layout.item_bytes == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    if layout.to_rgb is None:
        return pixels
    try:
        return cv2.cvtColor(pixels, layout.to_rgb)
    except cv2.error as err:
        raise InputError(
            f"{message.encoding!r} image of {message.width}x{message.height} pixels cannot become RGB: {err.err}"
        ) from err


def array_to_image(pixels: np.ndarray, header: Any, image_class: Any = None) -> Any:
    """Pack an array as an image message without row padding.

    Args:
        pixels: (H, W) uint8 -> ``mono8``, (H, W) uint16 -> ``mono16``, (H, W, 3) uint8 RGB -> ``rgb8``.
        header: put into the message as it is.
        image_class: class of the message; None for ``sensor_msgs.msg.Image``. Other classes (rosbags) get their
            data as a flat uint8 array.

    Returns:
        Message of ``image_class``.

    Raises:
        InputError: the array is of none of these shapes and types.
    """
    encodings = {(2, "uint8"): "mono8", (2, "uint16"): "mono16", (3, "uint8"): "rgb8"}
    encoding = encodings.get((pixels.ndim, pixels.dtype.name))
    if encoding is None or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise InputError(f"no image encoding for an array of shape {pixels.shape} and type {pixels.dtype}")
    pixels = np.ascontiguousarray(pixels)
    if image_class is None:
        from sensor_msgs.msg import Image as image_class

        # The one type whose assignment rclpy does not check byte by byte, on every distribution.
        data = array.array("B")
        data.frombytes(pixels.data)
    else:
        data = pixels.reshape(-1).view(np.uint8)
    height, width = pixels.shape[:2]
    return image_class(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=pixels.strides[0],
        data=data,
    )


def stamp_to_ns(stamp: Any) -> int:
    """Time of a ``builtin_interfaces/Time`` (ns)."""
    return stamp.sec * NS_PER_S + stamp.nanosec


def ns_to_stamp(stamp_ns: int, time_class: Any = None) -> Any:
    """Inverse of ``stamp_to_ns``.

    Args:
        stamp_ns: time (ns).
        time_class: class of the message; None for ``builtin_interfaces.msg.Time``.
    """
    if time_class is None:
        from builtin_interfaces.msg import Time as time_class
    sec, nanosec = divmod(stamp_ns, NS_PER_S)
    return time_class(sec=sec, nanosec=nanosec)


def _layout(encoding: str) -> _Layout:
    layout = _LAYOUTS.get(encoding)
    if layout is not None:
        return layout
    if encoding in _NOT_A_PICTURE:
        raise InputError(
            f"encoding {encoding!r} is {_NOT_A_PICTURE[encoding]}, not a camera picture; use the colour image topic"
        )
    raise InputError(f"encoding {encoding!r} is not supported; supported are {', '.join(SUPPORTED_ENCODINGS)}")


def image_rows(message: Any, *, row_bytes: int, rows: int | None = None, data: Any = None) -> np.ndarray:
    """The bytes of an image in memory, without the padding of its rows.

    Args:
        message: ``sensor_msgs/Image`` or an object with its fields.
        row_bytes: what a row holds.
        rows: in memory, where that is not the height.
        data: in place of the message's own.

    Returns:
        (rows, row_bytes) uint8, a view.

    Raises:
        InputError: the data do not fit the size.
    """
    height, width, step = message.height, message.width, message.step
    rows = height if rows is None else rows
    data = message.data if data is None else data
    if not height or not width or step < row_bytes or len(data) < rows * step:
        raise InputError(
            f"{message.encoding!r} image of {width}x{height} pixels with step {step} and {len(data)} bytes "
            f"of data; it needs a step of at least {row_bytes} and {rows} rows of it"
        )
    return np.frombuffer(data, np.uint8, rows * step).reshape(rows, step)[:, :row_bytes]


def _unpad(message: Any, layout: _Layout) -> np.ndarray:
    """The pixels in memory without row padding, (rows, W) or (rows, W, channels), in the machine's byte order."""
    rows = message.height * layout.rows_per_two // 2
    row_bytes = message.width * layout.channels * layout.item_bytes
    order = ">" if message.is_bigendian else "<"
    data = image_rows(message, row_bytes=row_bytes, rows=rows)
    pixels = np.ascontiguousarray(data).view(f"{order}u{layout.item_bytes}")
    return pixels if layout.channels == 1 else pixels.reshape(rows, message.width, layout.channels)
