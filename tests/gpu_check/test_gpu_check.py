"""`python -m bytemill.gpu_check`: what it says of what it found. CI runs it at a small size."""

import json

import pytest

torch = pytest.importorskip("torch")

from bytemill.gpu_check import __main__ as program
from bytemill.gpu_check import correctness, ranks, speed
from bytemill.gpu_check.results import Results, Row
from bytemill.gpu_check.sizes import QUICK

CPU = torch.device("cpu")


def test_a_check_that_raises_is_a_row_that_failed(capsys):
    out = []
    results = Results(CPU, type("Out", (), {"write": out.append, "flush": lambda self: None})())

    def broken():
        raise ValueError("no such thing\nand more")

    results.run("broken", broken)
    results.run("whole", lambda: Row("whole", "is well", True))
    assert results.failed == ["broken"]
    assert "FAILED broken" in out[0] and "ValueError: no such thing" in out[0]
    assert "no such thing" in capsys.readouterr().err


def test_status_and_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(correctness, "checks", lambda *_: {"a": lambda: Row("a", "bad", False)})
    out = tmp_path / "new" / "check.json"
    arguments = ["--device", "cpu", "--quick", "--only", "right", "--out", str(out)]
    assert program.main(arguments) == 1
    found = json.loads(out.read_text())
    assert found["failed"] == ["a"] and found["machine"]["device"] == "cpu"
    assert "failed: a" in capsys.readouterr().out
    monkeypatch.setattr(correctness, "checks", lambda *_: {"a": lambda: Row("a", "good", True)})
    assert program.main(arguments) == 0
    assert program.main(["--device", "cuda:99"]) == 2


def test_wrong_text_is_found(monkeypatch):
    assert correctness.generation(CPU).ok
    generate = correctness.generate

    def wrong(model, prompts, **options):
        rows = generate(model, prompts, **options)
        return rows if len(prompts) > 1 else [[0, *rows[0][1:]]]

    monkeypatch.setattr(correctness, "generate", wrong)
    row = correctness.generation(CPU)
    assert row.ok is False and "alone DIFFERENT" in row.value and "greedy equal" in row.value


def test_wrong_gradients_are_found(monkeypatch):
    assert correctness.logits_and_gradients(CPU).ok
    grad = correctness._grad
    monkeypatch.setattr(
        correctness, "_grad", lambda weight: grad(weight) * (1 + weight.ndim * 1e-3)
    )
    assert correctness.logits_and_gradients(CPU).ok  # both sides alike
    wrong = iter(range(10**6))
    monkeypatch.setattr(correctness, "_grad", lambda w: grad(w) * (1 + 1e-3 * (next(wrong) % 2)))
    assert correctness.logits_and_gradients(CPU).ok is False


def test_speed_below_the_target_fails(monkeypatch):
    shape = QUICK.shapes[0]
    rows = [
        Row("", "", None, {"shape": shape._asdict(), "model": name, "compiled": compiled,
                           "tokens_per_second": value})
        for name, compiled, value in (("gpt", True, 300), ("gpt", False, 100), ("llama", True, 200))
    ]  # fmt: skip
    row = program.compare(rows, shape, CPU)
    assert row.ok is None and row.value == "3.00 x eager, 1.50 x the best other"
    for target, ok in ((299, True), (301, False)):
        monkeypatch.setattr(program, "TARGETS", {"cpu": target})
        assert program.compare(rows, shape, CPU).ok is ok


def test_steps_to_a_loss():
    assert speed._mean_of_last([5.0, 3.0, 1.0], 2) == 4.0
    assert speed._mean_of_last([float(i) for i in range(30)], 20) == 14.5


def test_two_ranks_are_not_run_where_there_are_not_two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, check in ranks.checks(torch.device("cuda"), QUICK).items():
        row = check()
        assert row.name == name and row.ok is None
        assert row.value == "not run: there is 1 GPU, and each rank needs its own"


@pytest.mark.parametrize(("shift", "good"), [(0.0, True), (2e-5, False)])
def test_losses_of_two_ranks_that_differ_are_found(monkeypatch, shift, good):
    def two(*arguments):
        losses, seconds = ranks.train(*arguments)
        return [loss + shift for loss in losses], seconds

    monkeypatch.setattr(ranks, "_on_two", two)
    row = ranks.equal_losses("2 ranks", CPU, 10, "zero2")
    assert row.ok is good, row
    assert row.value.startswith("gloo: losses of 10 steps within")
