# ruff: noqa: E501 (questions stand on one line; the multiplication sign is meant)
"""Logic and ordering questions: each function is one template, and the items it makes are one cluster.

Where an answer follows from clues, every arrangement is tried, and the answer must be the same in all that fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from random import Random

from generated_numbers import NAMES, Made, Template, near

NONSENSE = ["blickets", "daxes", "fendles", "gorps", "mimbles", "plonks", "quimps", "snarps", "tovels", "zibs"]
COLOURS = ["red", "blue", "green", "yellow", "white", "black"]


def forced(things: Sequence[str], fits: Callable[[Sequence[str]], bool], answer: Callable[[Sequence[str]], str]) -> str:
    """What ``answer`` gives in every order of ``things`` that ``fits``; there must be one, and only one answer."""
    found = {answer(order) for order in permutations(things) if fits(order)}
    assert len(found) == 1, f"not decided by the clues: {found}"
    return found.pop()


def chain(draw: Random, more: str, less: str, most: str, least: str, count: int) -> Made:
    """A chain of comparisons, told in mixed order and direction; who is at one end?"""
    order = draw.sample(NAMES, count)  # from most to least
    clues = [(order[index], order[index + 1]) for index in range(count - 1)]
    told = [
        f"{a} is {more} than {b}." if draw.random() < 0.5 else f"{b} is {less} than {a}."
        for a, b in draw.sample(clues, len(clues))
    ]
    word, index = draw.choice([(most, 0), (least, -1)])
    right = forced(order, lambda one: all(one.index(a) < one.index(b) for a, b in clues), lambda one: one[index])
    wrong = [name for name in order if name != right]
    wrong += [name for name in draw.sample(NAMES, len(NAMES)) if name not in order][: 3 - len(wrong)]
    return f"{' '.join(told)} Who is the {word}?", right, wrong


def tallest_of_three(draw: Random) -> Made:
    text, right, wrong = chain(draw, "taller", "shorter", "tallest", "shortest", 3)
    return text, right, [*wrong[:2], "nobody knows"]


def oldest_of_four(draw: Random) -> Made:
    return chain(draw, "older", "younger", "oldest", "youngest", 4)


def heaviest_of_four(draw: Random) -> Made:
    return chain(draw, "heavier", "lighter", "heaviest", "lightest", 4)


def race(draw: Random) -> Made:
    order = draw.sample(NAMES, 4)
    a, b, c, d = order
    clues = draw.sample([f"{a} finished before {b}.", f"{c} finished after {b}.", f"{d} finished after {c}."], 3)
    word, place = draw.choice([("first", 0), ("second", 1), ("third", 2), ("last", 3)])
    right = forced(order, lambda one: one.index(a) < one.index(b) < one.index(c) < one.index(d), lambda one: one[place])
    return (
        f"Four people ran a race. {' '.join(clues)} Who came {word}?",
        right,
        [name for name in order if name != right],
    )


def row_of_boxes(draw: Random) -> Made:
    order = draw.sample(COLOURS, 3)
    a, b, c = order
    clues = draw.sample(
        [f"The {a} box is to the left of the {b} box.", f"The {c} box is to the right of the {b} box."], 2
    )
    right = forced(order, lambda one: one.index(a) < one.index(b) < one.index(c), lambda one: one[1])
    extra = draw.choice([colour for colour in COLOURS if colour not in order])
    return (
        f"Three boxes stand in a row. {' '.join(clues)} Which box is in the middle?",
        f"the {right} box",
        [f"the {one} box" for one in (a, c, extra)],
    )


def middle_seat(draw: Random) -> Made:
    people = draw.sample(NAMES, 3)
    a, b, c = people
    clues: list[tuple[str, Callable[[Sequence[str]], bool]]] = [
        (f"{a} sits on the left seat.", lambda one: one[0] == a),
        (f"{b} does not sit on the right seat.", lambda one: one[2] != b),
        (f"{c} sits somewhere to the right of {b}.", lambda one: one.index(c) > one.index(b)),
        (f"{a} does not sit in the middle.", lambda one: one[1] != a),
        (f"{c} sits on an outer seat.", lambda one: one[1] != c),
        (f"{b} sits right next to {c}, on the left of {c}.", lambda one: one.index(c) == one.index(b) + 1),
    ]
    while True:
        told = draw.sample(clues, 2)
        middles = {one[1] for one in permutations(people) if all(fits(one) for _, fits in told)}
        if len(middles) == 1:
            break
    right = middles.pop()
    text = f"{a}, {b} and {c} sit on three seats in a row. {told[0][0]} {told[1][0]} Who sits in the middle?"
    return text, right, [*(name for name in people if name != right), "nobody"]


def all_all(draw: Random) -> Made:
    a, b, c = draw.sample(NONSENSE, 3)
    text = f"All {a} are {b}. All {b} are {c}. What follows?"
    return text, f"all {a} are {c}", [f"all {c} are {a}", f"no {a} are {c}", f"no {c} are {a}"]


def all_none(draw: Random) -> Made:
    a, b, c = draw.sample(NONSENSE, 3)
    return (
        f"All {a} are {b}. No {b} are {c}. What follows?",
        f"no {a} are {c}",
        [f"all {a} are {c}", f"all {c} are {a}", f"all {b} are {a}"],
    )


def modus_tollens(draw: Random) -> Made:
    if_, then, seen, right, wrong = draw.choice(CONDITIONS)
    return f"If {if_}, {then}. {seen} What follows?", right, list(wrong)


CONDITIONS = [
    ("it rains", "the match is called off", "The match was not called off.", "it did not rain", ("it rained", "it rained twice", "there was no match")),
    ("the lamp is on", "the cat sleeps under it", "The cat is not sleeping under the lamp.", "the lamp is off", ("the lamp is on", "the cat is hungry", "the lamp is broken in two")),
    ("the post has come", "the box is full", "The box is not full.", "the post has not come", ("the post has come", "the box is lost", "the post came twice")),
    ("the shop is open", "the flag is out", "The flag is not out.", "the shop is closed", ("the shop is open", "the flag is torn", "the shop is full")),
    ("the soup is ready", "the bell rings", "The bell has not rung.", "the soup is not ready", ("the soup is ready", "the bell is new", "the soup is cold")),
]  # fmt: skip


def everyone_who(draw: Random) -> Made:
    name = draw.choice(NAMES)
    does, has, without, right = draw.choice(
        [
            ("plays chess here", "wears a hat", "wears no hat", "does not play chess here"),
            ("sings in the choir", "has a blue folder", "has no blue folder", "does not sing in the choir"),
            ("works in the kitchen", "carries a key", "carries no key", "does not work in the kitchen"),
            ("swims in the team", "has a silver badge", "has no silver badge", "does not swim in the team"),
        ]
    )
    return (
        f"Everyone who {does} {has}. {name} {without}. What do we know about {name}?",
        f"{name} {right}",
        [f"{name} {does}", f"{name} {has}", f"{name} has left"],
    )


def odd_one_out(draw: Random) -> Made:
    groups = draw.sample(
        [
            ["oak", "pine", "birch", "willow"],
            ["hammer", "saw", "drill", "pliers"],
            ["violin", "flute", "drum", "piano"],
            ["salmon", "trout", "cod", "tuna"],
            ["red", "green", "purple", "orange"],
            ["shirt", "coat", "sock", "scarf"],
        ],
        2,
    )
    fitting, other = draw.sample(groups[0], 3), draw.choice(groups[1])
    shown = draw.sample([*fitting, other], 4)
    return f"Which word does not belong with the others: {', '.join(shown)}?", other, fitting


def queue(draw: Random) -> Made:
    length, place, name = draw.randrange(9, 20), draw.randrange(3, 8), draw.choice(NAMES)
    right = length - place
    text = f"{length} people stand in a queue. {name} is number {place} from the front. How many people stand behind {name}?"
    return text, str(right), near(draw, right, right + 1, right - 1, place)


def both_ends(draw: Random) -> Made:
    front, back, name = draw.randrange(4, 10), draw.randrange(3, 9), draw.choice(NAMES)
    right = front + back - 1
    text = f"In a row of chairs, {name} has chair number {front} from the left, which is also number {back} from the right. How many chairs are there?"
    return text, str(right), near(draw, right, front + back, front + back + 1)


def family(draw: Random) -> Made:
    women, men = (
        draw.sample(["Ana", "Chloe", "Greta", "Ines", "Lucia"], 2),
        draw.sample(["Bashir", "Dmitri", "Jonas", "Kofi"], 2),
    )
    child = draw.choice(["Elif", "Femi", "Hiro"])
    one, between, first, second, right = draw.choice(
        [
            (women[0], men[0], "mother", "father", "grandmother"),
            (men[0], women[0], "father", "mother", "grandfather"),
            (women[0], men[0], "sister", "father", "aunt"),
            (men[0], women[0], "brother", "mother", "uncle"),
            (women[0], women[1], "mother", "mother", "grandmother"),
            (men[0], men[1], "brother", "father", "uncle"),
        ]
    )
    others = [word for word in ("grandmother", "grandfather", "aunt", "uncle", "cousin") if word != right]
    text = f"{one} is the {first} of {between}. {between} is the {second} of {child}. What is {one} to {child}?"
    return text, right, draw.sample(others, 3)


def turning(draw: Random) -> Made:
    compass = ["north", "east", "south", "west"]
    start, turns = draw.randrange(4), [draw.choice([1, -1]) for _ in range(draw.choice([2, 3]))]
    told = ", then ".join("right" if turn == 1 else "left" for turn in turns)
    right = compass[(start + sum(turns)) % 4]
    return (
        f"A robot faces {compass[start]}. It turns {told}, a quarter turn each time. Which way does it face now?",
        right,
        [way for way in compass if way != right],
    )


def walking(draw: Random) -> Made:
    there, back = draw.sample(range(2, 10), 2)
    way, other = draw.sample([("north", "south"), ("south", "north"), ("east", "west"), ("west", "east")], 1)[0]
    gap, ends = abs(there - back), way if there > back else other
    text = f"{draw.choice(NAMES)} walks {there} blocks {way} and then {back} blocks {other}. Where is the end of the walk, seen from its start?"
    opposite = other if ends == way else way
    blocks = "block" if gap == 1 else "blocks"
    return (
        text,
        f"{gap} {blocks} {ends}",
        [f"{gap} {blocks} {opposite}", f"{there + back} blocks {ends}", f"{there + back} blocks {opposite}"],
    )


def letters(draw: Random) -> Made:
    step, start = draw.choice([2, 3]), draw.randrange(0, 10)
    shown = [chr(65 + start + step * index) for index in range(4)]
    right = 65 + start + step * 4
    wrong = [right - 1, right + 1, right + (2 if step == 3 else 3)]
    return f"Which letter comes next: {', '.join(shown)}?", chr(right), [chr(value) for value in wrong]


def repeating(draw: Random) -> Made:
    beads, length = draw.sample(COLOURS, 3), draw.choice([7, 8])
    shown = [beads[index % 3] for index in range(length)]
    right = beads[length % 3]
    extra = draw.choice([colour for colour in COLOURS if colour not in beads])
    return (
        f"Beads are strung in a pattern: {', '.join(shown)}. Which colour comes next?",
        right,
        [*(one for one in beads if one != right), extra],
    )


def elimination(draw: Random) -> Made:
    boxes = draw.sample(COLOURS, 4)
    not_in = draw.sample(boxes, 3)
    right = next(box for box in boxes if box not in not_in)
    text = f"A coin lies in one of four boxes: {', '.join(boxes)}. It is not in the {not_in[0]} box, nor in the {not_in[1]} one, nor in the {not_in[2]} one. Where is it?"
    return text, f"in the {right} box", [f"in the {box} box" for box in not_in]


def swapping(draw: Random) -> Made:
    people, balls = draw.sample(NAMES, 3), draw.sample(COLOURS, 3)
    has = dict(zip(people, balls, strict=True))
    told = [f"{name} has the {ball} ball" for name, ball in has.items()]
    text = f"{told[0]}, {told[1]}, and {told[2]}."
    pairs = [(people[0], people[1]), (people[1], people[2]), (people[2], people[0])]
    for first, second in draw.sample(pairs, 2):
        has[first], has[second] = has[second], has[first]
        text += f" Then {first} and {second} swap balls."
    who = draw.choice(people)
    extra = draw.choice([colour for colour in COLOURS if colour not in balls])
    return (
        f"{text} Which ball does {who} have now?",
        f"the {has[who]} ball",
        [f"the {ball} ball" for ball in [*balls, extra] if ball != has[who]],
    )


def overlap(draw: Random) -> Made:
    one, both, two = draw.randrange(3, 9), draw.randrange(2, 8), draw.randrange(3, 9)
    total = one + both + two
    text = f"In a class of {total} children, everyone plays tennis, football, or both. {one + both} play tennis and {two + both} play football. How many play both?"
    return text, str(both), near(draw, both, total - one - both, one, two)


def dictionary(draw: Random) -> Made:
    stem = draw.choice(
        [
            ["garden", "garlic", "garment", "garnish"],
            ["market", "marble", "margin", "marvel"],
            ["stable", "stamp", "station", "statue"],
            ["planet", "plaster", "platform", "player"],
            ["carbon", "carpet", "carrot", "carton"],
        ]
    )
    right = min(stem)
    return (
        f"Which of these words comes first in a dictionary: {', '.join(draw.sample(stem, 4))}?",
        right,
        [word for word in stem if word != right],
    )


def double_negation(draw: Random) -> Made:
    thing, state, opposite = draw.choice(
        [("door", "open", "closed"), ("lamp", "on", "off"), ("glass", "full", "empty"), ("road", "wet", "dry")]
    )
    return (
        f"It is not true that the {thing} is not {state}. How is the {thing}?",
        state,
        [opposite, f"neither {state} nor {opposite}", "missing"],
    )


def exactly_one(draw: Random) -> Made:
    people = draw.sample(NAMES, 3)
    while True:
        says = {name: (draw.choice(people), draw.random() < 0.5) for name in people}
        fitting = [who for who in people if sum((who == named) == blames for named, blames in says.values()) == 1]
        if len(fitting) == 1 and all(named != name or not blames for name, (named, blames) in says.items()):
            break
    told = []
    for name, (named, blames) in says.items():
        subject = "I" if named == name else named
        told.append(f'{name} says: "{subject} did it."' if blames else f'{name} says: "{subject} did not do it."')
    text = (
        f"One of three children ate the cake, and only one of them tells the truth. {' '.join(told)} Who ate the cake?"
    )
    return text, fitting[0], [*(name for name in people if name != fitting[0]), "all of them"]


LOGIC: list[Template] = [
    tallest_of_three, oldest_of_four, heaviest_of_four, race, row_of_boxes, middle_seat, all_all, all_none, modus_tollens,
    everyone_who, odd_one_out, queue, both_ends, family, turning, walking, letters, repeating, elimination, swapping,
    overlap, dictionary, double_negation, exactly_one,
]  # fmt: skip
