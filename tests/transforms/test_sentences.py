"""Sentences: what a reader would call one, in many scripts; and every character in exactly one, whatever the block."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pseudolabel.readers.text.blocks import Block, pack
from pseudolabel.transforms.text.sentences import SLICE_CHARACTERS, split_sentences


def of(text: str, per_line: bool = False) -> list[str]:
    """The sentences of one document."""
    return [sentence.decode() for sentence in split_sentences(pack([text.encode()], [0]), per_line).texts()]


def parts(marked: str) -> list[str]:
    """The sentences of a text in which a ¦ stands where each ends."""
    return [part.strip() for part in marked.split("¦")]


# --- passages, parted by hand -----------------------------------------------------------------------------------------

PASSAGES = {
    "English": """Mr. Sherlock Holmes, who was usually very late in the mornings, save upon those not infrequent
    occasions when he was up all night, was seated at the breakfast table.¦ "Well, Watson, what do you make of it?"¦
    Holmes was sitting with his back to me.¦ "How did you know?¦ I believe you have eyes in the back of your head!"¦
    "No, sir! he has used this hotel," said Dr. Mortimer (of No. 7, at St. James's).¦ It cost $3.50 in the U.S. of
    old... and it rained.¦ (So they say.)¦ See https://example.org/a?b=c. or write to J. R. R. Tolkien, e.g. Monday at 5
    p.m. sharp!¦ Who is it?¦ I.¦ What?!¦ The end…""",
    "French": """« Quelle tête de veau ? »¦ « Ah ! farceur ! » reprit M. Compain, en lui donnant une tape.¦ MM. de Rohan
    et J.-J. Rousseau y couraient le cerf, etc., avec Mme. Arnoux.¦ – Où est-il ?¦ – Là-bas\u00a0! – dit-il.¦ Élise dit
    : « Non\u00a0!\u00a0», puis « Oui ! ».¦ Était-ce vrai ?...¦ À la p. 12 (vol. 3), on lit : « Rien. »¦ L'eau
    (froide !) montait.""",
    "German": "»Komm!«¦ »Wohin?«¦ „Nach Haus.“¦ Herr Dr. Faust blieb.¦ Über Nr. 5 stand nichts.",
    "Spanish": "¿Quién es?¦ ¡Soy yo!¦ El Sr. Gil y la Sra. Gil (p. 1950) salen.¦ Él no.",
    "Russian": "А. С. Пушкин родился в Москве.¦ «Кто там?» — спросил он.¦ Это было в 1799 г. летом!¦ Да…¦ Нет.",
    "Greek": "Τι είναι αυτό\u037e¦ Δεν ξέρω.¦ Όλοι είναι ίσοι.",
    "Chinese": """在我的后园，可以看见墙外有两株树，一株是枣树，还有一株也是枣树。¦
    这上面的夜的天空，奇怪而高。¦我问：“真的吗？！”¦
    他说：“是的。”¦（完。）¦《宣言》。¦ “不行……算了。”¦她走了！¦　　第二天，3.5元。¦没有句号的一行""",
    "Japanese": """吾輩は猫である。¦名前はまだ無い。¦どこで生れたかとんと見当がつかぬ。¦「行こう！」¦
    『はい。』¦（笑。）¦値は３．１４であった．¦次は１．はじめに．¦「はい．」¦ｶﾅﾀﾞ｡¦終り""",
    "Thai": """มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ¦ ต่างมีเหตุผลและมโนธรรม¦
    และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ¦ คนต่าง ๆ ในกรุงเทพฯ ปี 2500 มี 3 คน¦ จบ๛¦ก""",
    "Hindi": """सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।¦ उन्हें बुद्धि और
    अन्तरात्मा की देन प्राप्त है।¦ "क्या?"¦ १.५ मील॥¦ हाँ।""",
    "Arabic": """
    يولد جميع الناس أحراراً متساوين في الكرامة والحقوق.¦ وقد وهبوا عقلاً وضميراً، فهل هذا صحيح؟¦ «نعم!»¦ لا.""",
    "Urdu": "یہ کیا ہے؟¦ یہ کتاب ہے۔¦ وہ گیا۔",
    "Korean": "모든 인간은 태어날 때부터 자유롭다.¦ 왜 그런가?¦ 1948년 12월 10일이다.",
    "Armenian": "Բոլոր մարդիկ ծնվում են ազատ։¦ Նրանք հավասար են։",
    "Amharic": "ሰው ሁሉ ነጻ ነው።¦ ለምን፧¦ እኩል ነው።",
    "Khmer": "មនុស្សទាំងអស់ កើតមកមានសេរីភាព។¦ ពួកគេស្មើគ្នា៕",
    "Burmese": "လူတိုင်းသည် လွတ်လပ်သည်။¦ တန်းတူဖြစ်သည်။",
}


@pytest.mark.parametrize("language", PASSAGES)
def test_passages_part_as_a_reader_would(language: str) -> None:
    marked = PASSAGES[language]
    assert of(marked.replace("¦", "")) == parts(marked)


@pytest.mark.parametrize(
    "marked",
    [
        "Wait... what?¦ Well...¦ I see. . . .¦ So!? ... ?",
        "He said \"Go.\"¦ She said 'No!'¦ (All left.)¦ [Exeunt.]¦ “Gone?”¦ **Yes.**¦ _No._¦ Aye.",
        "“Gone?” he asked.¦ “Gone!” (she said?)¦ “Gone...” and so on! – then no more? - yes.¦ — No.¦ (Yes.)¦ - Maybe.",
        "Mrs. Hall vs. Prof. Ng et al. 2019, cf. Fig. 3, Jan. 5, pp. 3-4.¦ No.¦ I won't.¦ It is final.¦ Art.¦ On.",
        "The U.S.S.R. Army met É. Zola, D.H. Lawrence and A. B. Smith.¦ So did I.¦ Then he.",
        "It is 3.14 or .5 or 1,000.00.¦ 7 is more.¦ In 1905.¦ In the USA.¦ Version 2.0.1 too.",
        "Use .NET, a.b.c, foo.py or mail me@example.com.¦ Now.",
        "Great!¦ 😀👍🏽 Fine.¦ 🎉",
        "1. Take one.¦ Or two.¦\n2. Take three.¦\r\n 10. Stop.¦\n\t3. Go.¦\n11. On.¦ 12.¦ Off.",
        "A line\nthat is wrapped.¦\nThe next\r\none.\r and more.",
        "A heading¦\n\nA paragraph, no stop¦\r\n\r\nAnother¦\r\rone¦\n \u3000\t\nmore¦\n\r\n\nend",
        '他说："你好。"¦\n走。¦“好”',
    ],
)
def test_rules(marked: str) -> None:
    assert of(marked.replace("¦", "")) == parts(marked)


def test_lines_are_sentences_where_the_user_says_so() -> None:
    text = "Mr. A. No? Yes.\nthe next\r\n \u3000 也是。对\r\r\n\nสอง สาม\vx \n"
    assert of(text, per_line=True) == ["Mr. A. No? Yes.", "the next", "也是。对", "สอง สาม\vx"]


# --- any block --------------------------------------------------------------------------------------------------------

NASTY = [*"...!?…。！．։।”’»«“\"')」}AAIaéЯя1５漢あกขๆฯ๛😀-—,*\ufeff\u200b\u0301\u037e\U00010020\U0001002e"]
NASTY += ["\n", "\r", "\r\n", "\n\n", *"   \t\v\x1c\x85\u00a0\u202f\u2028\u3000"]
NASTY += ["Mr", "No", "St.", "e.g."]


def scribble(rng: np.random.Generator) -> str:
    return "".join(rng.choice(NASTY, rng.integers(30)))


def thrown_together(texts: list[str], rng: np.random.Generator) -> Block:
    """The texts with bytes of any kind between them, or none."""
    data, starts, ends = rng.bytes(rng.integers(4)), [], []
    for text in texts:
        starts.append(len(data))
        data += text.encode()
        ends.append(len(data))
        data += rng.bytes(rng.integers(4)) if rng.random() < 0.7 else b""
    positions = np.sort(rng.integers(0, 99, len(texts)))
    return Block(np.frombuffer(data, np.uint8), np.array(starts, np.int64), np.array(ends, np.int64), positions)


@pytest.mark.parametrize("per_line", [False, True])
def test_every_character_is_in_one_sentence_and_white_space_around_in_none(per_line: bool) -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        texts = [scribble(rng) for _ in range(rng.integers(6))]
        block = thrown_together(texts, rng)
        found = split_sentences(block, per_line)
        assert found.data is block.data
        assert found.starts.dtype == found.ends.dtype == found.positions.dtype == np.int64
        done = 0
        for i, text in enumerate(texts):
            at = int(block.starts[i])
            while done < len(found.starts) and found.starts[done] < block.ends[i]:
                start, end = int(found.starts[done]), int(found.ends[done])
                assert not block.data[at:start].tobytes().decode().strip()  # decodes: no character is cut
                sentence = block.data[start:end].tobytes().decode()
                assert sentence.strip() == sentence != ""
                assert found.positions[done] == block.positions[i]
                at, done = end, done + 1
            assert block.starts[i] <= at
            assert not block.data[at : block.ends[i]].tobytes().decode().strip(), text
        assert done == len(found.starts) == len(found.ends) == len(found.positions)


@pytest.mark.parametrize("per_line", [False, True])
def test_no_document_sees_another_or_what_lies_between(per_line: bool) -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        texts = [scribble(rng) for _ in range(6)]
        alone = [sentence for text in texts for sentence in of(text, per_line)]
        found = split_sentences(thrown_together(texts, rng), per_line)
        assert [text.decode() for text in found.texts()] == alone


@pytest.mark.parametrize(
    "texts",
    [["Mr.", "Smith."], ["Go.", "on."], ["好。", "」好。"], ["ก", "ข"], ["A", ".\nB"], ["x. ", ". y"], ["\r", "\nx"]],
)
def test_documents_that_touch_stay_apart(texts: list[str]) -> None:
    data = "".join(texts).encode()
    cut = len(texts[0].encode())
    both = Block(np.frombuffer(data, np.uint8), np.array([0, cut]), np.array([cut, len(data)]), np.array([5, 6]))
    expected = [(5, s) for s in of(texts[0])] + [(6, s) for s in of(texts[1])]
    found = split_sentences(both)
    assert list(zip(found.positions.tolist(), [text.decode() for text in found.texts()], strict=True)) == expected


def test_lines_are_those_of_python() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        text = scribble(rng)
        lines = [line.strip() for line in re.split("[\r\n]", text)]
        assert of(text, per_line=True) == [line for line in lines if line]


def test_no_sentence_holds_a_blank_line() -> None:
    rng = np.random.default_rng(6)
    for _ in range(300):
        text = scribble(rng).replace("\r\n", "\n").replace("\r", "\n")
        paragraphs = [block.strip() for block in re.split(r"\n\s*\n", text)]
        assert of(text) == [sentence for paragraph in paragraphs for sentence in of(paragraph)]


def test_nothing_has_no_sentence() -> None:
    for texts in ([], [b""], [b" \n", b"", "\u3000".encode()]):
        found = split_sentences(pack(texts, range(len(texts))))
        assert len(found.starts) == len(found.ends) == len(found.positions) == 0


def test_a_long_document_is_parted_as_a_short_one() -> None:
    marked = "¦\n\n".join(PASSAGES.values())
    copies = 3 * SLICE_CHARACTERS // len(marked) + 1
    text = "\n\n".join([marked.replace("¦", "")] * copies)
    assert len(text) > 2 * SLICE_CHARACTERS
    assert of(text) == parts(marked) * copies


# --- real text --------------------------------------------------------------------------------------------------------


def test_novels_have_no_sentence_end_in_a_title(shared: Path) -> None:
    text = (shared / "text" / "novels" / "Doyle_Hound_1902.txt").read_text("utf-8")
    found = of(" ".join(text.split()))
    assert " ".join(found) == " ".join(text.split())
    assert 3000 < len(found) < 5000
    assert not [sentence for sentence in found if sentence.endswith((" Dr.", " Mr.", " Mrs.", " J."))]
    plain = [sentence for sentence in found if re.search(r"[a-z]{4}[.?!] +[A-Z]", sentence)]
    assert not plain


def test_japanese_sentences_end_at_their_stop(shared: Path) -> None:
    text = (shared / "text" / "udhr" / "Japanese_Nihongo-UTF8").read_text("utf-8")
    found = of(text)
    assert sum(sentence.endswith("。") for sentence in found) == text.count("。") > 40
