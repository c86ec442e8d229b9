"""Settings refuse what cannot work, and say what can."""

import pytest

from hmr_ros.config import ConfigError, PipelineConfig, describe, replace


def test_every_setting_is_described_and_its_default_is_allowed():
    for name, item, _ in describe(PipelineConfig()):
        assert item.metadata["doc"].endswith("."), name


def test_replace_changes_nested_settings_and_nothing_else():
    config = replace(PipelineConfig(), {"tto.max_steps": 3, "tto.tolerance": 0.0, "tracker.max_gap_s": 1.0})
    assert (config.tto.max_steps, config.tto.tolerance, config.tracker.max_gap_s) == (3, 0.0, 1.0)
    assert config.keypoints == PipelineConfig().keypoints


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("tto.max_steps", -1, "between 0 and 50"),
        ("tto.deadline_ms", float("nan"), "between"),
        ("model.backend", "magic", "choose one of"),
        ("tto.speed", 1, "there are: .*tto.max_steps"),
        ("nonsense", 1, "unknown setting"),
        ("tto.max_steps", "3", "'3': must be a whole number"),
        ("tto.max_steps", 2.5, "must be a whole number"),
        ("tto.tolerance", None, "must be a number"),
        ("smoothing.enabled", 1, "must be true or false"),
        ("model.bundle", 7, "must be text"),
    ],
)
def test_what_cannot_work_is_refused(name, value, says):
    with pytest.raises(ConfigError, match=says):
        replace(PipelineConfig(), {name: value})
