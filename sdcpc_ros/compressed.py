"""Compressed image messages to and from numpy."""

import array
from typing import Any

import cv2
import numpy as np

from sdcpc_core.errors import InputError


def compressed_to_rgb(message: Any) -> np.ndarray:
    """Decode a JPEG or PNG picture.

    Args:
        message: ``sensor_msgs/CompressedImage`` or an object with its fields.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: the data are no picture, or a depth image.
    """
    if "compressedDepth" in message.format:
        raise InputError(
            f"format {message.format!r} is a depth image, not a camera picture; use the colour image topic"
        )
    data = np.frombuffer(message.data, np.uint8)
    # The camera's own orientation is what labels must match, whatever the picture's EXIF says.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:  # the header claims a size that OpenCV refuses
        pixels = None
    if pixels is None:
        raise InputError(f"compressed image of format {message.format!r} is no readable JPEG or PNG")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def array_to_png(pixels: np.ndarray, header: Any, message_class: Any) -> Any:
    """Pack a label map as a PNG, which keeps every id; JPEG would not.

    Args:
        pixels: (H, W) uint8 or uint16.
        header: put into the message as it is.
        message_class: ``sensor_msgs.msg.CompressedImage`` or a class with its fields.

    Returns:
        Message of ``message_class``, as ``image_transport`` decodes it.
    """
    # The fastest compression is already small: label maps are flat.
    encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    encoding = "mono8" if pixels.dtype == np.uint8 else "mono16"
    return message_class(header=header, format=f"{encoding}; png compressed ", data=array.array("B", encoded.tobytes()))
