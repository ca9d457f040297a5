"""The family `realnet`: a language model (`language`) or, on a data set of images, a classifier in pulse mode (`classifier`)."""

from collections.abc import Mapping
from typing import Any

from pipeline.data import features
from pipeline.errors import UserError
from pipeline.models.realnet import classifier, language
from pipeline.models.realnet.classifier import RealNetClassifier
from pipeline.models.realnet.language import RealNetLanguage
from pipeline.ops.reference_recurrent import ACTIVATIONS


def configuration(architecture: Any, vocab_size: int, eos: int | None, quintet: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a model from the family's block of params.yaml; `UserError` for fewer neurons than a classifier's ends need."""
    a = architecture
    ours = {**quintet, "family": "realnet", "dropout": a.dropout, "weight_init": a.weight_init}
    inputs, outputs = a.input_neurons or a.num_neurons, a.output_neurons or a.num_neurons
    if "features" in quintet:
        inputs, outputs = sum(feature.size for feature in features.layout(quintet)), len(quintet["classes"])
        if inputs + outputs > a.num_neurons:
            raise UserError(
                f"architecture.num_neurons = {a.num_neurons} is too few for {inputs} pixels and {outputs} classes, a neuron each: "
                f"set it to at least {inputs + outputs}"
            )
        ours["least_steps"] = a.least_steps or a.think_steps + 1
    return {
        "model_type": "realnet",
        "vocab_size": vocab_size,
        "num_neurons": a.num_neurons,
        "input_neurons": inputs,
        "output_neurons": outputs,
        "think_steps": a.think_steps,
        "activation": a.activation,
        "context": a.context,
        "eos_token_id": eos,
        "quintet": ours,
    }


def build(config: Mapping[str, Any]) -> RealNetClassifier | RealNetLanguage:
    """A module whose weights mean nothing yet: `initialize` it or load them. Raises `UserError` for an activation that there is not."""
    if (activation := config["activation"]) not in list(ACTIVATIONS):
        raise UserError(f"activation is {activation!r}: choose one of {', '.join(ACTIVATIONS)}")
    return RealNetClassifier(config) if config["quintet"]["task"] == "classification" else RealNetLanguage(config)


def initialize(module: RealNetClassifier | RealNetLanguage, seed: int) -> None:
    """Start a training."""
    if isinstance(module, RealNetClassifier):
        classifier.initialize(module, seed)
    else:
        language.initialize(module, seed)
