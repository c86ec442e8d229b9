"""BlazePose (Bazarevsky et al. 2020) for several people, without the mediapipe runtime.

Two small networks: a detector that finds people in a window, and a landmark model that sees one person's region. For
a person who was seen, the next frame's region follows from the landmarks and no detector is needed. The search for new people
over the whole image and its tiles is spread over frames, so that every frame costs about the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hmr_ros.config import KeypointsConfig
from hmr_ros.keypoints.blazepose_detector import PersonDetector
from hmr_ros.keypoints.blazepose_landmarks import NUM_LANDMARKS, UNWANTED, LandmarkModel, Landmarks
from hmr_ros.keypoints.blazepose_models import find_models
from hmr_ros.keypoints.duplicates import distinct, unknown_boxes, unknown_regions
from hmr_ros.keypoints.flip_test import Look, look_again, look_both_ways, look_plainly
from hmr_ros.keypoints.litert import LiteRtModel, Network
from hmr_ros.keypoints.region import region_from_box, region_size
from hmr_ros.keypoints.search import Search
from hmr_ros.skeleton import from_blazepose
from hmr_ros.types import Frame, Keypoints
from hmr_ros.worker_pool import WorkerPool

NEWCOMERS = 2
"""Largest number of proposals that the landmark model checks in one frame, which bounds the frame's time; in the first frame two more for
each of `max_people`, since some turn out not to be people. More than that take turns: a confident false detection (a poster) must not hide others for ever."""
Found = tuple[np.ndarray, np.ndarray]
"""Regions (M, 2, 2) and scores (M,) that the detector found in one window."""
STAY = 1.3
"""People already followed count this much more when there are more than `max_people`, so that two of similar size don't alternate."""


class BlazePose:
    """A `KeypointSource`. Keeps where people were in the last frame, and how far the search for new ones has come."""

    def __init__(self, config: KeypointsConfig, load: Callable[..., Network] = LiteRtModel):
        """load: makes a network from a model's file and the outputs to leave out; called `config.threads` times for each model."""
        self.config = config
        detector, landmarks = find_models(config.model_dir, config.landmarks)
        self._pool = WorkerPool(config.threads)
        self._detector = self._pool.copies(lambda: PersonDetector(load(detector)))
        self._landmark_model = self._pool.copies(lambda: LandmarkModel(load(landmarks, UNWANTED)))
        self.reset()

    def reset(self) -> None:
        self._looks: list[Look] = []
        self._search: Search | None = None
        self._next_proposal = 0

    def detect(self, frame: Frame) -> Keypoints:
        return self.detect_with_world(frame)[0]

    def detect_with_world(self, frame: Frame) -> tuple[Keypoints, np.ndarray]:
        """Also return BlazePose's own 3D estimate: (N, 33, 3) float32, metres, from the hips' centre, z along the ray to the person."""
        image, limit = frame.image, self.config.max_people
        height, width = image.shape[:2]
        start = self._search is None or self._search.size != (width, height)
        if start:
            self.reset()
            self._search = Search(width, height)
        windows = self._search.turn(self.config.redetect_every)
        searched = self._look_into(windows if frame.boxes is None else windows[:0], image)
        followed = self._pool.map(lambda look: self._follow(frame, look), self._looks[:limit])
        people = distinct([person for person in followed if person.score >= self.config.min_score])
        missing = [
            look.next_region for look, person in zip(self._looks, followed) if not any(person is p for p in people)
        ]
        besides = self._search.besides(self.config.redetect_every, [p.next_region for p in people], missing)
        if frame.boxes is None:
            found = searched() + self._look_into(besides, image)()
            proposals = unknown_regions(best_first(found), people)
        else:
            proposals = region_from_box(unknown_boxes(frame.boxes, people, (width, height)))
        if len(people) >= limit:  # check only those large enough to replace a person
            smallest = min(region_size(person.next_region) for person in people)
            proposals = proposals[region_size(proposals) > STAY * smallest]
        proposals = self._take_turns(proposals, 2 * limit + NEWCOMERS if start else NEWCOMERS)
        people = distinct(people + self._newcomers(frame, proposals), incumbents=len(people))
        stay = [STAY if any(person is look for look in followed) else 1 for person in people]
        ranked = sorted(zip(people, stay), key=lambda pair: -pair[1] * importance(pair[0]))
        self._looks = people = sorted((person for person, _ in ranked[:limit]), key=importance, reverse=True)
        return to_keypoints(people, width, height, self.config.min_confidence), np.array(
            [p.world for p in people], np.float32
        ).reshape(-1, NUM_LANDMARKS, 3)

    def _take_turns(self, proposals: np.ndarray, places: int) -> np.ndarray:
        """At most `places` of the proposals, starting where the last frame stopped if it could not check all of its own."""
        first = self._next_proposal % max(len(proposals), 1)
        self._next_proposal = first + places if len(proposals) > places else 0
        return np.roll(proposals, -first, axis=0)[:places]

    def _follow(self, frame: Frame, last: Look) -> Look:
        if self.config.flip_test:
            return look_again(self._landmark_model, frame.image, last, frame.stamp_ns)
        return look_plainly(self._landmark_model, frame.image, last.next_region, frame.stamp_ns)

    def _newcomers(self, frame: Frame, proposals: np.ndarray) -> list[Look]:
        """People in the proposed regions, the largest (the nearest) first.

        Everyone is looked at a second time, in the region that follows from the first landmarks: the landmarks get better, and
        most false detections are not taken for a person again.
        """
        model, image = self._landmark_model, frame.image
        first = self._pool.map(lambda region: model(image, region), proposals)
        regions = [p.next_region for p in first if p.score >= self.config.min_score]
        look = look_both_ways if self.config.flip_test else look_plainly
        second = self._pool.map(lambda region: look(model, image, region, frame.stamp_ns), regions)
        second = [person for person in second if person.score >= self.config.min_score]
        return sorted(second, key=lambda person: -region_size(person.next_region))

    def _look_into(self, windows: np.ndarray, image: np.ndarray) -> Callable[[], list[Found]]:
        """Start searching the windows (W, 3); returns a function that gives what the detector finds in each."""
        return self._pool.start(lambda w: self._detector(image, w[:2], w[2], self.config.min_score), windows)


def best_first(found: Sequence[Found]) -> np.ndarray:
    """All regions (M, 2, 2), in the order of their scores."""
    regions = np.concatenate([np.zeros((0, 2, 2), np.float32)] + [r for r, _ in found])
    scores = np.concatenate([np.zeros(0, np.float32)] + [s for _, s in found])
    return regions[np.argsort(-scores, kind="stable")]


def importance(person: Landmarks) -> float:
    """How much a person counts: larger ones are nearer, those seen better more certain. The score alone is nearly 0 or 1."""
    return float(person.score * person.confidence.mean() * region_size(person.next_region))


def to_keypoints(people: Sequence[Landmarks], width: int, height: int, min_confidence: float) -> Keypoints:
    """The canonical keypoints; confidence 0 below `min_confidence` and outside the image."""
    if not people:
        return Keypoints.empty()
    uv = np.stack([p.uv for p in people])
    confidence = np.stack([p.confidence for p in people])
    inside = ((uv >= -0.5) & (uv < np.array([width, height]) - 0.5)).all(axis=-1)
    confidence = np.where(inside & (confidence >= min_confidence), confidence, 0).astype(np.float32)
    return Keypoints(
        from_blazepose(uv),
        from_blazepose(confidence[..., None])[..., 0],
        np.array([p.score for p in people], np.float32),
        from_blazepose(np.stack([p.world for p in people]).astype(np.float32), fill=np.nan),
    )
