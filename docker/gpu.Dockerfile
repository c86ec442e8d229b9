# The node with TensorRT, for desktops with an NVIDIA GPU (x86-64) and for Jetsons on JetPack 7 (arm64): ROS 2 Jazzy, CUDA 13.
#
#     docker build -f docker/gpu.Dockerfile -t hmr_ros_gpu .
#     docker run --rm --gpus all -v hmr_cache:/root/.cache -v "$PWD/gpu_results:/results" hmr_ros_gpu      # checks and times everything
#     docker run --rm --gpus all --network host -v hmr_cache:/root/.cache hmr_ros_gpu hmr_node --ros-args -r image:=/camera/image_raw
#
# On a Jetson add `--runtime nvidia`. With a driver for CUDA 12: --build-arg CUDA=nvidia/cuda:12.6.3-base-ubuntu24.04
# --build-arg CUDA_PYTHON='cuda-python>=12.6.1,<13' --build-arg TENSORRT='10.*+cuda12.?'.
ARG CUDA=nvidia/cuda:13.0.1-base-ubuntu24.04
FROM ${CUDA} AS cuda

FROM ros:jazzy-ros-base
ARG CUDA_PYTHON="cuda-python>=13,<14"
# Version of TensorRT's packages. Not 11, which JetPack before 7.2.2 does not support. apt does not understand a `*` at the end.
ARG TENSORRT="10.*+cuda13.?"
# NVIDIA's package source and its key, as its own image has them.
COPY --from=cuda /etc/apt/sources.list.d/cuda-*.list /etc/apt/sources.list.d/
COPY --from=cuda /usr/share/keyrings/cuda-archive-keyring.gpg /usr/share/keyrings/
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY . /hmr_ros
WORKDIR /hmr_ros
# Each of TensorRT's packages requires the others in its own version; without the pin apt chooses their newest versions, and fails.
RUN printf 'Package: *nvinfer* *nvonnxparsers*\nPin: version %s\nPin-Priority: 1001\n' "${TENSORRT}" > /etc/apt/preferences.d/tensorrt \
    && apt-get update \
    && apt-get install -y --no-install-recommends "python3-libnvinfer=${TENSORRT}" python3-venv \
    && rosdep update && rosdep install --from-paths . -y --ignore-src \
    && rm -rf /var/lib/apt/lists/*
# numpy 1: the distribution's own compiled modules are built against it.
RUN python3 -m venv --system-site-packages /venv \
    && /venv/bin/pip install --no-cache-dir 'numpy<2' "${CUDA_PYTHON}" -e '.[test]'
ENV PATH=/venv/bin:${PATH}
RUN python -m hmr_ros.tools.fetch_keypoint_models  # a new named volume for the cache is filled with them
CMD ["docker/prove.sh", "/results"]
