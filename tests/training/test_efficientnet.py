"""EfficientNet-Lite0 is the network that its public weights are of.

`efficientnet_lite0_outputs.npz` was recorded by running the class of the PyPI package `efficientnet_lite_pytorch` 0.1.0 (Apache-2.0), filled with the
weights of `published_weights.seeded`: every tenth feature of two crops, and the sha256 of its sorted "key shape" lines.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from published_weights import seeded  # noqa: E402

from training.image.backbones import make_backbone  # noqa: E402


def test_keys_shapes_and_features_are_theirs():
    network = make_backbone("efficientnet_lite0").eval()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    listing = "\n".join(sorted(f"{name} {shape}" for name, shape in shapes.items()))
    network.load_state_dict({name: seeded(name, shape) for name, shape in shapes.items()})
    crop = torch.from_numpy(np.random.RandomState(0).uniform(-2, 2, (2, 3, 96, 64)).astype(np.float32))
    with np.load(Path(__file__).with_name("efficientnet_lite0_outputs.npz")) as recorded, torch.no_grad():
        assert hashlib.sha256(listing.encode()).hexdigest() == str(recorded["keys"])
        np.testing.assert_allclose(network(crop)[:, ::10], recorded["features"], atol=1e-4)
