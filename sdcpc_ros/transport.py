"""Whether large images will get through the middleware, judged before any is lost."""

import os
from collections.abc import Mapping
from importlib.resources import files

PROFILES_FILE = "FASTDDS_DEFAULT_PROFILES_FILE"
"""Environment variable that names a file with Fast DDS's transports."""
OLD_PROFILES_FILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
"""The same in Fast DDS 2, which comes with ROS 2 Humble and Jazzy."""
BUILTIN_TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
"""Environment variable that chooses among transports that need no file."""


def large_image_environment() -> dict[str, str]:
    """Environment variables with which Fast DDS passes on large images; other middleware ignores them."""
    # Fast DDS 3 complains of the old name.
    old = [OLD_PROFILES_FILE] if os.environ.get("ROS_DISTRO") in ("humble", "jazzy") else []
    return dict.fromkeys([PROFILES_FILE, *old], str(files("sdcpc_ros") / "fastdds.xml"))


def transport_is_chosen(environment: Mapping[str, str]) -> bool:
    """Whether someone has chosen the transports of Fast DDS."""
    return _has_profiles(environment) or BUILTIN_TRANSPORTS in environment


def transport_advice(rmw_identifier: str, environment: Mapping[str, str]) -> str | None:
    """What a user should change so that images over 0.5 MB arrive.

    Args:
        rmw_identifier: the middleware in use.
        environment: of the process.

    Returns:
        A sentence for the log; None where nothing is known to be wrong.
    """
    if not rmw_identifier.startswith("rmw_fastrtps") or _has_profiles(environment):
        return None
    if BUILTIN_TRANSPORTS not in environment:
        reason = "with its default transports"
    elif environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() == "LOCALHOST":
        reason = f"with ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, which overrules {BUILTIN_TRANSPORTS}"
    else:
        return None
    change = " ".join(f"{name}={path}" for name, path in large_image_environment().items())
    return (
        f"Fast DDS loses most images over 0.5 MB {reason}: set {change} for this node, the camera and every "
        "subscriber (docs/ros.md says more)"
    )


def _has_profiles(environment: Mapping[str, str]) -> bool:
    return PROFILES_FILE in environment or OLD_PROFILES_FILE in environment
