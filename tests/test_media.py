"""Laws of reading and writing pictures, and what is said when a source is bad."""

import cv2
import numpy as np
import pytest

from hmr_ros.media import MAX_PAUSE_S, MediaError, VideoWriter, open_media, read_image, write_image


def picture(value, size=(48, 64)):
    image = np.zeros((*size, 3), np.uint8)
    image[:, : size[1] // 2] = (value, 20, 200)  # left half; R, G and B all differ
    return image


@pytest.fixture
def clip(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 25) as video:
        for value in range(0, 200, 20):
            video.write(picture(value))
    return tmp_path / "clip.mp4"


def test_image_round_trip_keeps_every_pixel_and_the_order_of_colours(tmp_path):
    write_image(tmp_path / "a.png", picture(90))
    assert np.array_equal(read_image(tmp_path / "a.png"), picture(90))


def test_video_round_trip(clip):
    media = open_media(clip)
    frames = list(media)
    assert (media.kind, media.fps, media.frames, media.width, media.height) == ("video", 25, 10, 64, 48)
    assert [stamp for _, stamp in frames] == [i * 40_000_000 for i in range(10)]
    for (image, _), value in zip(frames, range(0, 200, 20)):
        assert np.abs(image.astype(int) - picture(value)).mean() < 8  # lossy, but neither mirrored nor blue for red
    assert len(list(media)) == 10, "a second pass reads it again"


def test_folder_is_read_in_natural_order(tmp_path):
    for index in (1, 2, 10):
        write_image(tmp_path / f"frame_{index}.png", picture(index))
    (tmp_path / "notes.txt").write_text("not an image")
    media = open_media(tmp_path)
    assert [int(image[0, 0, 0]) for image, _ in media] == [1, 2, 10]
    assert not media.is_still


def test_single_image_is_a_still(tmp_path):
    write_image(tmp_path / "one.jpg", picture(5))
    media = open_media(tmp_path / "one.jpg")
    assert media.is_still and media.frames == 1


def test_grey_and_16_bit_images_become_rgb8(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 5), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 5), 7 * 256, np.uint16))
    for name in ("grey.png", "deep.png"):
        image = read_image(tmp_path / name)
        assert image.shape == (4, 5, 3) and image.dtype == np.uint8 and np.all(image == 7)


def test_writer_scales_images_of_another_size(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", 10) as video:
        video.write(picture(0))
        video.write(picture(0, size=(96, 128)))
    assert [image.shape for image, _ in open_media(tmp_path / "v.mp4")] == [(48, 64, 3)] * 2


@pytest.mark.parametrize(
    ("tenths", "shown"),
    [
        ([0, 1, 4, 5], [0, 1, 1, 1, 2, 3]),
        ([0, 0.1, 0.2, 1, 2, 6], [0, 1, 2, 3, 4, 4, 5]),  # none is left out, and what was too many is caught up with
        ([0, 1, 0, 1, 4], [0, 1, 2, 3, 4]),  # an image that was overtaken: no time has passed, and none passes twice
        ([0, 9, 0, 5], [0] * 9 + [1, 2, 2, 2, 2, 3]),  # a recording that began again
        ([0, 10**9], [0] * round(10 * MAX_PAUSE_S) + [1]),  # and one of another day
    ],
)
def test_pictures_stay_until_the_next_was_taken(tmp_path, tenths, shown):
    with VideoWriter(tmp_path / "v.mp4", 10) as video:
        for index, tenth in enumerate(tenths):
            video.write(picture(40 * index), round(tenth * 1e8))
    assert [round(image[24, 8, 0] / 40) for image, _ in open_media(tmp_path / "v.mp4")] == shown


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.mp4", None, "no such file"),
        ("empty.mp4", b"", "cannot be opened"),
        ("text.avi", b"this is not a video" * 100, "cannot be opened"),
        ("noise.jpg", b"\xff\xd8\xff" + b"x" * 50, "not an image"),
        ("empty.png", b"", "not an image"),
    ],
)
def test_bad_sources_are_refused_by_name(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=says) as error:
        open_media(tmp_path / name)
    assert name in str(error.value)


def test_truncated_video_is_refused_or_ends_early(clip):
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError):
        open_media(clip)


def test_empty_folder_and_absent_camera(tmp_path):
    with pytest.raises(MediaError, match="no images in this folder"):
        open_media(tmp_path)
    with pytest.raises(MediaError, match="camera 97"):
        open_media("97")


def test_what_cannot_be_read_is_said(tmp_path, monkeypatch):
    write_image(tmp_path / "locked.png", picture(0))

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "read_bytes", refuse)
    with pytest.raises(MediaError, match=r"locked.png: cannot be read \(Permission denied\)"):
        open_media(tmp_path)


def test_a_folder_opens_with_its_first_readable_image(tmp_path):
    (tmp_path / "0.png").write_bytes(b"broken")
    write_image(tmp_path / "1.png", picture(0))
    media = open_media(tmp_path)
    assert (media.height, media.width) == picture(0).shape[:2] and not media.bad
    assert len(list(media)) == 1 and "0.png" in media.bad[0]
    (tmp_path / "1.png").write_bytes(b"broken too")
    with pytest.raises(MediaError, match="none of 2 images can be read"):
        open_media(tmp_path)


def test_unwritable_video_says_so(tmp_path):
    with pytest.raises(MediaError, match="cannot write a video"), VideoWriter(tmp_path / "no" / "v.mp4", 10) as video:
        video.write(picture(0))
