# ruff: noqa: E501, RUF001 (questions stand on one line; the multiplication sign is meant)
"""Arithmetic and calendar questions: each function is one template, and the items it makes are one cluster.

A template draws its numbers from the generator it is given, computes the right answer, and names three wrong
ones that come from typical slips.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction
from random import Random

Made = tuple[str, str, list[str]]
Template = Callable[[Random], Made]
NAMES = ["Ana", "Bashir", "Chloe", "Dmitri", "Elif", "Femi", "Greta", "Hiro", "Ines", "Jonas", "Kofi", "Lucia"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip


def near(draw: Random, right: int, *slips: int) -> list[str]:
    """Three wrong whole numbers: the slips that are positive and differ from the answer, then neighbours."""
    wrong: list[int] = []
    steps = draw.sample([-10, -2, -1, 1, 2, 10, 3, -3], 8)
    for value in [*slips, *(right + step for step in steps)]:
        if value >= 0 and value != right and value not in wrong:
            wrong.append(value)
    return [str(value) for value in wrong[:3]]


def addition(draw: Random) -> Made:
    a, b = draw.randrange(26, 80), draw.randrange(26, 80)
    return f"What is {a} + {b}?", str(a + b), near(draw, a + b, a + b - 10, a + b + 1)


def subtraction(draw: Random) -> Made:
    a, b = draw.randrange(300, 900), draw.randrange(110, 290)
    return f"What is {a} - {b}?", str(a - b), near(draw, a - b, a - b + 10, a - b - 100)


def multiplication(draw: Random) -> Made:
    a, b = draw.randrange(3, 10), draw.randrange(11, 30)
    return f"What is {a} × {b}?", str(a * b), near(draw, a * b, a * b + a, a * b - b)


def division(draw: Random) -> Made:
    a, b = draw.randrange(4, 10), draw.randrange(6, 25)
    return f"What is {a * b} divided by {a}?", str(b), near(draw, b, b + 1, b - 1)


def percentage(draw: Random) -> Made:
    share, whole = draw.choice([5, 10, 20, 25, 50]), draw.randrange(2, 20) * 20
    right = share * whole // 100
    return f"What is {share} percent of {whole}?", str(right), near(draw, right, share, right * 2, whole - right)


def fraction_of(draw: Random) -> Made:
    name, share = draw.choice(
        [("two thirds", Fraction(2, 3)), ("three quarters", Fraction(3, 4)), ("two fifths", Fraction(2, 5))]
    )
    whole = share.denominator * draw.randrange(4, 16)
    right = int(share * whole)
    return f"What is {name} of {whole}?", str(right), near(draw, right, whole - right, whole // share.denominator)


def arithmetic_sequence(draw: Random) -> Made:
    start, step = draw.randrange(2, 20), draw.randrange(3, 12)
    shown = ", ".join(str(start + step * index) for index in range(4))
    right = start + 4 * step
    return f"Which number comes next: {shown}?", str(right), near(draw, right, right + 1, right + step)


def geometric_sequence(draw: Random) -> Made:
    start, ratio = draw.randrange(2, 6), draw.choice([2, 3])
    shown = [start * ratio**index for index in range(4)]
    right = start * ratio**4
    return (
        f"Which number comes next: {', '.join(map(str, shown))}?",
        str(right),
        near(draw, right, shown[-1] + shown[-2], shown[-1] + 10),
    )


def missing_number(draw: Random) -> Made:
    a, right = draw.randrange(4, 40), draw.randrange(5, 40)
    return (
        f"Which number makes this true: {a} + ? = {a + right}",
        str(right),
        near(draw, right, a + a + right, right + 1),
    )


def order_of_operations(draw: Random) -> Made:
    a, b, c = draw.randrange(2, 10), draw.randrange(2, 10), draw.randrange(3, 10)
    right = a + b * c
    return f"What is {a} + {b} × {c}?", str(right), near(draw, right, (a + b) * c, a * b + c)


def rounding(draw: Random) -> Made:
    number = draw.randrange(11, 98) * 100 + draw.choice([12, 27, 38, 64, 71, 86])
    right = (number + 50) // 100 * 100
    return (
        f"What is {number} rounded to the nearest hundred?",
        str(right),
        near(draw, right, 2 * (number // 100 * 100) + 100 - right, number // 10 * 10, (number + 500) // 1000 * 1000),
    )


def largest_decimal(draw: Random) -> Made:
    whole = draw.randrange(1, 9)
    tenths = draw.sample(range(1, 9), 4)
    values = [f"{whole}.{tenths[0]}", *(f"{whole}.{tenth}{draw.randrange(1, 10)}" for tenth in tenths[1:])]
    right = max(values, key=Fraction)
    return (
        f"Which of the numbers {', '.join(values)} is the largest?",
        right,
        [value for value in values if value != right],
    )


def smallest_fraction(draw: Random) -> Made:
    values = [f"1/{bottom}" for bottom in draw.sample(range(2, 12), 4)]
    right = min(values, key=Fraction)
    return (
        f"Which of the fractions {', '.join(values)} is the smallest?",
        right,
        [value for value in values if value != right],
    )


def parity(draw: Random) -> Made:
    kind = draw.choice([0, 1])
    right = draw.randrange(20, 200) * 2 + kind
    wrong = [value * 2 + 1 - kind for value in draw.sample(range(20, 200), 3)]
    return f"Which of these numbers is {['even', 'odd'][kind]}?", str(right), [str(value) for value in wrong]


def prime(draw: Random) -> Made:
    primes = [value for value in range(11, 60) if all(value % divisor for divisor in range(2, value))]
    others = [value for value in range(11, 60, 2) if value not in primes]
    return (
        "Which of these numbers is prime?",
        str(draw.choice(primes)),
        [str(value) for value in draw.sample(others, 3)],
    )


def multiple(draw: Random) -> Made:
    of = draw.choice([3, 4, 6, 7, 9])
    right = of * draw.randrange(6, 14)
    others = [value for value in range(right - 12, right + 13) if value % of]
    return (
        f"Which of these numbers can be divided by {of} without a remainder?",
        str(right),
        [str(value) for value in draw.sample(others, 3)],
    )


def shopping(draw: Random) -> Made:
    name, count, price, extra = draw.choice(NAMES), draw.randrange(3, 8), draw.randrange(2, 9), draw.randrange(5, 15)
    right = count * price + extra
    text = f"{name} buys {count} pens at {price} dollars each and one book for {extra} dollars. How many dollars is that in all?"
    return text, str(right), near(draw, right, count * price, count + price + extra, (price + extra) * count)


def change(draw: Random) -> Made:
    name, cost = draw.choice(NAMES), draw.randrange(21, 48)
    text = f"{name} pays for a meal that costs {cost} dollars with a 50-dollar note. How many dollars come back?"
    return text, str(50 - cost), near(draw, 50 - cost, 60 - cost, 50 - cost + 1)


def remainder(draw: Random) -> Made:
    people, each, left = draw.randrange(4, 9), draw.randrange(3, 9), draw.randrange(1, 4)
    text = f"{people * each + left} sweets are shared equally among {people} children, each getting as many as possible. How many sweets are left over?"
    return text, str(left), near(draw, left, each, 0, left + 1)


def distance(draw: Random) -> Made:
    speed, hours = draw.randrange(4, 12) * 10, draw.randrange(2, 6)
    text = (
        f"A train travels at a steady {speed} kilometres per hour. How many kilometres does it travel in {hours} hours?"
    )
    return text, str(speed * hours), near(draw, speed * hours, speed + hours, speed * (hours + 1), speed * hours // 2)


def area(draw: Random) -> Made:
    a, b = draw.sample(range(3, 15), 2)
    return (
        f"A rectangle is {a} metres long and {b} metres wide. What is its area in square metres?",
        str(a * b),
        near(draw, a * b, 2 * (a + b), a + b),
    )


def perimeter(draw: Random) -> Made:
    side = draw.randrange(5, 30)
    return (
        f"Each side of a square is {side} centimetres long. How many centimetres is it around the square?",
        str(4 * side),
        near(draw, 4 * side, 2 * side, side + 4, 3 * side),
    )


def conversion(draw: Random) -> Made:
    big, small, rate = draw.choice(
        [
            ("kilometres", "metres", 1000),
            ("hours", "minutes", 60),
            ("metres", "centimetres", 100),
            ("minutes", "seconds", 60),
        ]
    )
    count = draw.randrange(3, 9)
    return (
        f"How many {small} are there in {count} {big}?",
        str(count * rate),
        near(draw, count * rate, count * 10, count * rate * 10, count + rate),
    )


def average(draw: Random) -> Made:
    middle, spread = draw.randrange(8, 30), draw.randrange(1, 6)
    values = draw.sample([middle - spread, middle, middle + spread], 3)
    values[0] += 3
    right = sum(values) // 3
    return (
        f"What is the average of {values[0]}, {values[1]} and {values[2]}?",
        str(right),
        near(draw, right, sum(values), max(values), right + 2),
    )


def recipe(draw: Random) -> Made:
    people, eggs, times = draw.choice([2, 3, 4]), draw.randrange(3, 8), draw.choice([2, 3])
    text = f"A recipe for {people} people needs {eggs} eggs. How many eggs are needed for {people * times} people?"
    return text, str(eggs * times), near(draw, eggs * times, eggs + people * times - people, eggs + times)


def ages(draw: Random) -> Made:
    (one, two), age, gap, later = (
        draw.sample(NAMES, 2),
        draw.randrange(9, 20),
        draw.randrange(2, 7),
        draw.randrange(3, 9),
    )
    text = f"{one} is {age} years old, and {two} is {gap} years younger. How old will {two} be in {later} years?"
    right = age - gap + later
    return text, str(right), near(draw, right, age + gap + later, age - gap, age + later)


def number_words(draw: Random) -> Made:
    hundreds, ones = draw.sample(range(2, 10), 2)
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    text = f'How is "{words[hundreds]} hundred and {words[ones]}" written in digits?'
    return text, f"{hundreds}0{ones}", [f"{hundreds}{ones}0", f"{hundreds}00{ones}", f"{ones}0{hundreds}"]


def place_value(draw: Random) -> Made:
    digits = draw.sample(range(1, 10), 4)
    name, index = draw.choice([("hundreds", 1), ("tens", 2), ("ones", 3)])
    others = [str(digit) for place, digit in enumerate(digits) if place != index]
    return f"Which digit of {''.join(map(str, digits))} stands in the {name} place?", str(digits[index]), others


ARITHMETIC: list[Template] = [
    addition, subtraction, multiplication, division, percentage, fraction_of, arithmetic_sequence, geometric_sequence,
    missing_number, order_of_operations, rounding, largest_decimal, smallest_fraction, parity, prime, multiple, shopping,
    change, remainder, distance, area, perimeter, conversion, average, recipe, ages, number_words, place_value,
]  # fmt: skip


def days_later(draw: Random) -> Made:
    today, later = draw.randrange(7), draw.randrange(3, 7)
    right = DAYS[(today + later) % 7]
    wrong = [DAYS[(today + later + step) % 7] for step in draw.sample([1, 2, 5, 6], 3)]
    return f"Today is {DAYS[today]}. Which day will it be in {later} days?", right, wrong


def days_earlier(draw: Random) -> Made:
    today, before = draw.randrange(7), draw.randrange(2, 6)
    right = DAYS[(today - before) % 7]
    wrong = [DAYS[(today - before + step) % 7] for step in draw.sample([1, 2, 5, 6], 3)]
    return f"Today is {DAYS[today]}. Which day was it {before} days ago?", right, wrong


def weeks_later(draw: Random) -> Made:
    today, weeks, more = draw.randrange(7), draw.randrange(2, 6), draw.choice([1, 2, 3])
    right = DAYS[(today + more) % 7]
    wrong = [DAYS[(today + more + step) % 7] for step in draw.sample([1, 2, 5, 6], 3)]
    return f"Today is {DAYS[today]}. Which day will it be {7 * weeks + more} days from now?", right, wrong


def next_month(draw: Random) -> Made:
    month, word, step = draw.randrange(12), *draw.choice([("after", 1), ("before", -1)])
    right = MONTHS[(month + step) % 12]
    wrong = [MONTHS[(month + other) % 12] for other in draw.sample([2, -2, -step, 3], 3)]
    return f"Which month comes right {word} {MONTHS[month]}?", right, wrong


def months_later(draw: Random) -> Made:
    month, later = draw.randrange(12), draw.randrange(4, 9)
    right = MONTHS[(month + later) % 12]
    wrong = [MONTHS[(month + later + other) % 12] for other in draw.sample([-1, 1, 2, -2], 3)]
    return f"A baby was born in {MONTHS[month]}. In which month is it {later} months old?", right, wrong


def month_length(draw: Random) -> Made:
    month = draw.randrange(12)
    right = (date(2023 + (month == 11), (month + 1) % 12 + 1, 1) - date(2023, month + 1, 1)).days
    year = " in a year that is not a leap year" if month == 1 else ""
    return (
        f"How many days are there in {MONTHS[month]}{year}?",
        str(right),
        [str(days) for days in (28, 29, 30, 31) if days != right],
    )


def leap_year(draw: Random) -> Made:
    right = draw.randrange(1904, 2096, 4)
    wrong = [right + step for step in draw.sample([-6, -5, -3, -2, -1, 1, 2, 3, 5, 6, 7], 3)]
    return "Which of these years is a leap year?", str(right), [str(year) for year in wrong]


def years_between(draw: Random) -> Made:
    start = draw.randrange(1785, 1900)
    age = draw.randrange(23, 98)
    text = f"A bridge was opened in {start}. How many years old was it in {start + age}?"
    return text, str(age), near(draw, age, age + 10, age - 10, 100 - age)


def clock(minutes: int) -> str:
    return f"{minutes // 60 % 24}:{minutes % 60:02d}"


def end_time(draw: Random) -> Made:
    start, length = draw.randrange(13, 20) * 60 + draw.choice([20, 35, 40, 45, 50]), draw.choice([75, 85, 95, 110])
    right = start + length
    wrong = [right - 60, right + 60, right + draw.choice([-10, 10])]
    return (
        f"A film starts at {clock(start)} and lasts {length} minutes. When does it end?",
        clock(right),
        list(map(clock, wrong)),
    )


def duration(draw: Random) -> Made:
    start, length = draw.randrange(8, 15) * 60 + draw.choice([15, 25, 40, 50]), draw.choice([35, 45, 55, 70, 80])
    text = (
        f"A bus leaves at {clock(start)} and arrives at {clock(start + length)}. How many minutes does the ride take?"
    )
    return text, str(length), near(draw, length, length + 10, length - 10, length + 20)


def afternoon(draw: Random) -> Made:
    hour, minute = draw.randrange(2, 11), draw.choice([5, 10, 20, 30, 45])
    right = clock((hour + 12) * 60 + minute)
    wrong = [clock((hour + step) * 60 + minute) for step in (10, 11, 0)]
    return f'How is "{hour}:{minute:02d} in the afternoon or evening" written on a 24-hour clock?', right, wrong


def weekday_of_date(draw: Random) -> Made:
    day, month, first = draw.randrange(1, 5), draw.choice(MONTHS), draw.randrange(7)
    later = draw.choice([8, 9, 10, 11, 12, 13])
    right = DAYS[(first + later) % 7]
    wrong = [DAYS[(first + later + step) % 7] for step in draw.sample([1, 2, 5, 6], 3)]
    return (
        f"In some year, {month} {day} is a {DAYS[first]}. Which day of the week is {month} {day + later}?",
        right,
        wrong,
    )


def first_date(draw: Random) -> Made:
    base = date(2023, 1, 1)
    days = [base + timedelta(days=offset) for offset in sorted(draw.sample(range(0, 360, 9), 4))]
    named = [f"{MONTHS[day.month - 1]} {day.day}" for day in days]
    word, right = draw.choice([("first", named[0]), ("last", named[-1])])
    return f"Which of these dates comes {word} in the year?", right, [name for name in named if name != right]


CALENDAR: list[Template] = [
    days_later, days_earlier, weeks_later, next_month, months_later, month_length, leap_year, years_between, end_time,
    duration, afternoon, weekday_of_date, first_date,
]  # fmt: skip
