"""SD-CPC as a ROS 2 node, and its tools for bags."""
