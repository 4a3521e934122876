"""Augmentations of clips: geometry as one matrix per frame, photometry as OpenCV calls.

All images are (H, W, 3) uint8 RGB, all label maps (H, W) of a label set's ``label_dtype``, whose largest value is the
set's ignore index; a matrix maps input to output pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

MEAN_RGB = (124, 116, 104)
"""Colour outside the image: ImageNet's mean, which the networks normalise to about zero."""
MAX_CLASS_SHARE = 0.75
CROP_ATTEMPTS = 10


def translation(x: float, y: float) -> np.ndarray:
    """Shift by (x, y) pixels, (3, 3)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def scaling(factor: float) -> np.ndarray:
    """Resize about the top-left corner of pixel (0, 0), whose centre lies at (0.5, 0.5) of the plane; (3, 3)."""
    return np.array([[factor, 0.0, 0.5 * factor - 0.5], [0.0, factor, 0.5 * factor - 0.5], [0.0, 0.0, 1.0]])


def mirror(width: int) -> np.ndarray:
    """Flip left and right inside ``width`` pixels, (3, 3)."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def warp_image(image: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Warp an image bilinearly; outside it is the mean colour."""
    return cv2.warpPerspective(image, matrix, size_hw[::-1], flags=cv2.INTER_LINEAR, borderValue=MEAN_RGB)


def warp_label_map(label_map: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Warp a label map to the nearest pixel, so that no new id appears; outside it is unlabelled."""
    return cv2.warpPerspective(
        label_map, matrix, size_hw[::-1], flags=cv2.INTER_NEAREST, borderValue=_ignore_index(label_map)
    )


def _ignore_index(label_map: np.ndarray) -> int:
    return int(np.iinfo(label_map.dtype).max)


def random_crop_matrix(
    rng: np.random.Generator, label_map: np.ndarray, crop_hw: tuple[int, int], scale_range: Sequence[float]
) -> np.ndarray:
    """Draw resize, crop and flip; a crop that one class fills beyond 75 % is drawn again, ten times at most.

    Args:
        rng: source of the draws.
        label_map: of the target frame.
        crop_hw: size of the output (pixels).
        scale_range: smallest and largest resize factor, drawn log-uniformly: 0.5 is as likely as 2.

    Returns:
        (3, 3) matrix for every frame of the clip.
    """
    height, width = label_map.shape
    for _ in range(CROP_ATTEMPTS):
        scale = np.exp(rng.uniform(*np.log(scale_range)))
        top, left = (_crop_offset(rng, side * scale, crop) for side, crop in zip((height, width), crop_hw, strict=True))
        matrix = translation(-left, -top) @ scaling(scale)
        if rng.random() < 0.5:
            matrix = mirror(crop_hw[1]) @ matrix
        ignore_index = _ignore_index(label_map)
        counts = np.bincount(warp_label_map(label_map, matrix, crop_hw).ravel(), minlength=ignore_index + 1)
        counts = counts[:ignore_index]
        if counts.max() <= MAX_CLASS_SHARE * counts.sum():
            break
    return matrix


def _crop_offset(rng: np.random.Generator, side: float, crop: int) -> float:
    # Negative where the image is smaller than the crop: it then lies anywhere inside.
    slack = side - crop
    return rng.uniform(min(slack, 0.0), max(slack, 0.0))


def random_ego_motion(rng: np.random.Generator, size_hw: tuple[int, int]) -> list[np.ndarray]:
    """Draw the motion of a driving camera over three frames, oldest first, as homographies of one image.

    The scene grows about a vanishing point while the camera drives on, and drifts, rolls and tilts a little. The
    three lie at even distances on that motion, centred on the middle one, so that little leaves the image.

    Args:
        rng: source of the draws.
        size_hw: of the image (pixels).

    Returns:
        Three (3, 3) matrices; the middle one is the identity.
    """
    height, width = size_hw
    vanishing_point = rng.uniform((0.3 * width, 0.3 * height), (0.7 * width, 0.6 * height))
    growth = rng.uniform(-0.02, 0.12)
    shift = rng.normal(0.0, 0.01, 2) * (width, height)
    roll_rad = rng.normal(0.0, 0.006)
    tilt = rng.normal(0.0, 0.04, 2) / (width, height)
    return [_camera_motion(time, vanishing_point, growth, shift, roll_rad, tilt) for time in (-1.0, 0.0, 1.0)]


def _camera_motion(
    time: float, vanishing_point: np.ndarray, growth: float, shift: np.ndarray, roll_rad: float, tilt: np.ndarray
) -> np.ndarray:
    zoom = np.exp(growth * time)
    cosine, sine = zoom * np.cos(roll_rad * time), zoom * np.sin(roll_rad * time)
    motion = np.array([[cosine, -sine, shift[0] * time], [sine, cosine, shift[1] * time], [*(tilt * time), 1.0]])
    return translation(*vanishing_point) @ motion @ translation(*-vanishing_point)


def random_photometry(
    rng: np.random.Generator, images: Sequence[np.ndarray], strength: float = 1.0
) -> list[np.ndarray]:
    """Draw exposure, gamma, saturation and hue once and apply them to all images.

    Exposure and gamma rather than an added brightness: half of CamVid is so dark that a subtraction leaves nothing.

    Args:
        rng: source of the draws.
        images: of one clip.
        strength: 1 for exposure and gamma of 0.7..1.4, saturation 0.6..1.4, hue +-10 of 180.
    """
    exposure, gamma = np.exp(strength * rng.uniform(-0.35, 0.35, 2))
    saturation = 1.0 + strength * rng.uniform(-0.4, 0.4)
    hue = strength * rng.uniform(-10.0, 10.0)
    levels = np.arange(256.0)
    tone = _as_table(255.0 * exposure * (levels / 255.0) ** gamma)
    # Hue is an angle and wraps; OpenCV counts it in 0..179.
    hsv = np.stack([np.rint(levels + hue) % 180, _as_table(levels * saturation), levels], axis=-1).astype(np.uint8)
    return [_recolour(image, tone, hsv[None]) for image in images]


def _recolour(image: np.ndarray, tone: np.ndarray, hsv: np.ndarray) -> np.ndarray:
    converted = cv2.cvtColor(cv2.LUT(image, tone), cv2.COLOR_RGB2HSV)
    return cv2.cvtColor(cv2.LUT(converted, hsv), cv2.COLOR_HSV2RGB)


def _as_table(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def random_degradation(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Blur, add noise to, or cover a part of one frame, so that the other frames know what it does not show."""
    return rng.choice((_blur, _add_noise, _occlude))(rng, image)


def _blur(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.5))


def _add_noise(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(3.0, 20.0))
    return cv2.add(image, noise, dtype=cv2.CV_8U)


def _occlude(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    covered = image.copy()
    size = image.shape[:2] * rng.uniform(0.08, 0.35, 2)
    top, left = rng.uniform(0, image.shape[:2] - size)
    rows, columns = slice(int(top), int(top + size[0])), slice(int(left), int(left + size[1]))
    covered[rows, columns] = rng.integers(0, 256, 3)
    return covered
