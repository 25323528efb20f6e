"""What all tests share: no network, a cache of their own, repeatable properties."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from regraft.verbs.fitted import Fitted

# Set before any test imports a library that reads them, and inherited by child processes.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")  # children test this checkout too

# More examples of each property: make test ARGS='--hypothesis-profile thorough'
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=300)
hypothesis.settings.register_profile("default", deadline=None, max_examples=40)
hypothesis.settings.register_profile(
    "ci",
    hypothesis.settings.get_profile("default"),
    max_examples=25,
    derandomize=True,
    print_blob=True,
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config: pytest.Config) -> None:
    """The user's cache is neither read nor written: the tests have one that goes when they end."""
    cache = tempfile.TemporaryDirectory(prefix="regraft-tests-")
    os.environ["XDG_CACHE_HOME"] = cache.name
    os.environ.pop("REGRAFT_CACHE", None)  # would name the user's again
    config.add_cleanup(cache.cleanup)


@pytest.fixture(scope="session", autouse=True)
def _brief_latencies() -> Iterator[None]:
    """What answers take is timed on few of them: beside other processes threads crawl."""
    from regraft.verbs import latency

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("WARM", 1), ("FEWEST", 4), ("SECONDS", 0.1)):
            patch.setattr(latency, name, value)
        yield


# Pictures that a small network tells apart, and a model of them -----------------------------------

KINDS = ("disc", "square", "stripes")
SIDE = 64
Draw = Callable[[str, int], Image.Image]
WritePhotos = Callable[..., Path]


@pytest.fixture(scope="session")
def draw() -> Draw:
    """One of KINDS by a number, which decides all of it."""
    return draw_one


def draw_one(kind: str, number: int) -> Image.Image:
    rng = np.random.default_rng([KINDS.index(kind), number])
    picture = Image.fromarray(rng.integers(70, 180, (SIDE, SIDE, 3), dtype=np.uint8))
    pen, colour = ImageDraw.Draw(picture), tuple(int(v) for v in rng.integers(0, 256, 3))
    left, top = (int(v) for v in rng.integers(4, 28, 2))
    box = [left, top, left + (side := int(rng.integers(14, 34))), top + side]
    if kind == "disc":
        pen.ellipse(box, fill=colour)
    elif kind == "square":
        pen.rectangle(box, fill=colour)
    else:
        for x in range(left % 8, SIDE, 8):
            pen.line([x, 0, x, SIDE], fill=colour, width=2)
    return picture


@pytest.fixture(scope="session")
def write_photos() -> WritePhotos:
    """(folder, {class: numbers}, draws={class: kind}) → the folder, with a PNG file for each."""

    def write(
        folder: Path, numbers: Mapping[str, Sequence[int]], draws: Mapping[str, str] = {}
    ) -> Path:
        for name, some in numbers.items():
            kind = draws.get(name, name.rpartition("/")[2])
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number in some:
                draw_one(kind, number).save(folder / name / f"{number:03d}.png")
        return folder

    return write


@pytest.fixture(scope="session")
def photos(write_photos: WritePhotos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pictures of each kind in a folder of its name, and 2 more that belong elsewhere."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    write_photos(folder, {kind: range(20) for kind in KINDS})
    for kind, other in zip(KINDS, KINDS[1:] + KINDS[:1], strict=True):
        write_photos(folder, {kind: (90, 91)}, {kind: other})
    return folder


@pytest.fixture(scope="session")
def fitted(photos: Path) -> "Fitted":
    """A model of `photos`, its data and its report: the smallest real run, made once."""
    from regraft.verbs.fit import fit_and_report

    settings = {"backbone": "efficientnet-lite0", "size": SIDE, "engine": "openvino"}
    return fit_and_report(photos, parts=(0.5, 0.1, 0.4), resamples=200, **settings)


@pytest.fixture(scope="session")
def bundle(fitted: "Fitted", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `fitted` as a file."""
    return fitted.model.save(tmp_path_factory.mktemp("bundle") / "photos.regraft")


# Texts that a small network tells apart, and such a network ------------------------------------

TOPICS: Mapping[str, str] = {
    "cooking": "boil bake onion butter oven taste salt recipe",
    "trains": "platform ticket late carriage track station whistle rail",
    "weather": "rain cloud wind sunny storm snow cold forecast",
}
FILLERS = ("the", "a", "is", "was", "my", "your", "today", "very", "please", "about", "what", "how")


def sentence(topic: str, number: int) -> str:
    """About one of TOPICS; the number decides all of it."""
    rng = np.random.default_rng([list(TOPICS).index(topic), number])
    own = rng.choice(TOPICS[topic].split(), 2)
    rest = rng.choice(FILLERS, int(rng.integers(2, 9)))
    return " ".join(rng.permutation([*own, *rest])).capitalize() + f"? {number}"


@pytest.fixture(scope="session")
def write_sentence() -> Callable[[str, int], str]:
    """One of TOPICS by a number, which decides all of it."""
    return sentence


@pytest.fixture(scope="session")
def save_encoder() -> Callable[..., Path]:
    """Save a small encoder of texts, random, with a vocabulary for TOPICS; gives its folder."""
    return save_small_encoder


def save_small_encoder(
    folder: Path, kind: str = "BertModel", config: str = "BertConfig", **settings: object
) -> Path:
    import tokenizers
    import torch
    import transformers
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, *"?0123456789", *FILLERS, *" ".join(TOPICS.values()).split()]
    words += [f"##{n}" for n in "0123456789"]
    numbers = {word: i for i, word in enumerate(words)}
    vocabulary = tokenizers.Tokenizer(WordPiece(numbers, unk_token="[UNK]"))
    vocabulary.normalizer = BertNormalizer()
    vocabulary.pre_tokenizer = BertPreTokenizer()
    vocabulary.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    vocabulary.enable_padding(length=64)  # as published ones do; it must not be obeyed
    small = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    torch.manual_seed(0)
    made = getattr(transformers, config)(**{**small, **settings})
    net = getattr(transformers, kind)(made).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1:  # words count for more than where they stand
                parameter.normal_(0, 0.02 if "position" in name else 0.3)
    net.save_pretrained(folder)
    vocabulary.save(str(folder / "tokenizer.json"))
    return folder


# Whole detectors of transformers ------------------------------------------------------------------

LAYERS: dict[str, object] = {
    **{"encoder_hidden_dim": 16, "encoder_in_channels": [16, 24, 32], "encoder_ffn_dim": 16},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 16},
    **{"d_model": 16, "decoder_in_channels": [16, 16, 16], "decoder_layers": 2},
    **{"num_queries": 20, "num_denoising": 8},
}
WIDTHS = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
WIDTHS |= {"out_features": ["stage2", "stage3", "stage4"]}


@pytest.fixture(scope="session")
def save_detector() -> Callable[..., Path]:
    """Save a small detector of transformers, random, with its classes; gives its folder."""
    return save_small_detector


def save_small_detector(
    folder: Path, kind: str = "RTDetrV2", classes: Sequence[str] = ("disc", "cat"), size: int = 96
) -> Path:
    import torch
    import transformers

    more: dict[str, object] = {}
    backbone: object = transformers.RTDetrResNetConfig(
        embedding_size=8, layer_type="basic", **WIDTHS
    )
    if kind == "DFine":
        eight, one, more = [8, 8, 8, 8], [1, 1, 1, 1], {"depth_mult": 0.34}
        backbone = transformers.HGNetV2Config(
            **WIDTHS,
            **{"stem_channels": [3, 8, 8], "stage_in_channels": [8, 8, 16, 24]},
            **{"stage_mid_channels": eight, "stage_out_channels": WIDTHS["hidden_sizes"]},
            **{"stage_num_blocks": one, "stage_numb_of_layers": one},
        )
    names = dict(enumerate(classes))
    settings: dict[str, object] = {
        "id2label": names,
        "label2id": {v: k for k, v in names.items()},
        **LAYERS,
        **more,
    }
    config = getattr(transformers, f"{kind}Config")(backbone_config=backbone, **settings)
    torch.manual_seed(0)
    made = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
    with torch.no_grad():  # as it is built, all places look alike
        for name, tensor in made.state_dict().items():
            if name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
                tensor.uniform_(0.7, 1.3)
            elif "class_embed" in name or "enc_score_head" in name:
                tensor.normal_(0, 0.3)
    made.save_pretrained(folder)
    processor = transformers.RTDetrImageProcessor(size={"height": size, "width": size})
    processor.save_pretrained(folder)
    return folder


# Networks of sounds ------------------------------------------------------------------------------

LISTENERS: dict[str, dict[str, object]] = {
    "Whisper": {
        **{"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "max_source_positions": 100},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 60},
        **{"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_target_positions": 8},
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
    },
    "AST": {
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"intermediate_size": 64, "num_mel_bins": 32, "max_length": 128},
    },
    "": {
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"intermediate_size": 64, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16},
        **{"num_conv_pos_embedding_groups": 4, "codevector_dim": 8, "proj_codevector_dim": 8},
        **{"num_codevectors_per_group": 8, "vocab_size": 32},
    },
}


@pytest.fixture(scope="session")
def save_listener() -> Callable[..., Path]:
    """Save a small network of sounds, random, with what it hears; gives its folder."""
    return save_small_listener


def save_small_listener(folder: Path, kind: str = "WhisperModel", **settings: object) -> Path:
    import torch
    import transformers

    stem = kind.removesuffix("Model").partition("For")[0]
    made = getattr(transformers, f"{stem}Config")(**LISTENERS.get(stem, LISTENERS[""]) | settings)
    torch.manual_seed(0)
    net = getattr(transformers, kind)(made).eval()
    net.save_pretrained(folder)
    hears: dict[str, object] = {"num_mel_bins": 32, "max_length": 128} if stem == "AST" else {}
    own = {"Whisper": "Whisper", "AST": "AST"}.get(stem, "Wav2Vec2")
    getattr(transformers, f"{own}FeatureExtractor")(**hears).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def save_whisper() -> Callable[..., Path]:
    """Save a small Whisper with its decoder, random, and a tokenizer of bytes; gives its folder."""
    return save_small_whisper


def save_small_whisper(folder: Path, languages: tuple[str, ...] = (), **settings: object) -> Path:
    import json

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    names = ["endoftext", "startoftranscript", *languages, "transcribe", "notimestamps"]
    special = [f"<|{name}|>" for name in names]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    numbers = {token: i for i, token in enumerate([*letters, *special])}
    made = Tokenizer(models.BPE(numbers, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(special)
    sizes: dict[str, object] = {"max_target_positions": 24, "vocab_size": len(numbers)}
    save_small_listener(folder, "WhisperForConditionalGeneration", **(sizes | settings))
    made.save(str(folder / "tokenizer.json"))
    told = {"suppress_tokens": [3, 4], "begin_suppress_tokens": [numbers["<|endoftext|>"]]}
    told |= (
        {"lang_to_id": {f"<|{c}|>": numbers[f"<|{c}|>"] for c in languages}} if languages else {}
    )
    (folder / "generation_config.json").write_text(json.dumps(told))
    return folder
