"""`python -m training.prepare`: says what a set needs, checks, converts, goes on where it was, and training takes what it makes."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("tyro", reason="needs tyro")

from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models  # noqa: E402
from hmr_ros.media import open_media, write_image  # noqa: E402
from hmr_ros.metrics import pa_mpjpe  # noqa: E402
from hmr_ros.rotation import rotvec_to_rotmat  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from training import prepare as command  # noqa: E402
from training.config import NoiseConfig  # noqa: E402
from training.datasets.catalog import SOURCES  # noqa: E402
from training.datasets.detect import detect  # noqa: E402
from training.datasets.keypoint_pairs import write_pairs  # noqa: E402
from training.datasets.people import DatasetError, load, people_of, save  # noqa: E402
from training.datasets.photographs import Photographs  # noqa: E402
from training.datasets.place import placed  # noqa: E402
from training.image.augment import AugmentConfig  # noqa: E402
from training.image.data import ImageData, PicturesConfig  # noqa: E402
from training.pairs import Pairs  # noqa: E402
from training.prepare import PrepareConfig, main, needs, prepare  # noqa: E402
from training.synthesis import Poses  # noqa: E402

DEMO = Path(__file__).resolve().parents[2] / "hmr_ros/assets/demo"


@pytest.fixture(scope="module")
def body():
    return load_body("open")


def amass_file(path, frames=30, still=False, seed=0):
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    poses = np.tile(rng.normal(size=(1 if still else frames, 156)) * 0.3, (frames if still else 1, 1))
    np.savez(path, poses=poses, gender=np.array("male"), betas=np.zeros(16), mocap_framerate=np.array(30.0))


def coco(tmp_path, count=4, missing=()):
    """A SPIN-format file, and its images."""
    names = [f"train2014/{i}.jpg" for i in range(count)]
    (tmp_path / "images" / "train2014").mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        if i not in missing:
            write_image(tmp_path / "images" / name, np.zeros((8, 8, 3), np.uint8))
    part = np.ones((count, 24, 3))
    np.savez(
        tmp_path / "coco_2014_train.npz",
        imgname=np.array(names),
        center=np.ones((count, 2)),
        scale=np.ones(count),
        part=part,
    )
    return tmp_path / "coco_2014_train.npz"


@pytest.mark.parametrize("name", SOURCES)
def test_every_set_says_what_it_needs(name, capsys):
    main(PrepareConfig(name))
    text = capsys.readouterr().out
    assert text == needs(name) + "\n"
    for word in ("needs:", "licence:", "splits:", f"python -m training.prepare {name} --root"):
        assert word in text
    assert SOURCES[name].licence and SOURCES[name].splits


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path):
    run = [sys.executable, "-m", "training.prepare", "amass", "--root", str(tmp_path), "--out", str(tmp_path / "x.npz")]
    answer = subprocess.run(run, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert answer.returncode == 1 and answer.stderr.strip().startswith("No *.npz below")
    assert "Traceback" not in answer.stderr


def test_amass_keeps_its_authors_split_and_thins_out(tmp_path):
    amass_file(tmp_path / "amass/CMU/01/01_01_poses.npz")
    amass_file(tmp_path / "amass/SFU/1/a_poses.npz", seed=1)
    amass_file(tmp_path / "amass/KIT/3/still_poses.npz", still=True)
    np.savez(tmp_path / "amass/KIT/3/shape.npz", betas=np.zeros(16))
    train = prepare(PrepareConfig("amass", tmp_path / "amass", tmp_path / "poses_amass_train.npz"))
    assert len(train) == 30 + 1 and set(train.sequence) == {"01/01_01_poses", "3/still_poses"}
    val = prepare(PrepareConfig("amass", tmp_path / "amass", tmp_path / "poses_amass_val.npz", split="val"))
    assert set(val.sequence) == {"1/a_poses"}
    with pytest.raises(DatasetError, match="None of the 3 npz.*'test'"):
        prepare(PrepareConfig("amass", tmp_path / "amass", tmp_path / "x.npz", split="test"))
    with pytest.raises(DatasetError, match="no split 'minival', but train, val, test, all"):
        prepare(PrepareConfig("amass", tmp_path / "amass", tmp_path / "x.npz", split="minival"))


@pytest.mark.parametrize("below", ["amass", "amass/CMU"])
def test_cmu_subjects_of_our_validation_are_not_trained_on_by_way_of_amass(tmp_path, below):
    for seed, name in enumerate(("01/01_01", "03/03_02", "127/127_05")):
        amass_file(tmp_path / f"amass/CMU/{name}_poses.npz", seed=seed)
    amass_file(tmp_path / "amass/CMU/../KIT/3/3_1_poses.npz", seed=9)
    train, val = (
        prepare(PrepareConfig("amass", tmp_path / below, tmp_path / f"poses_amass_{split}.npz", split=split))
        for split in ("train", "val")
    )
    assert set(train.sequence) == {"01/01_01_poses"} | ({"3/3_1_poses"} if below == "amass" else set())
    assert set(val.sequence) == {"03/03_02_poses", "127/127_05_poses"}


def test_labels_of_agora_among_bedlams_are_left_out(tmp_path, capsys):
    for name in ("scene_6fps", "agora-bfh", "agora-body"):
        np.savez(tmp_path / f"{name}.npz", imgname=np.array(["a.png"]))
    assert [path.name for path in SOURCES["bedlam"].files(tmp_path, "train")] == ["scene_6fps.npz"]
    assert "agora-bfh.npz, agora-body.npz: left out" in capsys.readouterr().out
    with pytest.raises(DatasetError, match="None of the 1 npz"):
        SOURCES["bedlam"].files(tmp_path / "agora-bfh.npz", "train")


@pytest.mark.parametrize("name", ["mpi_inf_3dhp_valid.npz", "mpi_inf_3dhp_test.npz"])
def test_a_file_may_have_any_of_its_usual_names(tmp_path, name):
    with pytest.raises(DatasetError, match="No file at .*_valid.npz or .*_test.npz"):
        SOURCES["3dhp"].files(tmp_path, "test")
    (tmp_path / name).touch()
    assert SOURCES["3dhp"].files(tmp_path, "test") == [tmp_path / name]


def test_training_takes_every_pose_set_of_its_folder(tmp_path):
    amass_file(tmp_path / "amass/CMU/a.npz")
    prepare(PrepareConfig("amass", tmp_path / "amass", tmp_path / "data/poses_amass_train.npz"))
    shared = np.random.default_rng(5).normal(size=(7, 24, 3)).astype(np.float16)
    np.savez(tmp_path / "data/poses_cmu_train.npz", poses=shared)
    files = Poses.files(tmp_path / "data", "train")
    assert [file.name for file in files] == ["poses_amass_train.npz", "poses_cmu_train.npz"]
    poses = Poses(*files)
    assert len(poses) == 37
    np.testing.assert_allclose(poses.rotvec[30:].numpy(), shared.astype(np.float32))


def test_poses_before_a_camera_are_not_taken_for_motion_capture(tmp_path):
    coco(tmp_path)
    prepare(PrepareConfig("coco", tmp_path, tmp_path / "poses_coco_train.npz", images=tmp_path / "images"))
    with pytest.raises(ValueError, match="poses_coco_train.npz.*relative to a camera"):
        Poses(tmp_path / "poses_coco_train.npz")


def test_interrupted_goes_on_where_it_was(tmp_path, monkeypatch):
    for i in range(4):
        amass_file(tmp_path / f"amass/CMU/{i}.npz", seed=i)
    config = PrepareConfig("amass", tmp_path / "amass", tmp_path / "out.npz")
    convert, done = command._convert, []

    def interrupted(file, *others):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(file.name)
        return convert(file, *others)

    monkeypatch.setattr(command, "_convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(config)
    assert not config.out.exists()
    monkeypatch.setattr(command, "_convert", lambda file, *others: done.append(file.name) or convert(file, *others))
    amass_file(tmp_path / "amass/CMU/0.npz", frames=12, seed=9)  # changed since: must be read again
    people = prepare(config)
    assert done == ["0.npz", "1.npz", "0.npz", "2.npz", "3.npz"]
    assert len(people) == 12 + 3 * 30 and not config.out.with_suffix(".parts").exists()
    np.testing.assert_array_equal(load(config.out).poses, people.poses)


def test_missing_images_are_named_or_left_out(tmp_path, capsys):
    path = coco(tmp_path, missing=(1, 3))
    config = PrepareConfig("coco", path, tmp_path / "coco.npz", images=tmp_path / "images")
    with pytest.raises(
        DatasetError, match="coco_2014_train.npz, imgname: 2 of 4 images are missing.*train2014/1.jpg, train2014/3"
    ):
        prepare(config)
    people = prepare(
        PrepareConfig("coco", path, tmp_path / "coco.npz", images=tmp_path / "images", skip_missing_images=True)
    )
    assert people.image.tolist() == ["train2014/0.jpg", "train2014/2.jpg"]
    with pytest.raises(DatasetError, match="not one of its 4 images is under .*--images"):
        prepare(PrepareConfig("coco", path, tmp_path / "coco.npz", images=tmp_path / "elsewhere"))
    assert len(prepare(PrepareConfig("coco", path, tmp_path / "coco.npz"))) == 4, "without --images nobody looks"
    with pytest.raises(DatasetError, match="--detect looks at images.*--images"):
        prepare(PrepareConfig("coco", path, tmp_path / "coco.npz", detect=True))


def test_a_body_can_be_named_where_the_set_does_not(tmp_path):
    np.savez(
        tmp_path / "lsp_dataset_test.npz", imgname=np.array(["a", "b"]), center=np.ones((2, 2)), scale=np.ones(2),
        pose=np.zeros((2, 72)), shape=np.zeros((2, 10)), has_smpl=np.array([1, 0]),
    )  # fmt: skip
    config = PrepareConfig("lsp", tmp_path, tmp_path / "o.npz", split="test", shape_space="mine")
    assert prepare(config).betas_fit("mine").tolist() == [True, False]


# --- The detector on real pictures -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def walkers(tmp_path_factory, body):
    """Three frames of the demo clip as an image set, with its exact truth."""
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    try:
        find_models()
    except KeypointModelError as error:
        pytest.skip(str(error))
    folder, rows = tmp_path_factory.mktemp("walk"), (10, 60, 110)
    frames = [image for image, _ in open_media(DEMO / "walk.mp4")]
    with np.load(DEMO / "walk.npz") as truth:
        poses, transl, betas, K = (truth[name] for name in ("poses", "transl", "betas", "K"))
    for row in rows:
        write_image(folder / f"{row}.png", frames[row])
    rows = np.array(rows)
    poses = poses[rows].reshape(3, 24, 3)
    keypoints = body.keypoints(rotvec_to_rotmat(poses), np.tile(betas, (3, 1)), transl[rows])
    uv = keypoints[..., :2] / keypoints[..., 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
    low, high = uv.min(axis=1), uv.max(axis=1)
    people = people_of(
        3, image=np.array([f"{row}.png" for row in rows]), box=np.column_stack([(low + high) / 2, 1.2 * (high - low).max(axis=1)]),
        K=K, keypoints_2d=uv, poses=poses, betas=betas, shape_space=body.shape_space, transl=transl[rows],
    )  # fmt: skip
    return people, folder


def test_detections_lie_on_the_people(walkers):
    people, folder = walkers
    seen = detect(people, folder)
    assert seen.image_size.tolist() == [[640, 480]] * 3
    found = seen.confidence_detected > 0
    assert found.sum(axis=1).min() >= 12 and (seen.detected_3d_known == found).all()
    off = np.linalg.norm(seen.detected_2d - people.keypoints_2d, axis=-1)[found]
    assert np.median(off) < 0.05 * people.box[:, 2].mean()


def test_detections_with_bodies_become_training_pairs(walkers, tmp_path, body):
    people, folder = walkers
    seen = detect(people, folder)
    assert write_pairs(seen, tmp_path / "pairs.npz", body) == 3
    pairs = Pairs(tmp_path / "pairs.npz", body)
    sample = pairs(8, torch.Generator().manual_seed(0))
    detected = sample.confidence > 0
    off = (sample.keypoints - sample.truth.keypoints_2d).norm(dim=-1)[detected]
    assert len(pairs) == 3 and off.median() < 0.15, "box units: what was seen and what is true belong together"
    with pytest.raises(DatasetError, match="betas of 'hmr_open_v1'; betas are of .*other"):
        other = people_of(
            3, **{name: getattr(seen, name) for name in ("poses", "betas", "transl")}, shape_space="other"
        )
        write_pairs(other, tmp_path / "none.npz", body)
    few = np.where(np.arange(23) < 5, seen.confidence_detected, 0)
    with pytest.raises(DatasetError, match="has detections"):  # of whom too little is seen, nobody would be asked about
        write_pairs(dataclasses.replace(seen, confidence_detected=few), tmp_path / "none.npz", body)


def test_who_has_no_place_is_put_where_the_keypoints_are(walkers, body):
    people, _ = walkers
    nowhere = people_of(3, **{n: getattr(people, n) for n in ("K", "keypoints_2d", "poses", "betas", "shape_space")})
    np.testing.assert_allclose(placed(nowhere, body).transl, people.transl, atol=0.01)
    assert placed(nowhere, body).transl_known.all() and not nowhere.transl_known.any()
    kept = placed(people_of(3, **{n: getattr(nowhere, n) for n in ("K", "poses", "keypoints_2d")}), body)
    assert not kept.transl_known.any(), "without betas of this body nobody can say"
    behind = placed(
        people_of(
            3,
            **{n: getattr(nowhere, n) for n in ("K", "poses", "betas", "shape_space")},
            keypoints_2d=-people.keypoints_2d,
        ),
        body,
    )
    assert not behind.transl_known.any() and not behind.transl.any()


def test_photographs_are_pictures_for_image_training(walkers, tmp_path, body):
    people, folder = walkers
    save(tmp_path / "walk.npz", detect(people, folder))
    photographs = Photographs(tmp_path / "walk.npz", folder, body)
    assert len(photographs) == 3
    for row, picture in enumerate(photographs):
        assert picture.image.shape == (480, 640, 3)
        keypoints = body.keypoints(picture.rotmat[None], picture.betas[None])[0]
        keypoints += picture.pelvis - body.joints(picture.rotmat[None], picture.betas[None])[0][0, 0]
        uv = picture.camera.project(keypoints)
        np.testing.assert_allclose(uv, people.keypoints_2d[row], atol=0.5)
        seen = picture.confidence > 0
        off = picture.keypoints[seen] - keypoints[seen, :2] / keypoints[seen, 2:]
        assert np.abs(np.median(off, axis=0)).max() < 0.02
        hips = keypoints[[11, 12]].mean(axis=0)
        assert pa_mpjpe(picture.keypoints_3d[seen], keypoints[seen] - hips) < 120
    assert len(photographs(5, torch.Generator().manual_seed(0))) == 5


def test_whole_folders_of_photographs_are_held_out_where_there_are_enough(tmp_path, body):
    count = 100
    names = np.array([f"clip{i // 4:02d}/{i % 4}.jpg" for i in range(count)])
    people = people_of(
        count, image=names, poses=np.zeros((count, 24, 3)), betas=np.zeros(10), shape_space=body.shape_space,
        transl=np.array([0, 0, 3]), detected_2d=np.ones((count, 23, 2)),
    )  # fmt: skip
    save(tmp_path / "clips.npz", people)
    learned, held_out = (
        set(part.people.image) for part in Photographs(tmp_path / "clips.npz", tmp_path, body).parted()
    )
    assert held_out == {name for name in names if name.startswith(("clip00", "clip20"))}
    assert learned == set(names) - held_out
    save(tmp_path / "one.npz", people[:1])
    with pytest.raises(DatasetError, match="all photographs are one picture"):
        Photographs(tmp_path / "one.npz", tmp_path, body).parted()


def test_image_training_mixes_photographs_in(walkers, tmp_path):
    people, folder = walkers
    save(tmp_path / "walk.npz", detect(people, folder))
    for split in ("train", "val"):
        np.savez(tmp_path / f"poses_some_{split}.npz", poses=np.zeros((4, 24, 3), np.float32))
    photographs = PicturesConfig(folder, None, 0, tmp_path / "walk.npz", folder, 0.75)
    data = ImageData(tmp_path, "open", NoiseConfig(), photographs, AugmentConfig(), (64, 48))
    sample = data(4, torch.Generator().manual_seed(0))
    assert sample.crop.shape == (4, 3, 64, 48) and data.files[-1].name == "walk.npz"
    seen = sample.confidence[1:] > 0  # the last three are photographs
    off = (sample.keypoints[1:] - sample.truth.keypoints_2d[1:]).norm(dim=-1)[seen]
    assert off.median() < 0.15, "box units: turned and mirrored, what was seen and what is true belong together"


def test_interrupted_detection_loses_one_shard_at_most(walkers, tmp_path, monkeypatch):
    people, folder = walkers
    monkeypatch.setattr(command, "SHARD", 1)
    calls = []

    def counted(part, images):
        calls.append(part.image[0])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return detect(part, images)

    monkeypatch.setattr(command, "detect", counted)
    with pytest.raises(KeyboardInterrupt):
        command._detected(people, folder, tmp_path / "shards")
    whole = command._detected(people, folder, tmp_path / "shards")
    assert calls == ["10.png", "60.png", "110.png", "110.png"]
    np.testing.assert_allclose(whole.detected_2d, detect(people, folder).detected_2d)


def test_a_broken_image_is_named(walkers, tmp_path):
    people, _ = walkers
    (tmp_path / "10.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="10.png: not a readable image"):
        detect(people, tmp_path)


def test_who_stands_in_the_box_is_detected_and_not_a_larger_neighbour(walkers):
    """The clip's walker, and beside them the same one nearly a third larger."""
    people, folder = walkers
    frame = cv2.imread(str(folder / "60.png"))[..., ::-1]
    (x, y), half = people.box[1, :2], people.box[1, 2] / 2
    person = frame[max(int(y - half), 0) : int(y + half), int(x - half / 2) : int(x + half / 2)]
    neighbour = cv2.resize(person, None, fx=1.3, fy=1.3)
    height, width = person.shape[:2]
    scene = np.full((neighbour.shape[0], 2 * width + neighbour.shape[1], 3), 120, np.uint8)
    low = (neighbour.shape[0] - height) // 2
    scene[low : low + height, width : 2 * width] = person
    scene[:, 2 * width - width // 6 : 2 * width - width // 6 + neighbour.shape[1]] = neighbour
    write_image(folder / "two.png", scene)
    box = np.array([[1.5 * width, low + height / 2, 1.2 * height]])
    seen = detect(people_of(1, image=np.array(["two.png"]), box=box), folder)
    found = seen.confidence_detected[0] > 0
    assert found.sum() > 12 and np.median(seen.detected_2d[0][found, 0]) < 2 * width - width // 6


@pytest.mark.parametrize("below, split", [("SFU", "val"), ("SFU/1/a_poses.npz", "val"), ("SSM_synced", "test")])
def test_a_held_out_subset_is_held_out_when_it_is_the_root_too(tmp_path, below, split):
    for name in ("SFU/1/a", "SSM_synced/2/b"):
        amass_file(tmp_path / f"amass/{name}_poses.npz")
    root = tmp_path / "amass" / below
    with pytest.raises(DatasetError, match="'train'"):
        prepare(PrepareConfig("amass", root, tmp_path / "x.npz"))
    assert len(prepare(PrepareConfig("amass", root, tmp_path / "y.npz", split=split))) == 30
