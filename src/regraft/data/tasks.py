"""What examples are for, and how a person says so."""

from regraft.data import transcripts
from regraft.errors import UsageError

USUAL_TASK = "classification"
# What a person says → the task.
TASKS = {
    "classify": USUAL_TASK,
    "detect": "detection",
    "transcribe": transcripts.TASK,
    "tags": "tags",
    "regression": "regression",
}
WANTS = {
    USUAL_TASK: "class folders or a manifest with a column of labels",
    "detection": "boxes as COCO, Pascal VOC, YOLO or a CSV with path, label, x1, y1, x2, y2",
    transcripts.TASK: "a manifest with a column of recordings and one of transcripts",
    "tags": "a manifest with a column of tags, or one of 0 and 1 for each",
    "regression": "a manifest with one column of numbers, or several",
}


def task_named(name: str) -> str:
    """The task that a person's word asks for: a key of TASKS, or one of its names."""
    known = TASKS | {task: task for task in TASKS.values()}
    if name not in known:
        raise UsageError(f"task: {name!r} is not known; choose one of {', '.join(TASKS)}")
    return known[name]
