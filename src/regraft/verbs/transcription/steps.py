"""The two steps of a transcriber's training: its head on frozen moments, then network and head."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.padding import unended
from regraft.backbones.readers import reader
from regraft.modalities.base import Modality
from regraft.modalities.spec import InputSpec
from regraft.progress import Progress
from regraft.recipe import Recipe
from regraft.tasks.transcription.brought import brought
from regraft.tasks.transcription.decoder import language
from regraft.tasks.transcription.network import Transcriber, fresh_head, listening
from regraft.tasks.transcription.tokens import Tokens
from regraft.tasks.transcription.vocabulary import Vocabulary
from regraft.training.averaging import State, put
from regraft.training.devices import usual_precision, usual_workers
from regraft.training.examples import Augmented
from regraft.training.loop import Training
from regraft.training.plan import Plan
from regraft.training.spoken import HeldSpeech, KeptMoments, Speech, moments_of, prepared_sounds
from regraft.training.start import ADDITIONS, parts_that_learn
from regraft.training.strategies import strategy
from regraft.training.terms import Execution, Material, Part, Trained
from regraft.training.tuned import tuned_row
from regraft.verbs.transcription.prepare import Learnable
from regraft.verbs.transcription.settings import PLANNED, PROBE, strategy_of, uses_brought

HEAD: Mapping[str, Any] = {  # of the plan of a head that learns alone
    "rate": 2e-3,
    "batch": 16,
    "shallow": 1.0,
    "average": 0.1,
    "weight_decay": 0.02,
    "norm": "frozen",
    "augment": "none",
}
BODY: Mapping[str, Any] = {  # of one that learns with its network
    "batch": 16,
    "head": 4.0,
    "average": 0.1,
    "norm": "frozen",
    "augment": "tempo,hiss,time-mask=0.08,frequency-mask",
}
# Kind of a head → what of both plans is others: a decoder that writes already learns slowly.
OWN: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "spelling": ({}, {}),
    "linear": ({"rate": 1e-3}, {}),
    "decoder": ({"rate": 1e-4}, {"head": 1.0}),
}
HEARD = 8  # recordings by which a language is told
SURE = 1.0  # standard errors by which the tuned network must make fewer mistakes than the probe


@dataclass
class Steps:
    """What both steps work on.

    train, held  recordings to learn from and to judge by
    language     that a network of several is asked for
    trained      of a head that came with the network: what it was trained to hear
    """

    recipe: Recipe
    row: CatalogRow
    spec: InputSpec
    kind: Modality
    vocabulary: Vocabulary | Tokens
    train: Learnable
    held: Learnable
    progress: Progress
    language: str = ""

    def __post_init__(self) -> None:
        self.read = reader(self.spec).open(self.row, self.spec)
        network = listening(self.row, self.spec)
        if uses_brought(self.recipe, self.row):
            head, self.vocabulary, self.trained = brought(self.row, self.vocabulary.characters)
        else:
            head = fresh_head(network, len(self.vocabulary), self.seed)
        self.model = Transcriber(network, head)
        self.model.requires_grad_(False).eval()
        if isinstance(self.vocabulary, Tokens) and self.vocabulary.languages:
            self.vocabulary = self.vocabulary.among(self._language(self.vocabulary))
        self.sounds = prepared_sounds(self.held.files, self.kind, self.spec, self.read)

    def _language(self, tokens: Tokens) -> str:
        """The code of what is spoken in some of the recordings to learn from."""
        read = reader(self.trained).open(self.row, self.trained)
        sounds = prepared_sounds(self.train.files[:HEARD], self.kind, self.trained, read)
        heard = [torch.from_numpy(np.ascontiguousarray(sound))[None] for sound in sounds]
        self.language = language(self.model, heard, tokens.asked.prompt[0], tokens.languages)
        return self.language

    @property
    def seed(self) -> int:
        return self.recipe.seed

    # --- plans ------------------------------------------------------------------------------------

    def plan(self, name: str, steps: int) -> Plan:
        """The plan of a step by the strategy's name; what the user has set goes to the last one."""
        alone, together = OWN[self.model.head.facts.kind]
        whole = {} if name == PROBE else {**strategy(name).of("sound").settings}
        own = {**HEAD, **alone} if name == PROBE else {**whole, **BODY, **together}
        own.pop("loss", None)
        own |= {"precision": usual_precision(), "warmup": 0.1}
        if name == self.last:
            names = (*PLANNED, "warmup", "frozen", "augment")
            given = {n: getattr(self.recipe, n) for n in names}
            own |= {n: value for n, value in given.items() if value is not None}
            own["batch"] = self.recipe.batch or own["batch"]
        own["batch"] = min(own["batch"], len(self.train))
        return Plan(name, self.spec.size, steps, seed=self.seed, loss="ctc", **own)

    @property
    def last(self) -> str:
        return strategy_of(self.recipe)

    # --- the head ---------------------------------------------------------------------------------

    def head(self, steps: int, **settings: Any) -> Training:
        """The head on frozen moments; `settings` are those of `Training`."""
        plan = self.plan(PROBE, steps)
        if not hasattr(self, "_moments"):
            self._moments = KeptMoments(self._examples(plan), self.model.network)
            self._moments.fill(self.progress)
        head = self.model.head.requires_grad_(True)
        head.alone = True
        parts = [Part([*head.parameters()])]
        return self._training(head, parts, plan, self._moments, settings)

    def held_moments(self) -> HeldSpeech | None:
        """What judges a head."""
        if not len(self.held):
            return None
        found = [moments_of(self.model.network, sound) for sound in self.sounds]
        return HeldSpeech(torch.from_numpy(unended(found)), self.held.texts, self.vocabulary)

    # --- the network ------------------------------------------------------------------------------

    def add(self) -> None:
        """What the strategy puts into the network before it learns."""
        ADDITIONS[strategy(self.last).learns](self.model, self.row, self.seed)

    def network(self, steps: int, **settings: Any) -> Training:
        """The network with its head, from the probe on."""
        plan, wanted = self.plan(self.last, steps), strategy(self.last).of("sound")
        self.model.head.alone = False
        parts = parts_that_learn(self.model, wanted, self.row, plan)
        return self._training(self.model, parts, plan, self._examples(plan), settings)

    def held_sounds(self) -> HeldSpeech | None:
        """What judges a network."""
        if not len(self.held):
            return None
        sounds = torch.from_numpy(unended(self.sounds))
        return HeldSpeech(sounds, self.held.texts, self.vocabulary)

    def tuned(self) -> CatalogRow:
        """The tuned network as a row with weights of its own."""
        return tuned_row(self.model, self.row, self.spec, self.last)

    # --- both -------------------------------------------------------------------------------------

    def _examples(self, plan: Plan) -> Augmented:
        t, wanted = self.train, self.kind.augmentations(plan.augment)
        return Augmented(t.files, t.shas, self.kind, self.spec, wanted, plan.seed, self.read)

    def _training(
        self,
        model: nn.Module,
        parts: list[Part],
        plan: Plan,
        examples: Augmented,
        settings: dict[str, Any],
    ) -> Training:
        objective, r = Speech(self.train.texts, self.vocabulary), self.recipe
        labels = np.zeros(len(self.train), np.int64)
        material = Material(examples, labels, len(self.vocabulary), objective=objective)
        workers = usual_workers() if r.workers is None else r.workers
        workers = 0 if plan.strategy == PROBE else workers
        until = settings.pop("until", None)
        execution = Execution(workers, r.micro_batch, until=until, compiled=r.compile)
        return Training(model, parts, plan, material, execution=execution, **settings)


def best_state(
    model: nn.Module, trained: Trained, held: HeldSpeech | None, start: State | None = None
) -> tuple[State, str]:
    """The weights with the fewest mistakes on what is held back; else the averaged ones.

    start  of a head that could write before
    """
    offers = {"averaged": trained.average, "last": trained.last, "of an earlier look": trained.best}
    offers["as they came"] = start if held is not None else None
    named = {name: state for name, state in offers.items() if state is not None}
    if held is None:
        name = next(iter(named))
        return named[name], f"the {name} weights"
    found = {}
    for name, state in named.items():
        put(model, state)
        loss, errors = held.judged(model, torch.device("cpu"))
        found[name] = (float(errors.sum()), loss)
    name = min(found, key=lambda one: found[one])
    return named[name], f"the weights {name}: fewest mistakes on {len(held.texts)} held back"


def surely_fewer(before: Any, after: Any) -> bool:
    """Whether errors (m,) are fewer than before by more than chance."""
    gain = np.asarray(before) - np.asarray(after)
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    return bool(gain.mean() > SURE * error)
