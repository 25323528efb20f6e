"""Training on texts: the same loop, on batches of unequal length."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regraft.backbones.catalog import families, find
from regraft.backbones.network import load_network
from regraft.backbones.padding import by_length, padded
from regraft.backbones.readers import reader
from regraft.data.inline import contents
from regraft.errors import UsageError
from regraft.training.averaging import copied
from regraft.training.checkpoints import Checkpoints
from regraft.training.contrast import supervised_contrast
from regraft.training.examples import Steps, Turn, loader
from regraft.training.judging import logits_of
from regraft.training.strategies import STRATEGIES, refusal, strategy
from regraft.training.terms import Execution
from regraft.training.tuned import tuned_row

Setting = Any  # of conftest.py
Save = Callable[..., Path]
CPU = torch.device("cpu")

MODERN = {"global_attn_every_n_layers": 2, "pad_token_id": 0, "reference_compile": False}
DISTIL = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}
NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertModel", "BertConfig", {}),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", {"pad_token_id": 0}),
    "mpnet": ("MPNetForMaskedLM", "MPNetConfig", {"pad_token_id": 0}),
    "electra": ("ElectraForPreTraining", "ElectraConfig", {"embedding_size": 32}),
    "distilbert": ("DistilBertForMaskedLM", "DistilBertConfig", DISTIL),
    "modernbert": ("ModernBertForMaskedLM", "ModernBertConfig", MODERN),
}
TRAINING = [name for name, row in STRATEGIES.items() if row.trains]


@pytest.fixture(scope="module", params=NETWORKS)
def network(
    request: Any,
    save_encoder: Save,
    setting_of_texts: Callable[[Path], Setting],
    tmp_path_factory: pytest.TempPathFactory,
) -> Setting:
    """A setting with a small network of each architecture."""
    kind, config, settings = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp("network") / request.param
    return setting_of_texts(save_encoder(folder, kind, config, **settings))


def tokens(setting: Setting) -> list[np.ndarray]:
    """Of the examples to learn from."""
    read = reader(setting.spec).open(setting.row, setting.spec)
    return [read(np.frombuffer(contents(f), np.uint8)) for f in setting.lesson.files]


def test_a_text_in_a_padded_batch_gives_what_it_gives_alone(network: Setting) -> None:
    net, examples = load_network(network.row, network.spec), tokens(network)
    assert len(set(map(len, examples))) > 3
    with torch.no_grad():
        alone = torch.cat([net(torch.from_numpy(one)[None]) for one in examples])
        together = net(torch.from_numpy(padded(examples)))
    assert float((together - alone).abs().max()) <= 1e-5 * max(1, float(alone.abs().max()))


def test_what_is_beside_a_text_leaves_its_gradient_alone(texts: Setting) -> None:
    net = load_network(texts.row, texts.spec).requires_grad_(True)
    some = tokens(texts)[:4]

    def gradient(batches: list[torch.Tensor]) -> torch.Tensor:
        net.zero_grad()
        sum((net(batch) ** 2).sum() for batch in batches).backward()  # type: ignore[union-attr]
        return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])

    alone = gradient([torch.from_numpy(one)[None] for one in some])
    together = gradient([torch.from_numpy(padded(some))])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4 * float(alone.abs().max()))


@pytest.mark.parametrize("name", TRAINING)
def test_each_strategy_trains_or_is_refused_in_plain_words(name: str, network: Setting) -> None:
    if reason := refusal(strategy(name), network.row):
        assert f"{name}: networks of the family" in reason
        with pytest.raises(UsageError, match="do not offer"):
            network.ready(name)
        return
    made = network.ready(name, steps=2, rate=0.01)
    before = copied(dict(made.model.named_parameters()))
    held = made.held(network.lesson)
    run = made.training(held=held)
    trained = run.run()
    after = dict(run.model.named_parameters())
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert moved <= run.learning
    assert {"linear.weight", "linear.bias"} < moved
    assert trained.steps == 2
    assert np.isfinite(held.logits(run.model, run.device)).all()


def test_every_family_of_texts_offers_what_is_tried_here() -> None:
    rows = [family for family in families().values() if family.reads == "text"]
    tried = {families()[f"transformers-{name}"].name for name in ("bert", "roberta", "distilbert")}
    assert tried | {"transformers-modernbert"} == {family.name for family in rows}
    assert all({"tune-norm", "lp-ft", "lora", "full"} <= set(f.operations) for f in rows)


def test_it_learns(texts: Setting) -> None:
    run = texts.ready("copy", steps=40, rate=3e-3, augment="none").training(held=texts.held)
    trained = run.run()
    assert run.start is not None
    assert trained.curve[-1].loss < 0.1 * trained.curve[0].loss
    assert min(p.held_loss or 9.0 for p in trained.curve) < 0.8 * run.start.loss


def test_pieces_of_like_length_give_the_gradient_of_the_whole_batch(texts: Setting) -> None:
    ends = []
    for micro in (None, 3, 1):
        made = texts.ready("lp-ft", steps=3, batch=9, rate=1e-2, optimiser="sgd")
        ends.append(made.training(execution=Execution(micro=micro)).run().last)
    for other in ends[1:]:
        for name, tensor in ends[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-5)


def test_logits_stand_in_the_order_of_the_examples(texts: Setting) -> None:
    model = texts.ready("lp-ft").model
    logits = texts.held.logits(model, CPU)
    one_by_one = [logits_of(model, row[row >= 0][None], CPU)[0] for row in texts.held.pixels]
    np.testing.assert_allclose(logits, np.stack(one_by_one), rtol=1e-4, atol=1e-4)
    assert texts.held.cut is by_length


def test_batches_are_padded_tokens_of_augmented_texts(texts: Setting) -> None:
    made = texts.ready("lp-ft", augment="word-drop=0.4")
    examples = made.material.examples
    batch = next(iter(loader(examples, Steps(texts.lesson.labels, 7, range(2, 3), 0))))
    assert batch.pixels.dtype == torch.int64
    assert batch.pixels.shape == (7, int((batch.pixels >= 0).sum(1).max()))
    epochs = [[examples[Turn(e, i)][0].tolist() for i in range(6)] for e in (0, 0, 1)]
    assert epochs[0] == epochs[1] != epochs[2]


@pytest.mark.parametrize("workers", [2])
def test_the_number_of_workers_changes_nothing(texts: Setting, workers: int) -> None:
    ends = [
        texts.ready("lp-ft", augment="medium").training(execution=Execution(workers=w)).run().last
        for w in (0, workers)
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize("name", ["lp-ft", "lora", "full"])
def test_it_goes_on_exactly_where_a_checkpoint_left_it(
    texts: Setting, name: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"steps": 6, "augment": "medium", "rate": 1e-3}
    whole = texts.ready(name, **settings).training(held=texts.held).run()
    for last in (2, 6):
        run = texts.ready(name, **settings).training(
            held=texts.held, checkpoints=Checkpoints(tmp_path, "key")
        )
        if last < 6:
            stops = iter([False] * last + [True])
            run._stops = lambda interrupts, stops=stops: next(stops)  # type: ignore[misc]
        ended = run.run()
    assert ended.steps == 6
    assert [p.loss for p in ended.curve] == [p.loss for p in whole.curve]
    for ours, theirs in ((ended.last, whole.last), (ended.average or {}, whole.average or {})):
        assert all(torch.equal(ours[n], theirs[n]) for n in theirs)


@pytest.mark.parametrize("name", ["lp-ft", "lora", "tune-norm"])
def test_a_tuned_network_is_a_row_with_its_vocabulary(texts: Setting, name: str) -> None:
    made = texts.ready(name, steps=2, rate=1e-2)
    run = made.training()
    run.run()
    row = tuned_row(run.model, texts.row, texts.spec, name)
    assert (Path(row.weights.origin) / row.tokenizer).is_file()
    again, plain = load_network(row, texts.spec), load_network(texts.row, texts.spec)
    one = torch.from_numpy(tokens(texts)[0])[None]
    with torch.no_grad():
        torch.testing.assert_close(again(one), run.model.network(one), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(again(one), plain(one), atol=1e-4)
    read = reader(row.spec).open(row, row.spec)
    text = np.frombuffer(b"the rain was cold", np.uint8)
    assert read(text).tolist() == reader(row.spec).open(texts.row, row.spec)(text).tolist()


def test_a_published_network_is_found_by_its_row() -> None:
    row = find("minilm-l6")
    assert not refusal(strategy("lp-ft"), row)
    assert "do not offer 'partial'" in str(refusal(strategy("partial"), row))


# --- pairs ---------------------------------------------------------------------------------------


def contrast_of_the_paper(z: np.ndarray, labels: np.ndarray, temperature: float) -> list[float]:
    """Equation 2 of Khosla et al. 2020, as it stands there."""
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    costs = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        alike = [p for p in others if labels[p] == labels[i]]
        below = sum(np.exp(z[i] @ z[a] / temperature) for a in others)
        terms = [np.log(np.exp(z[i] @ z[p] / temperature) / below) for p in alike]
        costs.append(-sum(terms) / len(alike) if alike else 0.0)
    return costs


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_pairs_cost_what_the_paper_says(temperature: float) -> None:
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(9, 5)), np.array([0, 0, 1, 1, 1, 2, 3, 3, 0])
    ours = supervised_contrast(torch.tensor(z), torch.eye(4).double()[labels], temperature)
    np.testing.assert_allclose(ours, contrast_of_the_paper(z, labels, temperature), rtol=1e-6)


def test_pairs_over_pieces_give_the_gradient_of_the_whole_batch(texts: Setting) -> None:
    settings: dict[str, Any] = {"steps": 3, "batch": 9, "rate": 1e-2, "optimiser": "sgd"}
    ends = []
    for micro in (None, 4, 1):
        made = texts.ready("contrastive", **settings, clip=0.0)
        ends.append(made.training(execution=Execution(micro=micro)).run().last)
    plain = texts.ready("contrastive", **settings, loss="cross-entropy", clip=0.0)
    for other in ends[1:]:
        for name, tensor in ends[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-5)
    moved = plain.training().run().last
    assert any(not torch.allclose(moved[name], ends[0][name], atol=1e-4) for name in moved)


def test_the_gradient_of_pairs_is_that_of_one_call(texts: Setting) -> None:
    """Against autograd on the whole padded batch."""
    run = texts.ready("contrastive", steps=1, batch=9).training()
    (batch,) = run.batches(range(1), 0)
    run._set_mode()
    (losses,) = run._backward(batch)
    moving = [p for p in run.model.parameters() if p.grad is not None]
    ours = [p.grad for p in moving]
    targets = torch.eye(3)[torch.as_tensor(run.material.labels)[batch.places]]
    logits, embedding = run.model(batch.pixels, embedding=True)
    whole = run.objective.losses(logits, targets, embedding)
    torch.testing.assert_close(losses, whole, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(ours, torch.autograd.grad(whole.mean(), moving), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_the_head_may_learn_faster_than_the_body(texts: Setting) -> None:
    parts = texts.ready("lp-ft", steps=2, head=20.0).training().parts
    assert [part.rate_factor for part in parts[-2:]] == [1.0, 20.0]
    assert strategy("lp-ft").of("text").settings["loss"] == "cross-entropy"  # no smoothing
