"""Whether pretrained networks truly classify: how many labelled ImageNet photos each gets right.

    python benchmarks/pretrained_check.py FOLDER --json out.json [--backbone NAME ...]

FOLDER holds photos named ``imagenet_NN_LABEL.jpg`` with LABEL in 0..999, as the data folder of the
PyPI package foolbox does (20 photos, MIT). Right weights in a wrong variant of an architecture load
without an error; that shows here, and in the self-check of the catalog's rows.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regraft.backbones.catalog import find
from regraft.backbones.network import class_names, load_network
from regraft.modalities.image import MODALITY

NAME = re.compile(r"imagenet_\d+_(\d+)\.(?:jpg|png)")
DEFAULTS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")


def labelled(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in sorted(folder.iterdir()):
        if found := NAME.fullmatch(path.name):
            yield path, int(found[1])


def judge(name: str, photos: Sequence[tuple[Path, int]]) -> dict[str, Any]:
    row = find(name)
    network = load_network(row)
    pictures = [
        MODALITY.prepare(
            MODALITY.decode(path.read_bytes(), path.name, row.spec).raw, row.spec, "centre"
        )
        for path, _ in photos
    ]
    with torch.inference_mode():
        logits = network.logits(torch.from_numpy(np.stack(pictures)))
    top5, names = logits.topk(5).indices.tolist(), class_names(row)
    return {
        "photos": len(photos),
        "right": sum(label == best[0] for best, (_, label) in zip(top5, photos, strict=True)),
        "right_in_five": sum(label in best for best, (_, label) in zip(top5, photos, strict=True)),
        "wrong": [
            {"file": path.name, "label": names[label], "answer": names[best[0]]}
            for best, (path, label) in zip(top5, photos, strict=True)
            if label != best[0]
        ],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", action="append", help="a name; may be given several times")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    options = parser.parse_args(arguments)
    photos = list(labelled(options.folder))
    if not photos:
        parser.error(f"{options.folder}: no files named imagenet_NN_LABEL.jpg")
    result = {name: judge(name, photos) for name in options.backbone or DEFAULTS}
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
