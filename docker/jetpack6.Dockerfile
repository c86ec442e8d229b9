# The node with TensorRT for Jetsons on JetPack 6.1 or newer 6 (L4T r36.4, Ubuntu 22.04): ROS 2 Humble, CUDA 12.6, TensorRT 10.3.
#
# JETPACK is NVIDIA's image `l4t-jetpack:r36.4.0` from its NGC catalogue, by its full name:
#
#     docker build -f docker/jetpack6.Dockerfile --build-arg JETPACK=<...>/nvidia/l4t-jetpack:r36.4.0 -t hmr_ros_jetpack6 .
#     docker run --rm --runtime nvidia --gpus all -v hmr_cache:/root/.cache -v "$PWD/gpu_results:/results" hmr_ros_jetpack6
ARG JETPACK
FROM ros:humble-ros-core AS ros

FROM ${JETPACK}
# The package source of ROS and its key, as its own image has them.
COPY --from=ros /usr/share/ros-apt-source/ /usr/share/ros-apt-source/
COPY --from=ros /usr/share/keyrings/ros2-archive-keyring.gpg /usr/share/keyrings/
COPY --from=ros /etc/apt/sources.list.d/ros2.sources /etc/apt/sources.list.d/
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility LANG=C.UTF-8
COPY . /hmr_ros
WORKDIR /hmr_ros
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3-libnvinfer python3-venv python3-rosdep ros-humble-ros-base \
    && rosdep init && rosdep update && rosdep install --from-paths . -y --ignore-src --rosdistro humble \
    && rm -rf /var/lib/apt/lists/*
# cuda-python for the driver's CUDA 12.6: later versions bring a later CUDA with them.
RUN python3 -m venv --system-site-packages /venv \
    && /venv/bin/pip install --no-cache-dir 'numpy<2' cuda-python==12.6.2.post1 -e '.[test]'
ENV PATH=/venv/bin:${PATH} ROS_DISTRO=humble
RUN python -m hmr_ros.tools.fetch_keypoint_models  # a new named volume for the cache is filled with them
COPY --from=ros /ros_entrypoint.sh /
ENTRYPOINT ["/ros_entrypoint.sh"]
CMD ["docker/prove.sh", "/results"]
