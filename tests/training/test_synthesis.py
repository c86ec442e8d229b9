"""Synthetic samples say what they claim, and look like people."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from torch.overrides import TorchFunctionMode  # noqa: E402

from hmr_ros import skeleton  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.config import NoiseConfig, training_noise  # noqa: E402
from training.synthesis import Synthesis, augment_pose, vary_proportions  # noqa: E402

EXACT = NoiseConfig(sigma=0, outliers=0, swaps=0, dropout=0, occlusion=0, truncation=0)
UPRIGHT = torch.zeros(64, 24, 3)


@pytest.fixture(scope="module")
def body():
    return load_body("open")


def draw(body, noise=EXACT, poses=UPRIGHT, seed=0):
    return Synthesis(BodyArrays.of(body), noise)(poses, torch.Generator().manual_seed(seed), augment=False)


def test_a_seed_is_a_data_set(body):
    a, b = draw(body, NoiseConfig()), draw(body, NoiseConfig())
    assert torch.equal(a.keypoints, b.keypoints) and torch.equal(a.truth.betas, b.truth.betas)
    assert not torch.equal(a.keypoints, draw(body, NoiseConfig(), seed=1).keypoints)


def test_without_noise_the_truth_is_what_is_seen(body):
    sample = draw(body)
    seen = sample.confidence > 0
    torch.testing.assert_close(sample.keypoints[seen], sample.truth.keypoints_2d[seen], atol=1e-4, rtol=1e-4)


def test_truth_projects_onto_the_keypoints(body):
    """All the way round with the runtime's own body: parameters to camera frame to box units."""
    sample = draw(body)
    keypoints = body.keypoints(sample.truth.rotmat.numpy(), sample.truth.betas.numpy(), sample.transl.numpy())
    xy = keypoints[..., :2] / keypoints[..., 2:]
    box = sample.bbox_info.numpy()
    np.testing.assert_allclose((xy - box[:, None, :2]) / (box[:, None, 2:] / 2), sample.truth.keypoints_2d, atol=2e-3)


def test_most_people_stand_head_up_in_an_image_whose_y_points_down(body):
    sample = draw(body)
    nose, heel = (skeleton.KEYPOINT_NAMES.index(n) for n in ("nose", "left_heel"))
    upright = sample.truth.keypoints_2d[:, nose, 1] < sample.truth.keypoints_2d[:, heel, 1]
    assert upright.float().mean() > 0.85


def test_small_toes_are_never_detected_and_enough_is_left(body):
    sample = draw(body, NoiseConfig(dropout=0.4, truncation=1.0), poses=UPRIGHT.repeat(8, 1, 1))
    toes = [i for i, name in enumerate(skeleton.KEYPOINT_NAMES) if "small_toe" in name]
    assert (sample.confidence[:, toes] == 0).all()
    assert ((sample.confidence > 0).sum(1) >= 4).all()
    assert torch.isfinite(sample.keypoints).all() and (sample.bbox_info[:, 2] > 0).all()


def test_mirroring_twice_is_nothing():
    poses = torch.randn(3, 24, 3)
    flip = torch.tensor([1.0, -1, -1])
    order = list(skeleton.MIRRORED_JOINTS)
    torch.testing.assert_close((poses[:, order] * flip)[:, order] * flip, poses)


def test_augmented_poses_stay_near(body):
    poses = 0.2 * torch.randn(100, 24, 3)
    assert augment_pose(poses.clone(), torch.Generator().manual_seed(0)).isfinite().all()


def test_varied_proportions_stay_symmetric_and_near(body):
    arrays = BodyArrays.of(body)
    varied = vary_proportions(arrays, torch.Generator().manual_seed(0))
    mirrored = varied.J_template[list(skeleton.MIRRORED_JOINTS)] * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(mirrored, varied.J_template, atol=1e-3, rtol=0)
    change = (varied.J_template - arrays.J_template).norm(dim=-1)
    assert 0.001 < change.max() < 0.2
    torch.testing.assert_close(vary_proportions(arrays, torch.Generator(), amount=0.0).J_template, arrays.J_template)


def test_varied_proportions_are_no_shorter_on_average(body):
    """The shorter of two random bones is: by 2.7 %, which a network then takes for how people are built."""
    arrays, rng = BodyArrays.of(body), torch.Generator().manual_seed(0)
    parents = list(skeleton.PARENTS)[1:]

    def lengths(one: BodyArrays) -> torch.Tensor:
        return (one.J_template[1:] - one.J_template[parents]).norm(dim=-1)

    ratios = torch.stack([lengths(vary_proportions(arrays, rng)) for _ in range(1000)]) / lengths(arrays)
    torch.testing.assert_close(ratios.log().mean(0), torch.zeros(23), atol=0.006, rtol=0)
    torch.testing.assert_close(ratios.log().std(0), torch.full((23,), 0.05), atol=0.005, rtol=0)


class NumbersMadeTensors(TorchFunctionMode):
    """Counts how often Python's numbers become a tensor: on a GPU that is a copy, for which the processor waits."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else args[1:2]
            self.count += sum(isinstance(part, (list, tuple)) for part in index)
        self.count += function in (torch.tensor, torch.Tensor.new_tensor)
        return function(*args, **(kwargs or {}))


def test_after_the_first_batch_nothing_is_copied_to_the_device(body):
    synthesis, rng = Synthesis(BodyArrays.of(body), training_noise()), torch.Generator()
    synthesis(UPRIGHT, rng)
    with NumbersMadeTensors() as made:
        synthesis(UPRIGHT, rng)
    assert made.count == 0


def test_the_detector_flattens_along_the_ray_to_the_person(body):
    """As the real one does, which looks at an upright crop: not along the camera's axis."""
    noise = NoiseConfig(turn_deg=0, sigma_3d_m=0, flips_3d=0, without_3d=0, sigma=0, outliers=0, swaps=0)
    rng = torch.Generator().manual_seed(0)
    true, center = torch.randn(50, 23, 3, generator=rng), torch.randn(50, 2, generator=rng)
    detector = Synthesis(BodyArrays.of(body), noise)
    seen, known = detector.detect_3d(true, torch.zeros(50, 23, 2), center, rng)
    hips = [skeleton.KEYPOINT_NAMES.index(f"{side}_hip") for side in ("left", "right")]
    true = true - true[:, hips].mean(1, keepdim=True)
    ray = torch.nn.functional.normalize(torch.cat([center, torch.ones(50, 1)], 1), dim=1).unsqueeze(1)
    lost = torch.where(known[..., None] > 0, seen, true)
    along = (lost * ray).sum(-1, keepdim=True) / (true * ray).sum(-1, keepdim=True)
    across = (lost - (lost * ray).sum(-1, keepdim=True) * ray).norm(dim=-1) / (
        true - (true * ray).sum(-1, keepdim=True) * ray
    ).norm(dim=-1)
    for ratio in (
        along[..., 0],
        across,
    ):  # the same for all of a person's keypoints: size, and less of it along the ray
        middle = ratio[known > 0].reshape(50, -1).median(1, keepdim=True).values
        torch.testing.assert_close(
            ratio[known > 0].reshape(50, -1), middle.expand(-1, int(known[0].sum())), rtol=1e-2, atol=1e-2
        )
    assert (along[..., 0][known > 0] < across[known > 0] * 1.06).all()
