"""Special tokens: which token of a tokenizer has which role, and how the tokenizer frames a text or a pair of texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

REQUIRED_ROLES = ("cls", "sep", "pad", "mask")
ROLES = {  # role -> usual names of its token
    **{"cls": ("[CLS]", "<s>", "<cls>", "<bos>"), "sep": ("[SEP]", "</s>", "<sep>", "<eos>")},
    **{"pad": ("[PAD]", "<pad>"), "mask": ("[MASK]", "<mask>"), "unk": ("[UNK]", "<unk>")},
}
SUBSTITUTES = {"cls": "bos_token", "sep": "eos_token"}  # keys of tokenizer_config.json, for a model without the role
ADDING = "from tokenizers import Tokenizer; t = Tokenizer.from_file(F); t.add_special_tokens({}); t.save(F)"
SENTINEL = re.compile(r"▁?(<extra_id_\d+>)")  # mT5 has its sentinels as pieces that begin a word


class Frame(NamedTuple):
    """The special tokens around a text, or around and between two texts."""

    front: tuple[int, ...]
    between: tuple[int, ...]  # empty for a single text
    back: tuple[int, ...]
    types: tuple[int, ...] = ()  # the token type of each token of the frame and of each text, in order

    @property
    def tokens(self) -> tuple[int, ...]:
        """Return the tokens of the frame."""
        return (*self.front, *self.between, *self.back)

    @property
    def size(self) -> int:
        """Return the number of tokens of the frame."""
        return len(self.tokens)

    @property
    def texts(self) -> tuple[int, int]:
        """Return the index in `types` of the first and of the second text."""
        return len(self.front), len(self.front) + 1 + len(self.between)

    @property
    def type_ids(self) -> np.ndarray:
        """Return the int8 token types, indexed by the values of `parts`."""
        return np.array([*self.types, 0], np.int8)

    def ids(self, pad: int) -> np.ndarray:
        """Return the int32 ids of the special tokens, indexed by the values of `parts`; 0 for the texts."""
        return np.array([*self.front, 0, *self.between, 0, *self.back, pad], np.int32)

    def parts(self, a_size: np.ndarray, b_size: np.ndarray, width: int) -> np.ndarray:
        """Return (r, width) int8: the index in `types` of each position of a pair; len(types) for padding.

        `a_size`, `b_size`: (r,) tokens of the two texts.
        """
        first, second = self.texts
        ends, columns = np.zeros(len(a_size), np.int64), np.arange(width)
        part = np.zeros((len(a_size), width), np.int8)
        for i in range(len(self.types)):
            ends = ends + (a_size if i == first else b_size if i == second else 1)
            part += columns >= ends[:, None]
        return part

    def second_text(self, ids: np.ndarray) -> np.ndarray:
        """Return the column of (r, L) `ids` where the second text of each pair begins."""
        before = len(self.front) + 1  # the first text has a token
        return np.asarray(before + (ids[:, before:] == self.between[0]).argmax(1) + len(self.between))


class SpecialTokens(NamedTuple):
    """Special tokens, which are not text. An id is -1 if the tokenizer lacks a token that the task does not need."""

    cls: int
    sep: int
    pad: int
    mask: int
    unk: int
    table: np.ndarray  # (v,) bool, by id: special, so never masked
    pool: np.ndarray  # (p,) int32: all other ids, from which random tokens are drawn
    added: Mapping[str, int]  # ids of the tokenizer's added tokens and sentinels, by name
    single: Frame = Frame((), (), ())
    pair: Frame = Frame((), (), ())

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        needed: Iterable[str] = REQUIRED_ROLES,
        named: Iterable[tuple[str, str]] = (),
        own_frame: bool = True,
    ) -> SpecialTokens:
        """Find the special tokens. Raise `UserError` if a role of `needed` has no token, or the mask has another role.

        `named`: (key of tokenizer_config.json, token). Without `own_frame`, rows are [CLS] text [SEP] even if the
        tokenizer frames texts otherwise.
        """
        vocabulary, added = tokenizer.get_vocab(), tokenizer.get_added_tokens_decoder()
        configured = dict(named)
        tokens = role_tokens(tokenizer, vocabulary, configured)
        own = [frame_of(tokenizer, vocabulary, pair) if own_frame else None for pair in (False, True)]
        framing = {str(tokenizer.id_to_token(i)) for frame in own if frame for i in frame.tokens}
        _check_roles(tuple(needed), tokenizer, tokens, configured, framing)
        roles = {role: vocabulary[tokens[role]] if role in tokens else -1 for role in ROLES}
        sentinels = find_sentinels(vocabulary)
        begin, end = ((roles[role],) if roles[role] >= 0 else () for role in ("cls", "sep"))
        types = (0,) * len(begin + end) + (0, 1) + (1,) * len(end)
        single, pair = own[0] or Frame(begin, (), end), own[1] or Frame(begin, end, end, types)
        ids = np.fromiter(vocabulary.values(), np.int32)
        table = np.zeros(ids.max() + 1, bool)
        table[[i for i in roles.values() if i >= 0]] = True
        table[[i for i, token in added.items() if token.special]] = True
        table[list(sentinels.values())] = True
        table[[i for frame in (single, pair) for i in frame.tokens]] = True
        by_name = {**sentinels, **{token.content: i for i, token in added.items()}}
        return cls(**roles, table=table, pool=np.sort(ids[~table[ids]]), added=by_name, single=single, pair=pair)

    def is_text(self, ids: np.ndarray) -> np.ndarray:
        """Return whether each id is a token that may be masked. False for -100 and other numbers that are no ids."""
        known = (ids >= 0) & (ids < len(self.table))
        return np.asarray(known & ~self.table.take(ids, mode="clip"))

    def count_tokens(self, ids: np.ndarray) -> tuple[int, int]:
        """Return the number of tokens of text in `ids`, [UNK] included, and the number of [UNK]."""
        unknown = int(np.count_nonzero(ids == self.unk))
        return int(np.count_nonzero(self.is_text(ids))) + unknown, unknown

    def plain(self, ids: np.ndarray) -> np.ndarray:
        """Return `ids` with [UNK] in place of special tokens, which a Unigram model may make of plain text."""
        return ids if self.unk < 0 else np.where(self.table[ids], np.int32(self.unk), ids)


load_special = lru_cache(maxsize=1)(SpecialTokens.of)  # every shard uses the same tokenizer


def role_tokens(tokenizer: Tokenizer, vocabulary: Mapping[str, int], named: Mapping[str, str]) -> dict[str, str]:
    """Return role -> token, of the roles that the tokenizer has. `named`: key of tokenizer_config.json -> token.

    In this order: the configuration, the post-processor, the configuration's bos_token or eos_token, usual names among
    special tokens, usual names in the vocabulary. A token that was added but is not special, such as an HTML tag, is
    text. For [UNK], the model's own setting takes the place of the configuration.
    """
    model, added = json.loads(tokenizer.to_str())["model"], tokenizer.get_added_tokens_decoder().values()
    frame = frame_of(tokenizer, vocabulary, pair=False) or Frame((), (), ())
    front, back = ([str(tokenizer.id_to_token(i)) for i in part] for part in (frame.front, frame.back))
    special = {token.content for token in added if token.special}
    groups: list[Set[str]] = [
        {*front, *back},
        special,
        vocabulary.keys() - {token.content for token in added if not token.special},
    ]
    unknown = tokenizer.id_to_token(model["unk_id"]) if model.get("unk_id") is not None else model.get("unk_token")
    found = {}
    for role, names in ROLES.items():
        candidates: list[str | None] = [
            unknown if role == "unk" else named.get(f"{role}_token"),
            *(front[:1] if role == "cls" else back[:1] if role == "sep" else []),
            named.get(SUBSTITUTES.get(role, "")),
            *(name for group in groups for name in names if name in group),
        ]
        if token := next((token for token in candidates if token and token in vocabulary), ""):
            found[role] = token
    return found


def _check_roles(
    needed: Sequence[str], tokenizer: Tokenizer, tokens: Mapping[str, str], named: Mapping[str, str], framing: Set[str]
) -> None:
    """Raise `UserError` if a role of `needed` has no token, or if the mask has another role. Name all that is missing.

    One token may be [CLS], [SEP] and [PAD]. The mask has no other role, so it may have to be added to the tokenizer.
    `framing`: the tokens that the tokenizer puts around texts.
    """
    lacking = [role for role in needed if role not in tokens]
    mask = tokens.get("mask", "") if "mask" in needed else ""
    chosen = {role: token for role, token in tokens.items() if role != "mask"}
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    special.sort(key=lambda token: token == mask)
    wrong = [f"the tokenizer has no token for {_names(lacking)}"] if lacking else []
    wrong += [
        f"its configuration names {named[key]}, which the vocabulary lacks"
        for key in (f"{role}_token" for role in lacking)
        if key in named
    ]
    for role in REQUIRED_ROLES:  # the mask last
        if role == "mask" and mask:
            also = [other for other, token in (*chosen.items(), *(("frame", one) for one in framing)) if token == mask]
            if also:
                wrong.append(f"{mask} cannot be the mask: it is also the tokenizer's {also[0]} token")
                lacking.append(role)
        if role in lacking:
            usual = [name for name in ROLES[role] if tokenizer.token_to_id(name) is not None]
            shared = [chosen[other] for other in ("sep", "cls") if other in chosen and role != "mask"]
            free = [token for token in special if token not in {*chosen.values(), *framing}]
            if ranked := [*usual, *shared, *(free[::-1] if role == "mask" else free)]:  # reserved tokens come late
                chosen[role] = ranked[0]
    if not lacking:
        return
    remedy = "type " + " ".join(f"--{role}-token '{chosen[role]}'" for role in lacking if role in chosen)
    if absent := [role for role in lacking if role not in chosen]:
        remedy = f"{remedy}, and add" if len(absent) < len(lacking) else "add"
        added = json.dumps([ROLES[role][0] for role in absent])
        remedy += f" {_names(absent)} to F, its tokenizer.json, with Python:\n{ADDING.format(added)}"
    else:
        remedy += ", or leave --tokenizer out to learn one"
    raise UserError(f"{'; '.join(wrong)}\n{remedy}")


def _names(roles: Iterable[str]) -> str:
    return ", ".join(ROLES[role][0] for role in roles)


def find_sentinels(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Return the ids of the sentinels of a vocabulary by name: <extra_id_0> and so on."""
    found = ((SENTINEL.fullmatch(piece), i) for piece, i in vocabulary.items() if "<extra_id_" in piece)
    by_piece = {match: i for match, i in found if match}
    return {match[1]: i for match, i in sorted(by_piece.items(), key=lambda item: len(item[0][0]), reverse=True)}


def frame_of(tokenizer: Tokenizer, vocabulary: Iterable[str], pair: bool) -> Frame | None:
    """Return how the post-processor frames one text, or a pair. None if it adds no token."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encoded = (tokenizer.encode(piece, add_special_tokens=False) for piece in chain(("a",), vocabulary))
    text = next((one for one in encoded if len(one)), None)
    if text is None:  # no text has a token
        return None
    made = tokenizer.post_process(text, text if pair else None)
    places = [i for i, special in enumerate(made.special_tokens_mask) if not special]
    first, last = places[: len(text)], places[-len(text) :]
    front, between = made.ids[: first[0]], made.ids[first[-1] + 1 : last[0]]
    back, types = made.ids[last[-1] + 1 :], list(made.type_ids)
    del types[last[0] + 1 : last[-1] + 1]
    if pair:
        del types[first[0] + 1 : first[-1] + 1]
    return Frame(*map(tuple, (front, between, back, types))) if front + between + back else None


def framing_faults(
    ids: np.ndarray, attention: np.ndarray, special: SpecialTokens, frame: Frame
) -> list[tuple[np.ndarray, str]]:
    """Return tests that rows of `(r, L)` inputs are a framed text and padding: `(r,)` bool (failed) and the reason."""
    columns, size = np.arange(ids.shape[1]), attention.sum(1, dtype=np.int64)
    attended = columns < size[:, None]
    back = np.take_along_axis(ids, np.maximum(0, size[:, None] - len(frame.back) + np.arange(len(frame.back))), 1)
    framed = (ids[:, : len(frame.front)] == frame.front).all(1) & (back == frame.back).all(1)
    return [
        (((ids < 0) | (ids >= len(special.table))).any(1), "the row has ids outside the vocabulary"),
        ((attention != attended).any(1), "`attention_mask` is not ones followed by zeros"),
        (~framed, "the row does not begin and end with the tokenizer's special tokens"),
        ((~attended & (ids != special.pad)).any(1), "a token with `attention_mask` 0 is not [PAD]"),
    ]
