"""A graph in half precision, its inputs and outputs still float32: what `model.precision` = fp16 runs on TensorRT.

TensorRT 11 computes only in the types that the file names, so the precision must be set in the file.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel


def write_half(graph: Path, half: Path) -> None:
    """Write `graph` in float16 to `half`. Values beyond float16's range, which no encoder here has, would be clipped."""
    converted = OnnxModel(convert_float_to_float16(onnx.load(graph), keep_io_types=True))
    converted.topological_sort()  # the converter appends its casts at the end
    onnx.checker.check_model(converted.model)
    onnx.save(converted.model, half)
