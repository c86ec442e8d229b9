#!/usr/bin/env bash
# Everything about the GPU that a machine without one cannot show, in one go; stops at the first thing that is not so.
#
#     docker/prove.sh [folder for the results]        # PYTHON=... for another Python than python3
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-gpu_results}")
python=${PYTHON:-python3}
mkdir -p "$out"

say() { printf '\n== %s\n' "$*"; }

say "1/4 engines: built, kept, equal to their golden pairs"
"$python" -m hmr_ros.tools.build_engine | tee "$out/engines.txt"

say "2/4 the backend's laws on the real GPU"
"$python" -m pytest -q -m gpu -rs tests/test_tensorrt.py tests/test_backend_selection.py | tee "$out/tests.txt"

say "3/4 times: node's view, then against PyTorch and ONNX Runtime, with the share of the roofline"
"$python" -m hmr_ros.tools.fetch_keypoint_models
"$python" -m hmr_ros.tools.benchmark --backend tensorrt --json "$out/node.json" | tee "$out/node.txt"
if "$python" -c 'import onnx, torch, tyro; assert torch.cuda.is_available()' 2>"$out/torch.txt"; then
    "$python" -m pytest -q -m gpu -rs tests/training/test_look.py | tee "$out/look.txt"
    "$python" -m training.benchmark_gpu --json "$out/keypoints.json" | tee "$out/keypoints.txt"
    "$python" -m training.benchmark_gpu --backbone resnet50 --json "$out/resnet50.json" | tee "$out/resnet50.txt"
else
    say "not measured: PyTorch with CUDA (pip install '.[training]') is missing: $(tail -n 1 "$out/torch.txt")"
fi

say "4/4 the real node over real topics"
if "$python" -c 'import rclpy' 2>/dev/null; then
    "$python" -m hmr_ros.ros.demo --set model.backend=tensorrt --out "$out/demo"
else
    say "not run: no rclpy here"
fi
say "all of it holds; the figures are in $out"
