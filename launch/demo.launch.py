"""The node beside a camera that plays a file in a loop, to look at in RViz.

ros2 launch hmr_ros demo.launch.py source:=/path/to/clip.mp4
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

ARGUMENTS = {
    "source": ("", "Video, image, folder of images, or a camera's index; empty: the clip that ships."),
    "rate": ("1.0", "Playback speed; 0.5 is half speed."),
    "publish_tf": ("true", "Publish person_<id>/<joint> on /tf."),
}


def generate_launch_description():
    topics = [("image", "/camera/image_raw"), ("camera_info", "/camera/camera_info")]
    camera = Node(
        package="hmr_ros",
        executable="camera_publisher",
        arguments=[LaunchConfiguration("source"), "--loop", "--rate", LaunchConfiguration("rate")],
        remappings=topics,
        output="screen",
    )
    hmr = Node(
        package="hmr_ros",
        executable="hmr_node",
        name="hmr",
        parameters=[{"publish_tf": LaunchConfiguration("publish_tf")}],
        remappings=topics,
        output="screen",
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, camera, hmr])
