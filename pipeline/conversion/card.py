"""The model card of an export: what the model is, what it was trained on, how to load it, how its input is written."""

from collections.abc import Mapping
from typing import Any

import jinja2

from pipeline.conversion import Source, weights
from pipeline.conversion.prompts import take
from pipeline.data import tokenizers
from pipeline.data.arithmetic import Codec
from pipeline.data.ready import description

TEMPLATE = """\
---
library_name: transformers
pipeline_tag: text-generation
tags: [quintet, quantized, {{ config.model_type }}]
---

# {{ name }}

A decoder-only transformer with Qwen3's tensors: {{ "{:,}".format(parameters) }} weights, {{ config.num_hidden_layers }} layers of width \
{{ config.hidden_size }}, a vocabulary of {{ config.vocab_size }} and a context of {{ config.max_position_embeddings }} tokens.

Every row of every matrix holds only {{ levels | join(" or ") }} different values, whole numbers times the row's scale. \
{% if packed %}This directory has them packed,
and `transformers` computes with them as they are, by the package of Quintet that made them.
{% else %}This directory has them written out as
float32, so that any program that reads Qwen3 can run it.
{% endif %}
## Data

Trained on the {{ config.quintet.task }} data set `{{ dataset.name }}`: {{ dataset.splits.train.documents }} documents, \
{{ dataset.splits.train.tokens }} tokens for training.
{% for key, value in dataset.source | dictsort %}
- {{ key }}: {{ value }}
{%- endfor %}

## Use

```python
import torch
{% if packed %}import pipeline.conversion.transformers_quantizer  # how the weights are packed: without it transformers leaves them random
{% endif %}from transformers import AutoModelForCausalLM, AutoTokenizer

directory = "."  # the path of this directory; no code is loaded from it
model = AutoModelForCausalLM.from_pretrained(directory)
tokenizer = AutoTokenizer.from_pretrained(directory)
prompt = torch.tensor([tokenizer.encode({{ prompt }})])
output = model.generate(prompt, max_new_tokens={{ length - given }})
print(tokenizer.decode(output[0, prompt.shape[1]:]))
```

{% if packed %}The export `huggingface` of the same model has float32 weights, which need no package but `transformers`: the same code
without its second line.
{% else %}The export `huggingface_packed` of the same model has packed weights, a small part of the size: the same code after
`import pipeline.conversion.transformers_quantizer`, with Quintet installed.
{% endif %}{% if codec %}
## How a problem is written

The model reads and writes numbers in columns of a fixed width, the least significant digit first, filled up with zeros: \
`{{ equation }}` is `{{ written }}`.
An operand has {{ codec.operand_width }} columns, an answer {{ codec.answer_width }}; a negative number is its ten's complement: -1 as an \
answer is `{{ "9" * codec.answer_width }}`.
{%- if "//" in codec.operators %} The operator // is written /.{% endif %}
It knows {{ codec.operands }} operands from {{ codec.minimum }} to {{ codec.maximum }}, the operators {{ codec.operators | join(" ") }}, \
answers from {{ codec.answer_minimum }} to {{ codec.answer_maximum }}.
The same is in `config.json` under `quintet.codec`.
{% else %}
## Limits

It continues text in the manner of its training data and knows nothing else.
{% endif %}"""


def write(source: Source, config: Mapping[str, Any], parameters: int, packed: bool) -> str:
    """The card's Markdown, for packed or float weights; its example is a prompt from the validation split."""
    tokens_BT, given = take(source.ready, config)
    example: list[int] = tokens_BT[len(tokens_BT) // 2].tolist()
    tokenizer = tokenizers.load(source.model)
    codec = Codec.from_dict(config["quintet"]["codec"]) if config["quintet"]["task"] == "arithmetic" else None
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(TEMPLATE).render(
        name=source.name,
        config=config,
        dataset=description(source.ready),
        parameters=parameters,
        packed=packed,
        levels=sorted({matrix.levels for matrix in weights.quantized(source.model)[1].values()}),
        codec=codec,
        prompt=repr(tokenizer.decode(example[:given])),
        given=given,
        length=len(example),
        equation=codec.decode(example) if codec else "",
        written=tokenizer.decode(example[:-1]),
    )
