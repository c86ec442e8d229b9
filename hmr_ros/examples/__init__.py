"""The maths of the control examples, without ROS; their nodes are in `hmr_ros.ros.examples`."""
