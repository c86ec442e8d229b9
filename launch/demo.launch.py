"""Start the node and a camera publisher, which plays a file in a loop or a real camera:

ros2 launch hmr_ros demo.launch.py source:=/path/to/clip.mp4 viewer:=true

Takes every argument of hmr.launch.py too; with image_transport:=compressed large images reach the node as JPEG.
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

ARGUMENTS = {
    "source": ("", "Video, image, folder of images, or a camera's index (0, 1 ...); empty: the demo clip."),
    "rate": ("1.0", "Playback speed; 0.5 is half speed."),
    "image": ("/camera/image_raw", "Image topic to publish on."),
    "camera_info": ("/camera/camera_info", "CameraInfo topic to publish on."),
}


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    share = Path(get_package_share_directory("hmr_ros"))
    profile = str(share / "config" / "fastdds_camera.xml")  # see docs/real_time.md
    brand = "FASTRTPS" if os.environ.get("ROS_DISTRO") in ("humble", "jazzy") else "FASTDDS"
    camera = Node(
        package="hmr_ros",
        executable="camera_publisher",
        arguments=[LaunchConfiguration("source"), "--loop", "--rate", LaunchConfiguration("rate")],
        remappings=[(name, LaunchConfiguration(name)) for name in ("image", "camera_info")],
        additional_env={f"{brand}_DEFAULT_PROFILES_FILE": profile},
        output="screen",
    )
    hmr = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(share / "launch" / "hmr.launch.py")))
    return LaunchDescription([*declared, camera, hmr])
