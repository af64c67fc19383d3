"""A model of a few kilobytes that `transformers` takes for a real one."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence

from facades import Facades
from server_fixtures import forge_toml
from tensors import typed

WORDS = ("[PAD]", "[UNK]", "salam", "azul", "bonjour", "hello")
_WIDTH, _INNER, _PLACES = 8, 16, 16
_NORM = {"weight": (_WIDTH,), "bias": (_WIDTH,)}
_LAYER = "bert.encoder.layer.0"
_SHAPES: dict[str, Sequence[int]] = {
    "bert.embeddings.word_embeddings.weight": (len(WORDS), _WIDTH),
    "bert.embeddings.position_embeddings.weight": (_PLACES, _WIDTH),
    "bert.embeddings.token_type_embeddings.weight": (2, _WIDTH),
    **{f"{at}.LayerNorm.{name}": shape
       for at in ("bert.embeddings", f"{_LAYER}.attention.output", f"{_LAYER}.output")
       for name, shape in _NORM.items()},
    **{f"{at}.{name}": shape
       for at in (*(f"{_LAYER}.attention.self.{part}" for part in ("query", "key", "value")),
                  f"{_LAYER}.attention.output.dense", "bert.pooler.dense")
       for name, shape in {"weight": (_WIDTH, _WIDTH), "bias": (_WIDTH,)}.items()},
    f"{_LAYER}.intermediate.dense.weight": (_INNER, _WIDTH),
    f"{_LAYER}.intermediate.dense.bias": (_INNER,),
    f"{_LAYER}.output.dense.weight": (_WIDTH, _INNER),
    f"{_LAYER}.output.dense.bias": (_WIDTH,),
    "classifier.weight": (2, _WIDTH),
    "classifier.bias": (2,),
}  # fmt: skip


def files(seed: int) -> dict[str, bytes]:
    """Configuration, tokenizer and weights of a classifier of texts, the same for a ``seed``."""
    config = {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert",
        "vocab_size": len(WORDS), "hidden_size": _WIDTH, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": _INNER, "pad_token_id": 0,
        "max_position_embeddings": _PLACES, "type_vocab_size": 2,
        "id2label": {"0": "ary", "1": "zgh"}, "label2id": {"ary": 0, "zgh": 1},
    }  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel", "unk_token": "[UNK]",
            "vocab": {word: at for at, word in enumerate(WORDS)},
        },
    }  # fmt: skip
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]",
        "model_max_length": _PLACES,
    }  # fmt: skip
    return {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": json.dumps(tokenizer).encode(),
        "tokenizer_config.json": json.dumps(about).encode(),
        "model.safetensors": _weights(seed),
    }


def _weights(seed: int) -> bytes:
    source, values = random.Random(seed), {}
    for name, shape in _SHAPES.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        data = struct.pack(f"<{count}f", *(source.uniform(-1, 1) for _ in range(count)))
        values[name] = ("F32", shape, data)
    return typed(values)


def publish(facades: Facades, name: str = "tiny", version: str = "1.0.0") -> dict[str, bytes]:
    """Publishes such a model; returns its files."""
    toml = forge_toml(name, version, summary="A classifier") + b'tasks = ["text-classification"]\n'
    content = files(seed=1)
    facades.sara.publish(facades.world.release(name, version, files=content, toml=toml))
    return content
