"""`--backbone auto`: which backbone suits some images, by a quick probe of what is at hand.

Each candidate stays as it is and gets the head in closed form, fitted on some classes and measured on others that are
held out, the same for all: what `--preset fast` does, on a part of the images. What fine-tuning adds is not seen.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ml.data.datasets import Dataset
from ml.errors import LookalikeError
from ml.model.backbone import DEFAULT_BACKBONE
from ml.training import fit
from ml.training.config import TrainConfig, preset_config
from ml.training.features import Cache

log = logging.getLogger(__name__)

AUTO = "auto"
_IMAGES = 800  # of the probe: a minute on two cores for a small network or three
_BUDGET_S = 60.0
_LEAD = 0.01  # mAP@R; a slower backbone has to be ahead by more


@dataclass(frozen=True)
class Probed:
    """What a backbone reached: mAP@R of held-out images in 0..1, NaN where it failed, why, and seconds."""

    backbone: str
    map_at_r: float
    seconds: float
    reason: str = ""


def at_hand() -> list[str]:
    """Backbones whose weights are on this machine: the default, and timm's in the cache of the Hugging Face hub."""
    return [DEFAULT_BACKBONE, *_in_hub_cache()]


def _in_hub_cache() -> list[str]:
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, ValueError):
        return []
    names = []
    for repository in sorted(repositories, key=lambda each: each.size_on_disk):
        files = {file.file_name for revision in repository.revisions for file in revision.files}
        has_weights = any(Path(name).suffix in (".safetensors", ".bin") for name in files)
        if repository.repo_type == "model" and repository.repo_id.startswith("timm/") and has_weights:
            names.append(repository.repo_id.removeprefix("timm/"))
    return names


def probe(
    data: Dataset,
    candidates: list[str],
    config: TrainConfig,
    run_dir: Path,
    *,
    device: str = "auto",
    budget_s: float = _BUDGET_S,
    on_probed: Callable[[Probed], None] | None = None,
) -> list[Probed]:
    """Tries backbones, the smallest first, until the time is used up; the first is always tried.

    Args:
        data: labelled images; a part of them is used.
        candidates: texts that `ml.model.weights` understands.
        config: for the sizes of images and the choice of what is held out.
        run_dir: an empty folder to work in.
        device: auto, cuda or cpu.
        budget_s: seconds after which no further one begins.
        on_probed: told of every one.

    Returns:
        Those tried, the best first: by mAP@R, and where that differs by less than a point, the faster one first.

    Raises:
        LookalikeError: none of them can be used.
    """
    began = time.monotonic()
    some = _part(data, config.seed)
    found: list[Probed] = []
    for backbone in candidates:
        if found and time.monotonic() - began > budget_s:
            log.info("no time to probe %s", backbone)
            break
        found.append(_probed(backbone, some, config, run_dir, device))
        if on_probed:
            on_probed(found[-1])
    usable = sorted((one for one in found if not math.isnan(one.map_at_r)), key=lambda one: -one.map_at_r)
    if not usable:
        raise LookalikeError(f"no backbone can be probed: {found[0].reason}", hint="name one with --backbone")
    near = [one for one in usable if one.map_at_r > usable[0].map_at_r - _LEAD]
    best = min(near, key=lambda one: one.seconds)
    failed = [one for one in found if math.isnan(one.map_at_r)]
    return [best, *(one for one in usable if one is not best), *failed]


def _probed(backbone: str, data: Dataset, config: TrainConfig, run_dir: Path, device: str) -> Probed:
    began = time.monotonic()
    own = preset_config(
        "fast",
        backbone=backbone,
        test_px=config.test_px,
        holdout=max(config.holdout, 0.25),  # more than in training: few held-out classes would decide by chance
        split=config.split,
        seed=config.seed,
        mirror=False,
        tune=False,
    )
    try:
        fitted = fit.fit(
            own,
            data,
            run_dir,
            model=fit.prepare(own, data),
            resume=None,
            cache=Cache(),
            process_group=None,
            device=fit.device_of(device),
            on_progress=None,
            on_epoch=None,
        )
        value = fitted.metrics.get("held_out_map@r", math.nan)
        reason = "" if not math.isnan(value) else "too few classes or images to hold some out"
    except LookalikeError as error:
        value, reason = math.nan, error.message
    return Probed(backbone, value, time.monotonic() - began, reason)


def _part(data: Dataset, seed: int) -> Dataset:
    """At most so many images, in whole classes, so that neighbours stay as near as they are."""
    if len(data) <= _IMAGES:
        return data
    order = np.random.default_rng(abs(seed)).permutation(len(data.classes))
    counts = data.counts[order]
    chosen = order[: max(4, int(np.searchsorted(np.cumsum(counts), _IMAGES)))]
    rows = np.flatnonzero(np.isin(data.labels, chosen))
    if len(rows) > 2 * _IMAGES:  # a few large classes: of each a share
        rows = rows[:: len(rows) // _IMAGES]
    return replace(data.subset(rows), held=None)
