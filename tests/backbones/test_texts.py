"""Networks of texts: small checkpoints of each family, read as transformers itself reads them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from regraft.backbones.catalog import CatalogRow, catalog, families, find
from regraft.backbones.engines import ENGINES
from regraft.backbones.extractor import Extractor, extractor
from regraft.backbones.network import load_network
from regraft.backbones.parity import PARITY, difference
from regraft.backbones.readers import reader
from regraft.errors import BackboneError, UsageError
from regraft.modalities.spec import InputSpec

Save = Callable[..., Path]

# Checkpoint as it is published (with the head of its pretraining), its configuration, its layers.
MODERN = {"global_attn_every_n_layers": 2, "pad_token_id": 0, "reference_compile": False}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertModel", "BertConfig", {}),
    "bert-masked": ("BertForMaskedLM", "BertConfig", {}),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", {"pad_token_id": 0}),
    "mpnet": ("MPNetForMaskedLM", "MPNetConfig", {"pad_token_id": 0}),
    "electra": ("ElectraForPreTraining", "ElectraConfig", {"embedding_size": 32}),
    "distilbert": (
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    ),
    "modernbert": ("ModernBertForMaskedLM", "ModernBertConfig", MODERN),
}
TEXTS = ("the rain was cold", "salt", "please boil the onion in the oven", "my ticket is late")


@pytest.fixture(scope="module", params=CASES)
def folder(request: Any, save_encoder: Save, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind, config, settings = CASES[request.param]
    place = tmp_path_factory.mktemp("encoder") / request.param
    return save_encoder(place, kind, config, **settings)


@pytest.fixture(scope="module")
def row(folder: Path) -> CatalogRow:
    return find(f"folder:{folder}")


def prepared(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8)


def test_it_is_described_as_a_reader_of_texts(row: CatalogRow) -> None:
    assert row.spec.reads == families()[row.family].reads == "text"
    assert row.spec.size == 64 - families()[row.family].lost_positions
    assert row.tokenizer == "tokenizer.json"


def test_features_are_means_of_what_transformers_calls_hidden_states(
    row: CatalogRow, folder: Path
) -> None:
    network = load_network(row)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    read = reader(row.spec).open(row, row.spec)
    for text in TEXTS:
        ids = torch.tensor(read(prepared(text)))[None]
        with torch.inference_mode():
            states = theirs(ids, output_hidden_states=True)
            ours = network.features(ids)
        between = zip(ours[:2], states.hidden_states[:2], strict=True)
        for mine, one in (*between, (ours[-1], states.last_hidden_state)):
            torch.testing.assert_close(mine, one.mean(1), rtol=1e-4, atol=1e-4)


def test_engines_agree_and_nothing_depends_on_what_is_beside_it(
    row: CatalogRow, folder: Path
) -> None:
    every = [name for name, kind in ENGINES.items() if kind.runs_any and kind.version()]
    for name in every if folder.name == "bert" else ("openvino",):
        one = extractor(row, row.spec, name)
        texts = [prepared(t) for t in (*TEXTS, *(f"{t} today" for t in TEXTS), "about " * 90)]
        together = list(one.vectors(texts))
        network = load_network(row)
        for text, vector in zip(texts, together, strict=True):
            np.testing.assert_array_equal(vector, next(one.vectors([text])))
            with torch.inference_mode():
                truth = network(torch.tensor(one.read(text))[None])[0].numpy()
            assert difference(truth, vector, network.block_widths) <= PARITY


# What is asked of one family is not asked of all ------------------------------------------------


@pytest.fixture(scope="module")
def bert(save_encoder: Save, tmp_path_factory: pytest.TempPathFactory) -> CatalogRow:
    return find(f"folder:{save_encoder(tmp_path_factory.mktemp('bert'))}")


@given(st.text())
def test_tokens_are_those_of_transformers(bert: CatalogRow, text: str) -> None:
    text = text.encode(errors="ignore").decode()
    theirs = _theirs(bert.weights.origin)
    ours = reader(bert.spec).open(bert, bert.spec)(prepared(text))
    assert ours.tolist() == theirs(text, truncation=True, max_length=64)["input_ids"]


def _theirs(folder: str, known: dict[str, Any] = {}) -> Any:  # noqa: B006  kept on purpose
    if folder not in known:
        path = str(Path(folder) / "tokenizer.json")
        known[folder] = transformers.PreTrainedTokenizerFast(tokenizer_file=path)
        known[folder].backend_tokenizer.no_padding()
    return known[folder]


def test_a_text_is_cut_at_the_size(bert: CatalogRow) -> None:
    spec = bert.spec.at(8)
    ids = reader(spec).open(bert, spec)(prepared("rain " * 1000))
    assert ids.tolist()[0] == 2
    assert len(ids) == 8


def test_a_broken_vocabulary_is_named(save_encoder: Save, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path)
    (folder / "tokenizer.json").write_text('{"no": "vocabulary"}')
    row = find(f"folder:{folder}")
    with pytest.raises(BackboneError, match=r"tokenizer\.json: not a vocabulary"):
        Extractor(row, row.spec, "torch").read(prepared("x"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BackboneError, match=r"tokenizer\.json"):
        find(f"folder:{folder}")


def test_another_vocabulary_is_another_network(save_encoder: Save, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path)
    row = find(f"folder:{folder}")
    before = Extractor(row, row.spec, "torch").fingerprint
    found = json.loads((folder / "tokenizer.json").read_bytes())
    found["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(found))
    assert Extractor(row, row.spec, "torch").fingerprint != before


def test_too_few_tokens_are_refused(bert: CatalogRow) -> None:
    with pytest.raises(UsageError, match="size: 7 is not"):
        InputSpec(size=7, reads="text")
    with pytest.raises(UsageError, match="reads 16 tokens or more; got 8"):
        load_network(replace(bert, min_size=16), bert.spec.at(8))


def test_the_catalog_has_readers_of_texts() -> None:
    rows = [row for row in catalog().values() if row.spec.reads == "text"]
    assert len(rows) >= 7
    assert all(row.tokenizer and families()[row.family].reads == "text" for row in rows)


def test_the_default_tells_paraphrases_from_other_things() -> None:
    """Against what its makers say: cosines of the last block, 0.55 and more for paraphrases."""
    row = find("minilm-l6")
    one = extractor(row, row.spec, "openvino")
    a, b, c = (
        v[-384:]
        for v in one.vectors(
            [
                prepared(text)
                for text in (
                    "How do I reset my password?",
                    "I forgot my password, how can I change it?",
                    "The weather is lovely in Lisbon today.",
                )
            ]
        )
    )

    def cosine(x: Any, y: Any) -> float:
        return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    assert cosine(a, b) >= 0.55
    assert cosine(a, c) <= 0.2
