"""The study: its grid runs end to end, goes on where it was, and its tables say what the cells say."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("safetensors", reason="needs safetensors")
pytest.importorskip("matplotlib", reason="needs matplotlib")

from hmr_ros.smpl_file import load_body  # noqa: E402
from training import study  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.config import NoiseConfig  # noqa: E402
from training.study_data import StudyData  # noqa: E402
from training.study_report import BEGIN, END, ReportConfig, kept, tables, write  # noqa: E402


@pytest.fixture
def config(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "mocap").mkdir()
    for split in ("train", "val"):
        poses = rng.normal(0, 0.2, (30, 24, 3)).astype(np.float16)
        np.savez(tmp_path / "mocap" / f"poses_cmu_{split}.npz", poses=poses)
    return study.StudyConfig(
        out=tmp_path / "study", root=tmp_path, pairs=tmp_path / "none.npz", seeds=1, width=16, blocks=1, batch=4, pretrain=2,
        steps=2, people=6, few=2,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["regression", "eft-context", "dual-head", "dual-full"])
def test_a_cell_trains_measures_and_is_not_made_twice(config, name, monkeypatch):
    body = BodyArrays.of(load_body("open"))
    data = StudyData.all_of(config.root, config.pairs, body, config.noise, config.people)
    assert set(data) == {"mocap", "mocap-2d", "train"}
    study.measure_cell(config, name, 0, body, data)
    cell = json.loads((config.out / "results" / f"{name}-0.json").read_text())
    errors = np.array(cell["mocap"]["mpjpe"])
    assert errors.shape == (study.STEPS + 1, 2 if name == "dual-full" else 6)
    assert np.isfinite(errors).all() and (errors > 0).all()
    assert np.ptp(errors, axis=0).max() > 0 or name == "regression"
    monkeypatch.setattr(study, "train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(study, "measure", lambda *_: pytest.fail("measured again"))
    study.measure_cell(config, name, 0, body, data)


def test_cells_of_other_settings_are_not_mixed_in(config):
    config.out.mkdir()
    study.claim(config)
    study.claim(dataclasses.replace(config, seeds=3))  # more of the same
    with pytest.raises(ValueError, match="holds a study with other settings"):
        study.claim(dataclasses.replace(config, noise=NoiseConfig(sigma=0.5)))


def cells(**finals):
    """Methods whose error falls from 100 mm to these within 5 steps, with two seeds 1 mm apart."""
    methods = {}
    for name, final in finals.items():
        errors = np.interp(np.arange(15), [0, 5], [100, final])
        for seed in (0, 1):
            by = {"mpjpe": (errors + seed).tolist(), "pa_mpjpe": (errors / 2).tolist(), "people": 9}
            methods.setdefault(name.replace("_", "-"), {})[str(seed)] = {"mocap": by, "few": by}
    return methods


def test_share_kept_is_of_full_adaptations_gain():
    methods = cells(regression=100, dual_latent=62, dual_full=60)
    np.testing.assert_allclose(kept(methods, "dual-latent", "dual-full", 14), [0.95, 0.95])
    np.testing.assert_allclose(kept(methods, "dual-full", "dual-full", 14), [1, 1])
    assert kept(methods, "meta-latent", "dual-full", 14) is None


def test_page_gets_tables_and_plot_and_keeps_its_words(tmp_path):
    milliseconds = {f"graph {scope}, {k}": 0.1 + k for scope in ("latent", "context", "head") for k in (0, 1, 2, 5, 14)}
    milliseconds |= {f"torch {family}-full": 200.0 for family in ("eft", "meta", "dual")}
    summary = {
        "settings": {"few": 9},
        "methods": cells(regression=100, eft_latent=90, meta_latent=80, dual_latent=62, dual_full=60),
        "times": {"people": 5, "machine": "none", "milliseconds": milliseconds},
    }
    page, plot = tmp_path / "page.md", tmp_path / "plot.png"
    own = ReportConfig(page=page, plot=plot, shipped=tmp_path / "shipped.json")
    shipped = {
        "checkpoint": {"step": 7, "config": {"scope": "latent"}}, "people": 3, "lr": {"full, observed": 1e-4},
        "mpjpe": {"shipped, latent": [100.0, *[92.0] * 14], "full, observed": [100.0, *[90.0] * 14]},
        "times": {**summary["times"], "milliseconds": {**milliseconds, "torch full, observed": 500.0}},
    }  # fmt: skip
    own.shipped.write_text(json.dumps(shipped))
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(summary, own)
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "| dual-latent | 100.5 ± 0.7 |" in text  # 100 and 101
    assert "| latent | meta-latent → dual-latent | 9 | -18.0 | -18.0 to -18.0 | 2 of 2 |" in text
    assert "| dual-latent | 14 | 62.5 ± 0.7 | 95 % | 14.10 | 1/14 |" in text
    assert "| shipped, latent | 5 | 92.0 | 80 % | 5.10 | 1/98 |" in text
    write(summary, own)
    assert page.read_text() == text
    assert cv2.imread(str(plot)).std() > 5 and plot.stat().st_size < 200_000


def test_tables_do_without_what_is_not_measured_yet():
    text = tables({"settings": {"few": 9}, "methods": cells(regression=100)})
    assert "regression" in text and "full" not in text.split("###")[-1]
