"""The Hugging Face Trainer: accuracy on the measured part after each epoch, with the time.

    python trainer_peer.py TRAIN_AND_TEST_FOLDER MEASURED_PART SIZE EPOCHS SEED BEGUN [NAME=VALUE]

The transforms of the library's own example for image classification (random crop and flip; centre
crop to measure), the defaults of TrainingArguments but for two loader workers; NAME=VALUE, such as
learning_rate=5e-4, sets others.
"""

import ast
import sys
import tempfile
from typing import Any

import torch
from peers import ARCHITECTURE, Clock, put_weights
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from transformers import (
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


class Timed(TrainerCallback):
    """Tells the clock when epochs end."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_begin(self, *about: Any, **more: Any) -> None:
        self.clock.training()

    def on_epoch_end(self, *about: Any, **more: Any) -> None:
        self.clock.evaluating()

    def on_evaluate(self, *about: Any, metrics: dict[str, float], **more: Any) -> None:
        self.clock.evaluated(float(metrics["eval_accuracy"]))


def pictures(folder: str, *geometry: Any) -> ImageFolder:
    """RGB, as the weights want them."""
    end = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    return ImageFolder(folder, v2.Compose([*geometry, *end]))


def together(items: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    pixels, labels = zip(*items, strict=True)
    return {"pixel_values": torch.stack(pixels), "labels": torch.tensor(labels)}


def arguments(out: str, epochs: str, seed: str, own: tuple[str, ...]) -> TrainingArguments:
    given = dict(setting.split("=", 1) for setting in own)
    return TrainingArguments(
        output_dir=out,
        num_train_epochs=float(epochs),
        seed=int(seed),
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=2,
        **{name: ast.literal_eval(value) for name, value in given.items()},
    )


def main(data: str, part: str, size: str, epochs: str, seed: str, begun: str, *own: str) -> None:
    clock = Clock(float(begun))
    set_seed(int(seed))
    side = int(size)
    train = pictures(f"{data}/train", v2.RandomResizedCrop(side), v2.RandomHorizontalFlip())
    held = pictures(f"{data}/{part}", v2.Resize(side), v2.CenterCrop(side))
    config = TimmWrapperConfig(architecture=ARCHITECTURE, num_labels=len(train.classes))
    model = TimmWrapperForImageClassification(config)
    put_weights(model.timm_model)
    with tempfile.TemporaryDirectory() as out:
        trainer = Trainer(
            model,
            arguments(out, epochs, seed, own),
            train_dataset=train,
            eval_dataset=held,
            data_collator=together,
            compute_metrics=lambda seen: {
                "accuracy": float((seen.predictions.argmax(1) == seen.label_ids).mean())
            },
            callbacks=[Timed(clock)],
        )
        trainer.train()
    clock.tell()


if __name__ == "__main__":
    main(*sys.argv[1:])
