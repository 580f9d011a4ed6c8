"""Writes a tiny but valid llama model: hand-made weights that always say one sentence, or call one tool."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType

_ROLES = ("system", "developer", "user", "assistant", "tool")
_LAYERS = 1
_HEADS = 8
_FEED_FORWARD = 64
_EOS = 2

# The shape of Hermes and Qwen templates, from which llama.cpp knows how this model writes tool calls.
_TEMPLATE = """{%- if tools %}<|system|># Tools
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>
For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call></s>{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}<|assistant|>{% if message.content %}{{ message.content }}{% endif %}
{%- if message.tool_calls %}{%- for call in message.tool_calls %}
{%- if call.function %}{%- set call = call.function %}{%- endif %}
<tool_call>
{"name": "{{ call.name }}", "arguments": {{ call.arguments | tojson }}}
</tool_call>{%- endfor %}{%- endif %}</s>
{%- elif message.role == 'tool' %}<|tool|><tool_response>
{{ message.content }}
</tool_response></s>
{%- else %}<|{{ message.role }}|>{{ message.content }}</s>
{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% if tools and messages[-1].role != 'tool' %}<|call|>{% endif %}{% endif %}"""


@dataclass(slots=True)
class _Vocabulary:
    """Tokens in order, and which token follows which."""

    tokens: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    follows: dict[int, int] = field(default_factory=dict)

    def add(self, token: str, kind: TokenType) -> int:
        self.tokens.append(token)
        self.kinds.append(int(kind))
        return len(self.tokens) - 1

    def chain(self, tokens: Sequence[int]) -> None:
        self.follows.update(pairwise([*tokens, _EOS]))


def write_tiny_model(path: Path, *, reply: str, tool_call: tuple[str, Mapping[str, Any]], context: int = 4096) -> None:
    """A model that answers `reply`, or calls the tool when tools are offered and none has answered yet.

    Its only memory is the last token, so no two words of `reply` may be the same: ValueError if they are.
    """
    vocabulary = _vocabulary(reply, tool_call)
    width = -(-len(vocabulary.tokens) // (2 * _HEADS)) * 2 * _HEADS
    writer = GGUFWriter(path, "llama")
    _describe(writer, vocabulary, width, context)
    for name, tensor in _tensors(vocabulary, width):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary(reply: str, tool_call: tuple[str, Mapping[str, Any]]) -> _Vocabulary:
    vocabulary = _Vocabulary()
    vocabulary.add("<unk>", TokenType.UNKNOWN)
    vocabulary.add("<s>", TokenType.CONTROL)
    vocabulary.add("</s>", TokenType.CONTROL)
    for byte in range(256):
        vocabulary.add(f"<0x{byte:02X}>", TokenType.BYTE)
    roles = {role: vocabulary.add(f"<|{role}|>", TokenType.CONTROL) for role in _ROLES}
    calling = vocabulary.add("<|call|>", TokenType.CONTROL)
    characters = {character: vocabulary.add(character, TokenType.NORMAL) for character in ["\u2581", *map(chr, range(33, 127))]}
    words = [word if index == 0 else f" {word}" for index, word in enumerate(reply.split())]
    if len(set(words)) != len(words):
        raise ValueError("every word of the reply must be different")
    spoken = [characters.get(word) or vocabulary.add(word, TokenType.USER_DEFINED) for word in words]
    vocabulary.chain([roles["assistant"], *spoken])
    name, arguments = tool_call
    call = json.dumps({"name": name, "arguments": dict(arguments)})
    written = [vocabulary.add(text, TokenType.USER_DEFINED) for text in ("<tool_call>", f"\n{call}\n", "</tool_call>")]
    vocabulary.chain([calling, *written])
    return vocabulary


def _describe(writer: GGUFWriter, vocabulary: _Vocabulary, width: int, context: int) -> None:
    size = len(vocabulary.tokens)
    writer.add_name("tiny-llama")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(width // _HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(size)
    writer.add_file_type(1)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_scores([-1000.0 if kind == TokenType.NORMAL else 0.0 for kind in vocabulary.kinds])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(_EOS)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(_TEMPLATE)


def _tensors(vocabulary: _Vocabulary, width: int) -> Iterable[tuple[str, Any]]:
    """One-hot embeddings, layers that add nothing, and an output matrix that is the table of followers."""
    size = len(vocabulary.tokens)
    embedding = np.zeros((size, width), dtype=np.float16)
    embedding[np.arange(size), np.arange(size)] = 1
    output = np.zeros((size, width), dtype=np.float16)
    for token in range(size):
        output[vocabulary.follows.get(token, _EOS), token] = 1
    head = width // _HEADS
    yield "token_embd.weight", embedding
    yield "output.weight", output
    yield "output_norm.weight", np.ones(width, dtype=np.float32)
    for layer in range(_LAYERS):
        shapes = {
            "attn_q": (width, width),
            "attn_k": (head, width),
            "attn_v": (head, width),
            "attn_output": (width, width),
            "ffn_gate": (_FEED_FORWARD, width),
            "ffn_up": (_FEED_FORWARD, width),
            "ffn_down": (width, _FEED_FORWARD),
        }
        for norm in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{norm}.weight", np.ones(width, dtype=np.float32)
        for name, shape in shapes.items():
            yield f"blk.{layer}.{name}.weight", np.zeros(shape, dtype=np.float16)
