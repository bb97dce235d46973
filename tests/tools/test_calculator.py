"""The calculator against Python's own arithmetic, and against what it must refuse."""

import json
import random
import re
import threading
from fractions import Fraction

import pytest

from bytemill.tools import CalculatorError, calculate
from tests.support.evaluation import EVAL

GSM8K = EVAL / "gsm8k" / "train.jsonl"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("1+2*3", "7"),
        ("(1+2)*3", "9"),
        ("2-3-4", "-5"),
        ("12/4/3", "1"),
        ("1,234 + 1", "1235"),
        ("6/2.0", "3"),
        ("1/3", "0.3333333333"),
        ("-2/3", "-0.6666666667"),
        ("0.1+0.2", "0.3"),
        (".5*5.", "2.5"),
        ("--3", "3"),
        ("-(2)+ +1", "-1"),
        ("1/3*3", "1"),
        ("1/30000000000", "0"),
        ("-1/30000000000", "0"),
        ("99999999999999999999*3", "299999999999999999997"),
        ("'strawberry'.count('r')", "3"),
        ('"banana" . count( "an" )', "2"),
        ("'a,b'.count(',')", "1"),
        ("'naïve'.count('ï')", "1"),
    ],
)
def test_results(expression, result):
    assert calculate(expression) == result


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "the end"),
        ("1/0", "division by zero"),
        ("1/(2-2)", "division by zero"),
        ("9**9**9", "'*'"),
        ("7//2", "'/'"),
        ("1e308*10", "'e'"),
        ("2^3", "'^'"),
        ("(1", "closed"),
        ("1)", "')'"),
        ("1 2", "'2'"),
        ("1..2", "'.'"),
        ("1+", "the end"),
        ("٣+1", "'٣'"),
        ("9" * 100_000, "100,000 characters"),
        ("9" * 500, "400 digits"),
        ("*".join(["9" * 100] * 9), "400 digits"),
        ("(" * 10_000 + "1" + ")" * 10_000, "20,001 characters"),
        ("(" * 400 + "1" + ")" * 400, "64 parentheses"),
        ("-" * 500 + "1", "64 parentheses"),
        ("__import__('os')", "'_'"),
        ("'a'.count('b').real", '"\'"'),
        ("'a' * 1000000000", '"\'"'),
        ("'a'.upper()", '"\'"'),
        ("'a\\'.count('x')", '"\'"'),
        ("1\n+1", "'\\n'"),
    ],
)
def test_refused(expression, reason):
    with pytest.raises(CalculatorError) as error:
        calculate(expression)
    assert reason in str(error.value)
    assert len(str(error.value)) < 200


def test_random_expressions_as_exact_fractions():
    random_ = random.Random(3)

    def make(depth):
        if depth == 0 or random_.random() < 0.3:
            text = str(random_.choice([random_.randint(0, 99), random_.randint(1, 999) / 8]))
            return text, Fraction(text)
        (a, x), (b, y) = make(depth - 1), make(depth - 1)
        sign = random_.choice("+-*/" if y else "+-*")
        value = {"+": x + y, "-": x - y, "*": x * y, "/": x / y if y else None}[sign]
        return f"({a} {sign} {b})", value

    for _ in range(500):
        text, value = make(4)
        found = Fraction(calculate(text))
        assert abs(found - value) <= Fraction(1, 2 * 10**10)
        assert value.denominator != 1 or found == value


def test_many_threads_at_once():
    found = []

    def work():
        found.extend(calculate(f"{i}*{i}") == str(i * i) for i in range(300))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1200
    assert all(found)


@pytest.mark.skipif(not GSM8K.is_file(), reason="GSM8K's training questions are not here")
def test_writes_results_as_gsm8k_does():
    calls = [
        call
        for line in GSM8K.read_text(encoding="utf-8").splitlines()
        for call in re.findall("<<(.*?)>>", json.loads(line)["answer"])
    ]
    assert len(calls) == 23_716
    same = 0
    for call in calls:
        expression, _, result = call.rpartition("=")
        try:
            found = calculate(expression)
        except CalculatorError:
            continue
        same += result in (found, found.removeprefix("0"))
    assert same / len(calls) >= 0.97


@pytest.mark.parametrize("value", [3, None, b"1"])
def test_what_is_not_text(value):
    with pytest.raises(TypeError, match=f"a {type(value).__name__}, not a str"):
        calculate(value)
