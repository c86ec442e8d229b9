"""What people look like: skin, hair and clothes of a whole batch, as values of the body's vertices. Counterpart of
`training.render_person` on a device.

Every vertex belongs to one layer, such as the sleeves; a person has a colour, a pattern and a thickness for each layer. Clothes and hair
stand out from the skin along its normals, uneven and cut off at their hems. Not modelled: skirts and coats, hair below the neck, things in hands.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hmr_ros import skeleton
from hmr_ros.body_model import BodyModel
from training.constants import constant
from training.draws import below, happens, normal, uniform
from training.render_person import (
    EYE_RADIUS_M,
    EYE_RGB,
    HAIR_RGB,
    MOUTH_BELOW_NOSE_M,
    MOUTH_HALF_SIZE_M,
    MOUTH_RGB,
    SKIN_RGB,
    both_sides,
)

LAYERS = (
    "skin", "hair", "nape", "beard", "mouth", "eyes", "shirt", "sleeves", "trousers", "shins", "shoes",
)  # fmt: skip
CLOTH, UPPER, LOWER = ("shirt", "sleeves", "trousers", "shins", "shoes"), ("shirt", "sleeves"), ("trousers", "shins")
LOOSEST_M = 0.035
"""How far clothes and hair stand out from the skin at most."""


class Appearance(NamedTuple):
    rgb: Tensor
    """(B, V, 3) in [0, 1]: reflectance."""
    relief: Tensor
    """(B, V, 1): darker and brighter places, such as folds, as a factor near 1."""
    cloth: Tensor
    """(B, V, 2): where on a piece of cloth a vertex is; the piece repeats, mirrored, every 1."""
    patterned: Tensor
    """(B, V, 2): opacity of the pattern of the upper and of the lower clothes."""
    piece: Tensor
    """(B, 2) int64: which pieces of cloth those are."""
    thickness_m: Tensor
    """(B, V)."""


class AppearanceSampler:
    def __init__(self, body: BodyModel, pieces: int, device: torch.device):
        """pieces: how many pieces of cloth there are to choose from."""
        self.pieces = pieces
        self.layer = torch.from_numpy(layers(body)).to(device)
        self.points = torch.from_numpy(body.v_template).to(device)
        skin, hair, eyes, mouth = (
            torch.from_numpy(a / 255).to(device) for a in (SKIN_RGB, HAIR_RGB, EYE_RGB, MOUTH_RGB)
        )
        self.skin, self.hair, self.eyes, self.mouth = skin, hair, eyes.float(), mouth.float()

    def __call__(self, batch: int, rng: torch.Generator) -> Appearance:
        colours, opacity, thickness = self._clothes(batch, rng)

        def of_layers(**values: Tensor) -> Tensor:
            """(B, V, ...) from (B, ...) each; 0 elsewhere."""
            nothing = torch.zeros_like(next(iter(values.values())))
            return torch.stack([values.get(name, nothing) for name in LAYERS], dim=1)[:, self.layer]

        uneven = 0.65 + 0.35 * self._ripples(batch, rng, 0.08, 0.4)
        folds = {name: uniform(rng, 0, 0.25, batch) for name in (*CLOTH, "hair", "nape", "beard")}
        relief = 1 + of_layers(skin=uniform(rng, 0, 0.1, batch), **folds) * self._ripples(batch, rng, 0.03, 0.15)
        upper, lower = opacity.unbind(1)
        patterned = [of_layers(**dict.fromkeys(part, value)) for part, value in ((UPPER, upper), (LOWER, lower))]
        # Sleeves without cloth are skin, and show no pattern.
        worn = of_layers(**{name: (thickness[name] > 0).float() for name in CLOTH})
        return Appearance(
            of_layers(**colours), relief.unsqueeze(-1), self._on_cloth(batch, rng),
            torch.stack(patterned, dim=-1) * worn.unsqueeze(-1), below(rng, self.pieces, batch, 2),
            of_layers(**thickness) * uneven,
        )  # fmt: skip

    def _clothes(self, batch: int, rng: torch.Generator) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Colours (B, 3) and thickness (B,) of layers, and the opacity (B, 2) of upper and lower clothes' patterns."""

        def either(probability: float, one: Tensor, other: Tensor | float) -> Tensor:
            return torch.where(happens(rng, probability, batch, *[1] * (one.dim() - 1)), one, other)

        tone = uniform(rng, 0, len(self.skin) - 1, batch, 1)
        lighter = tone.long().clamp_max(len(self.skin) - 2).squeeze(1)
        skin = torch.lerp(self.skin[lighter], self.skin[lighter + 1], tone - lighter[:, None])
        skin = skin * uniform(rng, 0.93, 1.07, batch, 3)
        hair = self.hair[below(rng, len(self.hair), batch)] * uniform(rng, 0.7, 1.3, batch, 1)
        shirt, trousers, shoes, hat = (random_cloth(batch, rng) for _ in range(4))
        trousers = either(0.1, shirt, trousers)
        loose = {name: 0.001 + LOOSEST_M * uniform(rng, 0, 1, batch) ** 2 for name in ("upper", "lower")}
        high = LOOSEST_M * uniform(rng, 0, 1, batch)

        bald, capped, long_hair, bearded, long_sleeves, shorts, barefoot = (
            happens(rng, probability, batch) for probability in (0.1, 0.08, 0.35, 0.12, 0.4, 0.3, 0.08)
        )

        def where(condition: Tensor, one: Tensor, other: Tensor) -> Tensor:
            return torch.where(condition[:, None], one, other)

        nothing = torch.zeros_like(high)
        colours = {
            "skin": skin, "eyes": self.eyes.expand(batch, 3), "hair": where(capped, hat, where(bald, skin, hair)),
            "nape": where(long_hair & ~bald, hair, skin), "beard": where(bearded, hair, skin),
            "mouth": 0.5 * self.mouth + 0.5 * skin * constant((0.8, 0.6, 0.6), skin.device),
            "shirt": shirt, "sleeves": where(long_sleeves, shirt, skin), "trousers": trousers,
            "shins": where(shorts, skin, trousers), "shoes": where(barefoot, skin, shoes),
        }  # fmt: skip
        thickness = {
            "hair": torch.where(bald & ~capped, nothing, high), "nape": torch.where(long_hair & ~bald, 0.3 * high, nothing),
            "beard": torch.where(bearded, 0.2 * high, nothing), "shirt": loose["upper"],
            "sleeves": torch.where(long_sleeves, loose["upper"], nothing), "trousers": loose["lower"],
            "shins": torch.where(shorts, nothing, loose["lower"]), "shoes": torch.where(barefoot, nothing, 0.1 * high),
        }  # fmt: skip
        opacity = happens(rng, 0.5, batch, 2) * uniform(rng, 0.5, 1, batch, 2)
        return colours, opacity, thickness

    def _on_cloth(self, batch: int, rng: torch.Generator) -> Tensor:
        """Coordinates of vertices on flat cloth in front of the body, turned, and tilted so that it is not edge-on at the sides. (B, V, 2)."""
        angle = uniform(rng, 0, 2 * math.pi, batch)
        along = torch.stack([torch.cos(angle), -torch.sin(angle), torch.sin(angle), torch.cos(angle)], 1)
        lean = uniform(rng, -0.7, 0.7, batch, 1, 2)
        return self.points @ (torch.cat([along.reshape(-1, 2, 2), lean], 1) / uniform(rng, 0.3, 0.8, batch, 1, 1))

    def _ripples(self, batch: int, rng: torch.Generator, shortest_m: float, longest_m: float, waves: int = 4) -> Tensor:
        """A smooth random function over the body, about -1 to 1. (B, V)."""
        towards = torch.nn.functional.normalize(normal(rng, batch, waves, 3), dim=-1)
        length = torch.exp(uniform(rng, math.log(shortest_m), math.log(longest_m), batch, waves, 1))
        phase = uniform(rng, 0, 2 * math.pi, batch, waves, 1)
        return torch.sin((2 * math.pi / length * towards) @ self.points.T + phase).sum(1) / math.sqrt(waves)


def random_cloth(batch: int, rng: torch.Generator) -> Tensor:
    """(B, 3) RGB in [0, 1]: any hue, mostly not too bright a colour."""
    hue, saturation = uniform(rng, 0, 6, batch, 1), 0.8 * uniform(rng, 0, 1, batch, 1) ** 1.5
    ramp = ((hue + constant((0, 4, 2), hue.device)) % 6 - 3).abs() - 1
    return uniform(rng, 0.08, 0.95, batch, 1) * (1 - saturation * (1 - ramp.clamp(0, 1)))


def layers(body: BodyModel) -> np.ndarray:
    """(V,) int64, index into LAYERS."""
    if body.region is None:
        raise ValueError("this body has no clothes regions to colour: render with body 'open'")
    part = np.array(skeleton.JOINT_NAMES)[body.weights.argmax(axis=1)]
    region = np.array(body.region_names)[body.region]
    at = {name: body.v_template[index] for name, index in skeleton.KEYPOINT_VERTICES.items()}
    x_y_z, head = body.v_template, (region == "skin") & np.isin(part, ("head", "neck"))
    mouth = at["nose"] - [0, MOUTH_BELOW_NOSE_M, 0.01]
    eyes = [np.linalg.norm(x_y_z - at[f"{side}_eye"], axis=1) for side in ("left", "right")]
    masks = {name: region == name for name in body.region_names} | {
        "sleeves": (region == "skin") & np.isin(part, both_sides("shoulder", "elbow")),
        "shins": (region == "trousers") & np.isin(part, both_sides("knee", "ankle")),
        "nape": head & (x_y_z[:, 2] < at["left_ear"][2] - 0.01),
        "beard": head & (part == "head") & (x_y_z[:, 1] < mouth[1] + 0.012) & (x_y_z[:, 2] > at["left_ear"][2]),
        "mouth": (((x_y_z - mouth) / MOUTH_HALF_SIZE_M) ** 2).sum(axis=1) < 1,
        "eyes": np.minimum(*eyes) < EYE_RADIUS_M,
    }
    layer = np.zeros(len(x_y_z), np.int64)
    for name in ("hair", "nape", "beard", "mouth", "eyes", "shirt", "trousers", "shoes", "sleeves", "shins"):
        layer[masks[name]] = LAYERS.index(name)
    return layer
