#!/usr/bin/env bash
# Everything about the GPU that a machine without one cannot show, in one go. Stops at once if the engines do not work; later failures
# are listed at the end and stop nothing, because a GPU may be lent for minutes only.
#
#     docker/prove.sh [folder for the results]        # PYTHON=... for another Python than python3
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-gpu_results}")
python=${PYTHON:-python3}
failed=()
mkdir -p "$out"

say() { printf '\n== %s\n' "$*"; }

# try NAME MODULE ARGUMENTS...: run `python -m MODULE`, with its output in NAME.txt; a failure is noted.
try() {
    local name=$1
    shift
    "$python" -m "$@" 2>&1 | tee "$out/$name.txt" || failed+=("$name")
}

say "1/4 engines: build them, keep them, compare them with their golden pairs"
"$python" -m hmr_ros.tools.build_engine | tee "$out/engines.txt"

say "2/4 the backend's tests on the real GPU"
try tests pytest -q -m gpu -rs tests/test_tensorrt.py tests/test_backend_selection.py

say "3/4 times: as in the node, then against PyTorch and ONNX Runtime, with the share of the roofline"
"$python" -m hmr_ros.tools.fetch_keypoint_models
try node hmr_ros.tools.benchmark --backend tensorrt --json "$out/node.json"
if "$python" -c 'import onnx, torch, tyro; assert torch.cuda.is_available()' 2>"$out/torch.txt"; then
    try look pytest -q -m gpu -rs tests/training/test_look.py
    try keypoints training.benchmark_gpu --json "$out/keypoints.json"
    try resnet50 training.benchmark_gpu --backbone resnet50 --json "$out/resnet50.json"
    try blazepose training.blazepose_onnx
    try blazepose_engines hmr_ros.tools.build_engine --keypoints full
    try node_keypoints hmr_ros.tools.benchmark --backend tensorrt --keypoints tensorrt --json "$out/node_keypoints.json"
else
    say "not measured: PyTorch with CUDA (pip install '.[training]') is missing: $(tail -n 1 "$out/torch.txt")"
fi

say "4/4 the real node over real topics"
if "$python" -c 'import rclpy' 2>/dev/null; then
    try demo hmr_ros.ros.demo --set model.backend=tensorrt --out "$out/demo"
else
    say "not run: rclpy is not installed"
fi

if ((${#failed[@]})); then
    say "failed: ${failed[*]}; their output is in $out"
    exit 1
fi
say "everything passed; the figures are in $out"
