"""The Pentary library under its document's names: networks at five levels, over text, images and audio, trained, quantized and converted.

from pipeline.apps.pentary import LossFunction, PentaryModel, PentaryTrainer
model = PentaryModel(input_dim=64, output_dim=10, hidden_dims=[128, 64])
PentaryTrainer(model, LossFunction.cross_entropy_loss).train((x, y), epochs=40)
"""

from pipeline.apps.pentary.converters import ONNXToPentaryConverter, PyTorchToPentaryConverter
from pipeline.apps.pentary.layers import (
    BatchNorm,
    Conv2D,
    Linear,
    MaxPool2D,
    PentaryBatchNorm,
    PentaryConv2D,
    PentaryLinear,
    PentaryMaxPool2D,
    PentaryReLU,
    ReLU,
)
from pipeline.apps.pentary.losses import LossFunction
from pipeline.apps.pentary.model import PentaryModel
from pipeline.apps.pentary.multimodal import MultimodalFusion
from pipeline.apps.pentary.processors import AudioProcessor, ImageProcessor, TextProcessor
from pipeline.apps.pentary.quantizer import ModelQuantizer
from pipeline.apps.pentary.trainer import PentaryTrainer

__all__ = [
    "AudioProcessor",
    "BatchNorm",
    "Conv2D",
    "ImageProcessor",
    "Linear",
    "LossFunction",
    "MaxPool2D",
    "ModelQuantizer",
    "MultimodalFusion",
    "ONNXToPentaryConverter",
    "PentaryBatchNorm",
    "PentaryConv2D",
    "PentaryLinear",
    "PentaryMaxPool2D",
    "PentaryModel",
    "PentaryReLU",
    "PentaryTrainer",
    "PyTorchToPentaryConverter",
    "ReLU",
    "TextProcessor",
]
