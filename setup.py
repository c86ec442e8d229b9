"""One package, two ways to install: `pip install .` anywhere, `colcon build` (ament_python) in a ROS 2 workspace."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
NAME = "hmr_ros"


def files(folder: str, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(HERE)) for path in (HERE / folder).glob(pattern) if path.is_file())


setup(
    name=NAME,
    version="0.1.0",
    description="Real-time SMPL human mesh recovery for ROS 2, with test-time optimisation under a deadline.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=["ROS", "ROS 2", "SMPL", "human mesh recovery", "pose estimation", "human-robot interaction"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    author="The hmr_ros developers",
    maintainer="The hmr_ros developers",
    maintainer_email="hmr_ros@users.noreply.github.com",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    # Listed one by one: setuptools of ROS 2 Humble does not support recursive patterns here.
    package_data={NAME: [str(Path(path).relative_to(NAME)) for path in files(f"{NAME}/assets", "**/*")]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch", "*.launch.py")),
        (f"share/{NAME}/config", [*files("config", "*"), f"{NAME}/assets/fastdds_camera.xml"]),
    ],
    zip_safe=False,
    install_requires=[
        "numpy>=1.21",
        "scipy>=1.8",
        "opencv-python-headless>=4.5.4",
        "onnxruntime>=1.18",
        "ai-edge-litert>=1.4",
        "threadpoolctl>=3.0",  # BSD
        "tqdm",
    ],
    extras_require={
        # ROS 2 Kilted from PyPI, for machines without a ROS install. Never beside a sourced /opt/ros.
        "ros": [
            "ros-rclpy[fastrtps]==9.1.2",
            "ros-sensor-msgs==5.5.1",
            "ros-geometry-msgs==5.5.1",
            "ros-visualization-msgs==5.5.1",
            "ros-std-msgs==5.5.1",
            "ros-std-srvs==5.5.1",
            "ros-diagnostic-msgs==5.5.1",
            "ros-lifecycle-msgs==2.3.0",
        ],
        # Apache-2.0; a page in the browser, served by the wheel itself.
        "viewer": ["viser>=1.0"],
        # BSD; builds the pages of docs/.
        "docs": ["mkdocs>=1.6"],
        # matplotlib (PSF licence) draws the plots.
        "training": [
            "torch>=2.4",
            "onnx>=1.16",
            "onnxscript>=0.3",
            "tensorboard>=2.14",
            "tyro>=0.8",
            "safetensors>=0.4",
            "matplotlib>=3.6",
        ],
        # NVIDIA's licence. Its major version must be that of the driver's CUDA; TensorRT itself comes with JetPack, apt or pip: docs/tensorrt.md.
        "tensorrt": ["cuda-python>=12.6.1"],
        # Apache-2.0; recordings (rosbag2) without ROS.
        "bags": ["rosbags>=0.11"],
        # BVH (MIT), MCAP (MIT) and URDF (Apache-2.0) are read by other libraries than those we write them with.
        "test": [
            "pytest>=7",
            "hypothesis>=6",
            "pyyaml",
            "rosbags>=0.11",
            "bvhio>=1.5",
            "mcap-ros2-support>=0.5",
            "ikpy>=3.4",
        ],
        "lint": ["ruff", "mypy>=1.8"],
        # Non-commercial, like the SMPL files it reads: the reference that some tests compare with if it is installed.
        "reference": ["smplx>=0.1.28"],
    },
    entry_points={
        "console_scripts": [
            f"hmr_node = {NAME}.commands:hmr_node",
            f"hmr_run = {NAME}.tools.run:main",
            f"fetch_keypoint_models = {NAME}.tools.fetch_keypoint_models:main",
            f"hmr_benchmark = {NAME}.tools.benchmark:main",
            f"build_engine = {NAME}.tools.build_engine:main",
            f"hmr_demo = {NAME}.commands:hmr_demo",
            f"deadline_run = {NAME}.commands:deadline_run",
            f"camera_publisher = {NAME}.commands:camera_publisher",
            f"hmr_viewer = {NAME}.commands:hmr_viewer",
            f"smpl_listener = {NAME}.commands:smpl_listener",
            f"separation_monitor = {NAME}.commands:separation_monitor",
            f"upper_body_retarget = {NAME}.commands:upper_body_retarget",
            f"viewer = {NAME}.commands:hmr_viewer",  # `ros2 run hmr_ros viewer`
        ]
    },
)
