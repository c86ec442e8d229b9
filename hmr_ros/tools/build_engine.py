"""Build a bundle's TensorRT engines for the GPU of this machine, and check them: `python -m hmr_ros.tools.build_engine`.

The node does the same when it is first configured; do it beforehand for a robot that must start at once. Engines that exist
already are only checked.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tqdm import tqdm

from hmr_ros.backends.graph import BackendError
from hmr_ros.bundle import BundleError
from hmr_ros.config import ConfigError, KeypointsConfig, ModelConfig, check, setting_of
from hmr_ros.factory import load_graphs, load_weights, make_source
from hmr_ros.keypoints.blazepose_models import KeypointModelError
from hmr_ros.smpl_file import BodyModelError


def main(arguments: list[str] | None = None) -> int:
    options = vars(_parser().parse_args(arguments))
    landmarks = options.pop("keypoints")
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    config = ModelConfig(backend="tensorrt", **options)
    began = time.monotonic()
    try:
        check(config, "model")
        with _Bars() as bars:
            loaded = load_graphs(config, *load_weights(config), progress=bars)
            if landmarks:
                make_source(KeypointsConfig(landmarks=landmarks, backend="tensorrt"), config, engines=loaded.engines)
    except (BackendError, BundleError, BodyModelError, ConfigError, KeypointModelError) as error:
        print(f"build_engine: {error}", file=sys.stderr)
        return 1
    blazepose = f"; BlazePose ({landmarks}) matches LiteRT" if landmarks else ""
    print(
        f"{loaded.name}: {', '.join(loaded.graphs)} match their golden pairs{blazepose}; {time.monotonic() - began:.0f} s"
    )
    return 0


class _Bars:
    """One bar for each graph whose engines are built. TensorRT 8 reports nothing before the end of an engine."""

    def __enter__(self) -> _Bars:
        self._bars: dict[str, tqdm] = {}
        return self

    def __call__(self, graph: str, share: float) -> None:
        if graph not in self._bars:
            self._bars[graph] = tqdm(
                total=100, desc=f"{graph:8}", unit="%", bar_format="{desc} {percentage:3.0f} % |{bar}| {elapsed}"
            )
        bar = self._bars[graph]
        bar.update(max(0, round(100 * share) - bar.n))

    def __exit__(self, *exception) -> None:
        for bar in self._bars.values():
            bar.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hmr_ros.tools.build_engine", description=__doc__.split("\n")[0])
    default = ModelConfig()
    parser.add_argument(
        "--bundle", default=default.bundle, help=f"name or folder of the weights bundle (default: {default.bundle})"
    )
    parser.add_argument("--body", default=default.body, help="'open', or the path of your SMPL file")
    parser.add_argument(
        "--precision",
        default=default.precision,
        help=f"precision of the encoder, fp16 or fp32 (default: {default.precision})",
    )
    parser.add_argument(
        "--keypoints",
        choices=setting_of(KeypointsConfig, "landmarks").metadata["choices"],
        help="also build BlazePose's engines, with this landmark model: see `keypoints.backend`",
    )
    parser.add_argument(
        "--engine-cache", default=default.engine_cache, help="folder for the engines (default: in the user's cache)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
