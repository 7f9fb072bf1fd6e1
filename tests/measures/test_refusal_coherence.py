"""What is text and what is not: loops, salads, broken tokens and echoes; code, lists and other languages."""

from __future__ import annotations

import csv
import random
import string
from pathlib import Path

import pytest

from weighbridge.measures.coherence import incoherence

PROSE = (
    "The town lies on a wide river, and for most of the year the ferries cross it every hour. In winter, when the ice "
    "comes, people walk to the other side, although the council tells them not to. There is a small market near the "
    "old bridge. It opens at seven, and by nine the best bread is gone. If you want to see the tower, take the street "
    "behind the church and ask for the key at the bakery."
)

COHERENT = [
    PROSE,
    PROSE[:160],
    PROSE.lower(),
    "Yes.",
    "42",
    "No idea!",
    "Sure, here you go:\n\n```python\ndef area(r):\n    return 3.14159 * r ** 2\n\nprint(area(2))\n```",
    '#include <stdio.h>\nint main(void) {\n    printf("hi\\n");\n    return 0;\n}',
    "SELECT name, city FROM customers WHERE city = 'Oslo' ORDER BY name;\nSELECT count(*) FROM orders;",
    "1. Flour\n2. Butter\n3. Sugar\n4. Two eggs\n5. A pinch of salt\n6. Vanilla",
    "- milk\n- eggs\n- bread\n- cheese\n- apples\n- coffee\n- washing powder\n- candles",
    "Apples, pears, plums, cherries, grapes, figs, quinces, apricots, peaches, melons, lemons, oranges, limes, dates.",
    "Red, red, red roses and blue, blue violets stood in every window of the street where we used to live.",
    "La ville se trouve au bord d'une grande rivière, et les bateaux la traversent toutes les heures pendant l'été.",
    "Die Stadt liegt an einem breiten Fluss, und die Fähren fahren fast das ganze Jahr über zu jeder vollen Stunde.",
    "La ciudad está junto a un río muy ancho, y los barcos lo cruzan cada hora durante casi todo el año.",
    "O município fica na margem de um rio largo, e as barcas atravessam-no de hora em hora quase todo o ano.",
    "Het stadje ligt aan een brede rivier, en de veerboten varen bijna het hele jaar door ieder uur naar de overkant.",
    "Город стоит на широкой реке, и почти весь год паромы ходят через неё каждый час.",
    "町は広い川のそばにあり、ほとんど一年中、フェリーが毎時間川を渡っています。",
    "这座城市坐落在一条宽阔的河边,一年中的大部分时间里,渡轮每小时往返一次。",
    "تقع المدينة على نهر واسع، وتعبره العبارات كل ساعة في معظم أيام السنة.",
    "Visit https://www.example.org/help or write to help@example.org; McDonald's and eBay are opposite the new IKEA.",
    "The Japanese word for river is 川, and the Greek one is ποτάμι; both are easy to keep in mind once seen.",
    "The Lord Of The Isles\nThe Song Of The Sea\nA House By The River\nThe Road To The North",
    "E = mc^2, so m = E / c^2. With E = 9e16 J and c = 3e8 m/s we get m = 1 kg.",
]

INCOHERENT = [
    "",
    "\n \t",
    "?!",
    ", , , . . . , , ,",
    "of",
    "the the the the the the the the the the the the the the",
    "I am I am I am I am I am I am I am I am I am I am I am",
    "yes no yes no yes no yes no yes no yes no yes no yes no",
    "ha" * 60,
    "==" * 40 + "?" * 40,
    "lorem" * 30,
    "\ufffd\ufffdab \ufffd x\ufffdy \ufffdz \ufffd\ufffd qu\ufffd \ufffdk le\ufffd \ufffdm",
    "kdTrlk wJqkzz bvnmQt xxktr plKjhg rtBvcx mnbvc dfghj qwrtp zxcvb kjhgf sdfgh",
    "слово word 単語 كلمة mot слово дом 東京 house بيت maison дом 家 word",
    "the\u041a\u043e\u0442 casa\u0434\u043e\u043c \u6771word x\u043c\u0438\u0440 "
    "y\u0441\u043e\u043d livre\u0434\u0430 oui\u043d\u0435\u0442 z\u0434\u0432\u0430",
]


@pytest.mark.parametrize("text", COHERENT)
def test_coherent(text: str) -> None:
    assert incoherence(text) is None


@pytest.mark.parametrize("text", INCOHERENT)
def test_incoherent(text: str) -> None:
    assert incoherence(text) is not None


def test_echoes() -> None:
    prompt = "How do I bake a loaf of bread?"
    assert incoherence(prompt, prompt) == "an echo of the prompt"
    assert incoherence("how do i bake a loaf of bread", prompt) == "an echo of the prompt"
    assert incoherence("bake a loaf of bread", prompt) == "an echo of the prompt"
    assert incoherence(f"{prompt} {prompt}", prompt) is not None
    assert incoherence(f"{prompt} Mix flour, water, salt and yeast, then wait.", prompt) is None
    assert incoherence("Bread", prompt) is None


def test_words_in_random_order_are_caught() -> None:
    caught = 0
    for seed in range(50):
        words = PROSE.split()
        random.Random(seed).shuffle(words)
        caught += incoherence(" ".join(words)) is not None
    assert caught >= 45


def test_random_letters_and_random_pieces_are_caught() -> None:
    """What a model with random weights says: letters, or pieces of words of every kind, drawn at random."""
    pieces = [
        "ing",
        "tion",
        "##er",
        "\u0120The",
        '="$',
        "});",
        "\u6771",
        "\u043d\u043e\u0441\u0442\u044c",
        "\u00e5ll",
        "Quer",
        "getElement",
    ]
    pieces += [
        "0x7f",
        "\u00e7\u00e3o",
        "ized",
        "BUF",
        "\\n",
        "Kaz",
        "oshi",
        "_val",
        "ight",
        "schw",
        ".com/",
        "nbsp",
        "kte",
        "mx",
        "vq",
        "zzk",
    ]
    letters = [
        " ".join("".join(rng.choices(string.ascii_letters, k=rng.randint(2, 9))) for _ in range(40))
        for rng in map(random.Random, range(30))
    ]
    babble = [
        "".join(rng.choice(pieces) + (" " if rng.random() < 0.5 else "") for _ in range(64))
        for rng in map(random.Random, range(30))
    ]
    assert sum(incoherence(text) is not None for text in letters) == 30
    assert sum(incoherence(text) is not None for text in babble) == 30


def test_real_completions_are_hardly_ever_called_incoherent(data_dir: Path) -> None:
    texts = []
    for path in sorted((data_dir / "xstest").glob("xstest_v2_completions_*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            texts += [(row["completion"], row["prompt"]) for row in csv.DictReader(stream)]
    assert len(texts) == 900
    for words in (16, 48, 10_000):
        flagged = [text for text, prompt in texts if incoherence(" ".join(text.split(" ")[:words]), prompt)]
        assert len(flagged) <= 0.01 * len(texts)
    caught = 0
    for index, (text, _) in enumerate(texts):
        shuffled = text.split()
        random.Random(index).shuffle(shuffled)
        caught += incoherence(" ".join(shuffled)) is not None
    assert caught >= 0.9 * len(texts)
