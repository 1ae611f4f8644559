"""Preference pairs as token ids: tokenised once, scored and trained on as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rayforge.alignment.preferences import Preference
from rayforge.errors import ConfigurationError, PreferenceError
from rayforge.files import write_whole
from trainers.alignment.models import Tokeniser

Ids = tuple[int, ...]


class Completion(NamedTuple):
    """A response after its prompt, both as token ids; the response carries its end token."""

    prompt: Ids
    response: Ids

    @property
    def key(self) -> bytes:
        """16 bytes that tell token sequences apart, wherever the border lies."""
        parts = (np.array(ids, np.int32).tobytes() for ids in self)
        border = len(self.prompt).to_bytes(4, "little")
        return hashlib.blake2b(border + b"".join(parts), digest_size=16).digest()


@dataclass(frozen=True)
class TokenPairs:
    """n preference pairs in token ids, in the order of the data."""

    prompt: list[Ids]
    chosen: list[Ids]
    rejected: list[Ids]
    generated: np.ndarray
    """bool [n]: whether the model made the pair itself."""

    def __len__(self) -> int:
        return len(self.prompt)

    def take(self, rows: np.ndarray) -> TokenPairs:
        def some(ids: list[Ids]) -> list[Ids]:
            return [ids[row] for row in rows]

        return TokenPairs(
            some(self.prompt), some(self.chosen), some(self.rejected), self.generated[rows]
        )

    def join(self, other: TokenPairs) -> TokenPairs:
        return TokenPairs(
            self.prompt + other.prompt,
            self.chosen + other.chosen,
            self.rejected + other.rejected,
            np.concatenate([self.generated, other.generated]),
        )

    def completions(self) -> list[Completion]:
        """Chosen sides, then rejected sides, [2 n]."""
        sides = (self.chosen, self.rejected)
        return [Completion(p, r) for side in sides for p, r in zip(self.prompt, side, strict=True)]

    def lengths(self) -> np.ndarray:
        """Tokens of chosen and rejected, int64 [n, 2]."""
        return np.array(
            [[len(c), len(r)] for c, r in zip(self.chosen, self.rejected, strict=True)], np.int64
        ).reshape(-1, 2)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for completion in self.completions():
            digest.update(completion.key)
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Tokenised:
    """What tokenising left, and what it had to leave out."""

    pairs: TokenPairs
    rows: np.ndarray
    """Which of the given pairs they are, int64 [n]."""
    too_long: dict[int, int]
    """Given pairs left out since prompt and response exceed the limit: tokens by row."""
    refused: dict[int, str]
    """Given pairs left out since the chat template refuses them: its reason by row."""
    alike: list[int]
    """Given pairs left out since the chat template prints both sides alike."""
    merged: dict[int, str]
    """Pairs kept whose prompt does not end where its tokens do: the end of the prompt by row."""
    without_tools: list[int]
    """Pairs kept whose tools the chat template does not print."""
    without_system: list[int]
    """Pairs kept whose system turn the chat template does not print."""


class TemplateRefusal(ValueError):
    """The chat template cannot render a record; the message is its reason."""


def check_conversational(tokeniser: Tokeniser, pairs: Sequence[Preference], folder: Path) -> None:
    """Raises ConfigurationError where pairs are dialogues and the tokeniser cannot render them."""
    talk = next((p for p in pairs if not isinstance(p.prompt, str)), None)
    if talk is not None and not tokeniser.chat_template:
        raise ConfigurationError(
            f"the data are conversations ({talk.source}), but the tokeniser of {folder} has no "
            "chat template: name an instruction-tuned model, or set chat_template in its "
            "tokenizer_config.json"
        )


def tokenise(tokeniser: Tokeniser, pairs: Sequence[Preference], limit: int) -> Tokenised:
    """Pairs in token ids the way TRL's DPOTrainer makes them.

    Prompt and response are tokenised jointly and split where prompt, prompt + chosen and
    prompt + rejected diverge; plain responses get the end token. Left out and named are pairs of
    which a side is longer than `limit` tokens (cutting would change what was preferred), that the
    chat template refuses, or whose sides it prints alike.

    Raises PreferenceError or ConfigurationError where nothing is left.
    """
    prompts, chosen, rejected, rows = [], [], [], []
    found = Tokenised(
        TokenPairs([], [], [], np.zeros(0, bool)), np.zeros(0), {}, {}, [], {}, [], []
    )
    prints: dict[str, bool] = {}
    for row, pair in enumerate(pairs):
        try:
            alone = prompt_ids(tokeniser, pair.prompt, pair.tools, pair.template)
            whole = [_joint(tokeniser, pair, side) for side in (pair.chosen, pair.rejected)]
            if pair.tools and alone == prompt_ids(tokeniser, pair.prompt, None, pair.template):
                found.without_tools.append(row)
            if _unprinted_system(tokeniser, pair, prints):
                found.without_system.append(row)
        except TemplateRefusal as refusal:
            found.refused[row] = str(refusal)
            continue
        border = min(_common(alone, ids) for ids in whole)
        longest = max(map(len, whole))
        if longest > limit:
            found.too_long[row] = longest
            continue
        if whole[0] == whole[1]:
            found.alike.append(row)
            continue
        if border < len(alone):
            found.merged[row] = tokeniser.decode(list(alone[border:]))
        prompts.append(alone[:border])
        chosen.append(whole[0][border:])
        rejected.append(whole[1][border:])
        rows.append(row)
    if not rows:
        if found.refused or found.alike:
            raise PreferenceError(_nothing_left(found, pairs))
        raise ConfigurationError(
            f"all of {len(pairs)} pairs are longer than max_tokens {limit}: raise it (the model's "
            "context allows at most its own length), or use shorter data"
        )
    kept = TokenPairs(prompts, chosen, rejected, np.zeros(len(rows), bool))
    return replace(found, pairs=kept, rows=np.array(rows, np.int64))


def _nothing_left(found: Tokenised, pairs: Sequence[Preference]) -> str:
    if found.refused:
        row, reason = next(iter(found.refused.items()))
        return (
            f"{pairs[row].source}: the chat template of the model refuses this record, and all of "
            f"{len(found.refused)} like it ({reason}): change the records' roles, or use a model "
            "whose template takes them"
        )
    return (
        f"{pairs[found.alike[0]].source}: the chat template of the model prints both sides alike, "
        f"of this pair and of all of {len(found.alike)}: they differ in what it does not print "
        "(tool calls, for instance); use a model whose template does"
    )


def prompt_ids(
    tokeniser: Tokeniser, prompt: Any, tools: Any = None, template: Mapping[str, Any] | None = None
) -> Ids:
    """A prompt as the model is asked it: text as it stands, messages through the template.

    Raises TemplateRefusal where the template cannot render it.
    """
    if isinstance(prompt, str):
        return _encoded(tokeniser, prompt)
    return _rendered(tokeniser, list(prompt), tools, template, add_generation_prompt=True)


def _unprinted_system(tokeniser: Tokeniser, pair: Preference, prints: dict[str, bool]) -> bool:
    """Whether a pair has a system turn that the chat template does not print; `prints` keeps by
    role what was tried: more words behind a turn change what is printed, or not.

    Raises TemplateRefusal where it does not print turns of any other role.
    """
    if isinstance(pair.prompt, str):
        return False
    roles = set()
    for side in (pair.chosen, pair.rejected):
        messages = [*pair.prompt, *side]
        for place, message in enumerate(messages):
            role = message["role"]
            roles.add(role)
            if role not in prints and message["content"].strip() and len(message) == 2:
                other = {"role": role, "content": message["content"] + " and so on"}
                changed = [*messages[:place], other, *messages[place + 1 :]]
                with_it = _rendered(tokeniser, messages, pair.tools, pair.template)
                prints[role] = with_it != _rendered(tokeniser, changed, pair.tools, pair.template)
    silent = sorted(role for role in roles if not prints.get(role, True))
    other_roles = [role for role in silent if role not in _SYSTEM]
    if other_roles:
        raise TemplateRefusal(f"it does not print turns of {other_roles[0]!r}"[:80])
    return bool(silent)


_SYSTEM = ("system", "developer")


def _joint(tokeniser: Tokeniser, pair: Preference, response: Any) -> Ids:
    if isinstance(pair.prompt, str):
        end = "" if response.endswith(tokeniser.eos_token) else tokeniser.eos_token
        return _encoded(tokeniser, pair.prompt + response + end)
    return _rendered(tokeniser, [*pair.prompt, *response], pair.tools, pair.template)


def _encoded(tokeniser: Tokeniser, text: str) -> Ids:
    """Text as token ids, without a second begin or end token where it holds one already."""
    ids = list(tokeniser(text)["input_ids"])
    begin, end = tokeniser.bos_token_id, tokeniser.eos_token_id
    if begin is not None and ids[:2] == [begin, begin] and text.startswith(tokeniser.bos_token):
        ids = ids[1:]
    # Some tokenisers end every text; only a response ends.
    own = text.endswith(tokeniser.eos_token)
    if ids[-2:] == [end, end] if own else ids[-1:] == [end]:
        ids = ids[:-1]
    return tuple(ids)


def _rendered(
    tokeniser: Tokeniser, messages: list[Any], tools: Any, template: Mapping[str, Any] | None,
    **how: bool,
) -> Ids:  # fmt: skip
    try:
        ids = tokeniser.apply_chat_template(
            messages, tools=tools, tokenize=True, return_dict=True, **how, **(template or {})
        )
    except Exception as error:  # templates are programs: they raise jinja's errors and Python's
        said = str(error).strip() or type(error).__name__
        raise TemplateRefusal(said.splitlines()[0][:80]) from None
    return tuple(ids["input_ids"])


def _common(a: Ids, b: Ids) -> int:
    """Length of the common beginning."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def write_table(path: Path, columns: dict[str, Any]) -> None:
    """A Parquet file, whole or not at all."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    write_whole(path, lambda stream: pq.write_table(table, stream))


def pair_columns(pairs: TokenPairs) -> dict[str, Any]:
    ids = pa.list_(pa.int32())
    return {
        "prompt_ids": pa.array(pairs.prompt, ids),
        "chosen_ids": pa.array(pairs.chosen, ids),
        "rejected_ids": pa.array(pairs.rejected, ids),
        "generated": pa.array(pairs.generated),
    }


def read_pairs(path: Path) -> TokenPairs:
    table = pq.read_table(path)

    def ids(name: str) -> list[Ids]:
        return [tuple(row) for row in table[name].to_pylist()]

    made = np.array(table["generated"].to_pylist(), bool)
    return TokenPairs(ids("prompt_ids"), ids("chosen_ids"), ids("rejected_ids"), made)
