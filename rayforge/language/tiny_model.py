"""A tiny causal language model and its tokeniser, made from the corpus at hand.

The embedded default of alignment: it needs no download and is saved as an ordinary Hugging Face
folder, so that everything behind it treats it like any other model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from rayforge.settings import Above, check_limits

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PAD, UNKNOWN, BEGIN, END = "<pad>", "<unk>", "<bos>", "<eos>"
_ROLES = ("<system>", "<user>", "<assistant>")
_CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ '<' + message.role + '>' + message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)

_PIECES = r" ?[\w'-]+| ?[^\w\s]|\s"
_BYTES = 256


@dataclass(frozen=True)
class TinyModelConfig:
    """Size of the tiny model; the default has about a million parameters with 200 words."""

    width: int = 128
    """Size of the hidden states."""
    layers: int = 4
    """Blocks of attention and feed-forward layers."""
    heads: int = 4
    """Heads of attention in each."""
    inner: int = 512
    """Width inside the gated feed-forward blocks."""
    context: int = 1024
    """Most tokens of prompt and response together."""
    vocabulary: int = 4096
    """Most different tokens. A corpus with fewer words is split into words, a larger one into
    byte pairs."""
    initial_range: Annotated[float, Above(0)] = 0.08
    """Standard deviation of the first weights; with the usual 0.02 a model this narrow has not
    learnt to copy after 800 steps."""
    seed: int = 0
    """Seed of the first weights."""

    def __post_init__(self) -> None:
        check_limits(self)
        for name in ("width", "layers", "heads", "inner", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(
                f"width {self.width} must be an even multiple of heads {self.heads} "
                "(rotary positions take pairs of channels)"
            )
        if self.vocabulary < 2 * _BYTES:
            raise ValueError(f"vocabulary must be {2 * _BYTES} or more, got {self.vocabulary}")


def make_tokeniser(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """A tokeniser from a corpus, with padding, begin and end tokens and a chat template.

    Words and punctuation marks, each with the space before it, where the corpus has no more of
    them than `size`; what is unknown then becomes `<unk>`. Otherwise byte pairs, which know every
    text. Either gives the corpus back exactly. The same texts in any order give the same bytes.

    Args:
        texts: prompts and responses.
        size: most tokens, special ones included.

    Raises:
        ValueError: the texts are empty.
    """
    from tokenizers import AddedToken, Regex, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = (PAD, UNKNOWN, BEGIN, END, *_ROLES)
    pieces = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    found = {piece for text in set(texts) for piece, _ in pieces.pre_tokenize_str(text)}
    if not found:
        raise ValueError(f"{len(texts)} texts hold no word: nothing to make a tokeniser from")
    if len(found) + len(special) <= size:
        tokeniser = _of_words([*special, *sorted(found)])
        tokeniser.pre_tokenizer = pieces
    else:
        tokeniser = _of_byte_pairs(sorted(set(texts)), special, size)
    tokeniser.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokeniser.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokeniser.token_to_id(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokeniser,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        padding_side="left",
        chat_template=_CHAT,
        clean_up_tokenization_spaces=False,
    )


def _of_words(known: Sequence[str]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models

    numbers = {word: number for number, word in enumerate(known)}
    tokeniser = Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN))
    tokeniser.decoder = decoders.Fuse()
    return tokeniser


def _of_byte_pairs(texts: Sequence[str], special: Sequence[str], size: int) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokeniser = Tokenizer(models.BPE())
    tokeniser.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokeniser.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokeniser.train_from_iterator(texts, trainer)
    return tokeniser


def make_tiny_model(
    config: TinyModelConfig, tokeniser: PreTrainedTokenizerFast
) -> LlamaForCausalLM:
    """A Llama-type model with random weights for the tokens of a tokeniser.

    The weights depend on the configuration and the number of tokens alone, not on what was drawn
    before.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = LlamaConfig(
        vocab_size=len(tokeniser),
        hidden_size=config.width,
        intermediate_size=config.inner,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        initializer_range=config.initial_range,
        tie_word_embeddings=False,
        pad_token_id=tokeniser.pad_token_id,
        bos_token_id=tokeniser.bos_token_id,
        eos_token_id=tokeniser.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return LlamaForCausalLM(shape)
