"""The RealNet library: the network, its trainer, growth, checkpoints, and data.

from pipeline.apps.realnet import RealNet, RealNetTrainer
model = RealNet(3, [0, 1], [2])
RealNetTrainer(model).fit(X, Y, epochs=100, thinking_steps=5)
"""

from pipeline.apps.realnet.anytime import accuracy_by_steps, plot_accuracy, think
from pipeline.apps.realnet.data import prepare_input, to_tensor
from pipeline.apps.realnet.realstore import get_checkpoint_info, load, load_checkpoint, save_checkpoint, transplant_weights
from pipeline.apps.realnet.trainer import RealNetTrainer
from pipeline.models.realnet.network import RealNet

__all__ = [
    "RealNet",
    "RealNetTrainer",
    "accuracy_by_steps",
    "get_checkpoint_info",
    "load",
    "load_checkpoint",
    "plot_accuracy",
    "prepare_input",
    "save_checkpoint",
    "think",
    "to_tensor",
    "transplant_weights",
]
