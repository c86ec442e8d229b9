"""The training tests need torch; without it they are skipped, not failed."""

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training tests need torch: pip install '.[training]'")

from training.config import MetaConfig, ModelConfig, TrainConfig  # noqa: E402


@pytest.fixture
def small_run(tmp_path):
    """Motion capture of our own making: people who wave, at random."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        np.savez(tmp_path / f"poses_cmu_{split}.npz", poses=rng.normal(0, 0.2, (300, 24, 3)).astype(np.float16))
    return TrainConfig(
        data=tmp_path, out=tmp_path / "run", steps=8, batch=8, checkpoint_every=4, log_every=1, threads=1,
        model=ModelConfig(width=16, blocks=1), meta=MetaConfig(start=2, max_steps=2, long_share=0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def green_folder(tmp_path_factory):
    """Motion capture and a photograph of our own making: people before plain green."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        np.savez(folder / f"poses_cmu_{split}.npz", poses=rng.normal(0, 0.2, (50, 24, 3)).astype(np.float16))
    cv2.imwrite(str(folder / "green.png"), np.full((80, 120, 3), (0, 255, 0), np.uint8))
    return folder
