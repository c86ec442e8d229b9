"""The torch twin of `hmr_ros.crop.keypoint_box`."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hmr_ros import crop  # noqa: E402
from training.boxes import keypoint_box  # noqa: E402


@pytest.mark.parametrize("aspect", [1.0, 0.75])
def test_as_the_runtime_draws_it(aspect):
    rng = np.random.default_rng(0)
    uv, confidence = rng.normal(size=(20, 23, 2)), np.maximum(rng.normal(size=(20, 23)), 0)
    confidence[3] = 0  # nobody
    expected = crop.keypoint_box(uv, confidence, aspect)
    found = keypoint_box(torch.from_numpy(uv), torch.from_numpy(confidence), aspect)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours.numpy(), theirs)
