"""Whether large images will get through the middleware, judged before any is lost."""

from collections.abc import Mapping

LARGE_DATA = "FASTDDS_BUILTIN_TRANSPORTS"
"""Environment variable that chooses Fast DDS's transports."""


def transport_advice(rmw_identifier: str, environment: Mapping[str, str]) -> str | None:
    """What a user should change so that images over 0.5 MB arrive.

    Args:
        rmw_identifier: the middleware in use.
        environment: of the process.

    Returns:
        A sentence for the log; None where nothing is known to be wrong.
    """
    if not rmw_identifier.startswith("rmw_fastrtps"):
        return None
    if environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() == "LOCALHOST":
        return (
            "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST makes Fast DDS lose most images over 0.5 MB, whatever "
            f"{LARGE_DATA} says: unset it and keep machines apart by ROS_DOMAIN_ID"
        )
    if environment.keys() & {LARGE_DATA, "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}:
        return None
    return (
        "Fast DDS loses most images over 0.5 MB with its default transports: set "
        f"{LARGE_DATA}=LARGE_DATA for this node, the camera and every subscriber (docs/ros.md says more)"
    )
