"""The messages in bags, made and read through rosbags, with no ROS installation."""

import struct
from functools import cache
from typing import TYPE_CHECKING, Any

from sdcpc_core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from rosbags.typesys.store import Typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)


@cache
def standard_types() -> "Typestore":
    """The message types of ROS 2; those used here are the same in every distribution."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_HUMBLE)


def decode(raw: bytes, msgtype: str) -> Any:
    """Read a message of a standard type.

    Raises:
        InputError: the bytes are not such a message.
    """
    try:
        return standard_types().deserialize_cdr(raw, msgtype)
    except Exception as err:  # Broken bytes can raise anything.
        raise InputError(f"a message is not a readable {msgtype}") from err


def decode_frame(raw: bytes, msgtype: str) -> tuple[Any, "np.ndarray"]:
    """Read a camera image, compressed or not.

    Args:
        raw: serialized message.
        msgtype: one of ``IMAGE_TYPES``.

    Returns:
        The message's header, and (H, W, 3) uint8 RGB.

    Raises:
        InputError: the bytes are no such message, or hold no usable picture.
    """
    from sdcpc_ros.compressed import compressed_to_rgb
    from sdcpc_ros.conversions import image_to_rgb

    message = decode(raw, msgtype)
    return message.header, image_to_rgb(message) if msgtype == IMAGE else compressed_to_rgb(message)


def image_message(header: Any, pixels: "np.ndarray") -> Any:
    """A label map or RGB picture as an image message that ``BagWriter.write`` takes."""
    from sdcpc_ros.conversions import array_to_image

    return array_to_image(pixels, header, standard_types().types[IMAGE])


def stamp_of(raw: bytes) -> int:
    """Stamp (ns) of a serialized message that begins with a header.

    Raises:
        InputError: the message is too short for one.
    """
    if len(raw) < 12:
        raise InputError(f"a message of {len(raw)} bytes has no header")
    # Four bytes tell the encoding, the second of them the byte order; then sec and nanosec.
    sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    return sec * 1_000_000_000 + nanosec


def with_stamp(raw: bytes, bag_ns: int) -> bytes:
    """A serialized message that begins with a header, its stamp replaced by the time of recording where it is zero.

    Args:
        raw: serialized message.
        bag_ns: time of recording (ns).

    Raises:
        InputError: the message is too short for a header.
    """
    if stamp_of(raw):
        return raw
    sec, nanosec = divmod(bag_ns, 1_000_000_000)
    return bytes(raw[:4]) + struct.pack("<iI" if raw[1] & 1 else ">iI", sec, nanosec) + bytes(raw[12:])
