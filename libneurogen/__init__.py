"""NeuroGen, a spiking language model of six brain modules, under its own name.

import libneurogen

model = libneurogen.NeuroGenModel(vocab_size=50257, embedding_dim=512, gpu_device=-1)
loss = model.train_step(input_token_ids=[1, 2, 3, 4], target_token_ids=[2, 3, 4, 5])
output = model.generate(prompt_token_ids=[1, 2, 3], max_length=100, temperature=1.0)
model.save_checkpoint("checkpoint.bin")
"""

from pipeline.apps.neurogen.model import NeuroGenModel

__all__ = ["NeuroGenModel"]
