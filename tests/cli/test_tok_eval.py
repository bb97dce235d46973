"""`bytemill tok-eval`: what it measures, the forms of tokenizers and texts it takes, its errors."""

import base64
import re
import sys

import pytest

from bytemill import Tokenizer
from bytemill.cli import tok_eval
from bytemill.cli.main import main
from tests.support.programs import run
from tests.support.vocabularies import CACHE, generated_text, tiktoken_encoding, train


@pytest.fixture(autouse=True)
def short_goes(monkeypatch):
    monkeypatch.setattr(tok_eval, "GO_S", 0.0)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return train([generated_text()], 400, ["<|end|>"])


def test_figures_by_hand():
    ranks = {bytes([b]): b for b in range(256)} | {b"ab": 256, b" a": 257}
    result = tok_eval.measure(Tokenizer.from_ranks(ranks), "ab ab aé")
    # ab, " a" b, " a" and the two bytes of é
    assert (result.n_bytes, result.n_tokens, result.n_words, result.n_single) == (9, 6, 3, 3)
    assert result.bytes_per_token == 1.5
    assert result.tokens_per_word == 2.0
    assert result.single_share == 50.0
    assert result.mb_per_s > 0
    both = tok_eval.total([result, result])
    assert (both.n_bytes, both.bytes_per_token) == (18, 1.5)


def test_special_tokens_in_text_are_text(tokenizer):
    assert tok_eval.measure(tokenizer, "<|end|>").n_tokens > 1


def test_the_samples_are_whole():
    texts = tok_eval.read_texts([], samples=True)
    assert list(texts) == list(tok_eval.SAMPLE_ORDER)
    for name, text in texts.items():
        assert 1000 < len(text.encode()) < 10_000, name


def test_every_form_of_tokenizer(tokenizer, tmp_path, capsys):
    tokenizer.save(tmp_path / "mine")
    lines = [
        base64.b64encode(t) + b" %d\n" % r for t, r in sorted(tokenizer.mergeable_ranks.items())
    ]
    (tmp_path / "own.tiktoken").write_bytes(b"".join(lines))
    text = tmp_path / "t.txt"
    text.write_text(generated_text(1), encoding="utf-8")
    given = [str(tmp_path / "mine"), f"other={tmp_path / 'own.tiktoken'}"]
    try:
        tokenizer.to_huggingface(tmp_path / "hf.json")
        given.append(str(tmp_path / "hf.json"))
    except ImportError:
        pass  # without tokenizers it cannot be checked, so it is not written
    options = ["--pattern", "gpt2", "--text", f"gen={text}", "--no-samples", "--baselines"]
    out = tmp_path / "out.md"
    assert main(["tok-eval", *given, *options, "--markdown", str(out)]) == 0
    printed = capsys.readouterr().out
    figure = (
        f"{len(text.read_bytes()) / len(tokenizer.encode_ordinary(text.read_text('utf-8'))):.2f}"
    )
    line = next(line for line in printed.splitlines() if line.startswith("gen"))
    assert line.split()[2:] == [figure] * len(given)
    assert "mine (400)" in printed
    assert "other (399)" in printed
    assert "| gen" in out.read_text("utf-8")
    assert list(tmp_path.glob(".*")) == []  # nothing is left beside it
    assert f"written  {out}" in printed


def test_baselines_on_the_samples(tokenizer, tmp_path, capsys, monkeypatch):
    for name in tok_eval.BASELINES:
        tiktoken_encoding(name)  # skips without the cache
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(CACHE))
    tokenizer.save(tmp_path / "mine")
    assert main(["tok-eval", str(tmp_path / "mine")]) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines() if line.startswith(("english", "thai"))]
    english, thai = lines[:2]
    # Newer vocabularies compress better, and other scripts by far more than English.
    assert float(english[3]) <= float(english[4]) <= float(english[5])
    assert float(thai[3]) * 2 < float(thai[5])
    assert "o200k_base (200,019)" in printed


def test_a_baseline_that_cannot_be_had_is_left_out(tokenizer, tmp_path, capsys, monkeypatch):
    tokenizer.save(tmp_path / "mine")
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    assert main(["tok-eval", str(tmp_path / "mine"), "--baselines", "gpt2"]) == 0
    captured = capsys.readouterr()
    assert captured.err == (
        "note: left out gpt2: tiktoken is not installed: pip install tiktoken\n"
    )
    assert "gpt2" not in captured.out
    assert main(["tok-eval", "--baselines", "gpt2"]) == 2
    assert "no tokenizer was given" in capsys.readouterr().err


def test_without_a_network_there_is_one_line(tokenizer, tmp_path, capsys, monkeypatch):
    def fails(name):
        raise ConnectionError("a message of the network's " * 20)

    tokenizer.save(tmp_path / "mine")
    monkeypatch.setattr(tok_eval.Tokenizer, "from_tiktoken", fails)
    assert main(["tok-eval", str(tmp_path / "mine")]) == 0
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and len(told) < 160
    assert all(name in told for name in (*tok_eval.BASELINES, "ConnectionError"))


def test_texts_can_follow_one_flag_and_be_repeated(tokenizer, tmp_path, capsys):
    tokenizer.save(tmp_path / "mine")
    for name in "abc":
        (tmp_path / name).write_text(f"text {name} " * 10)
    texts = [f"{name}={tmp_path / name}" for name in "abc"]
    words = ["tok-eval", str(tmp_path / "mine"), "--baselines", "--no-samples", "--text"]
    assert main([*words, *texts[:2], "--text", texts[2]]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert rows[2:5] == ["a", "b", "c"]


def test_plot(tokenizer, tmp_path, capsys, monkeypatch):
    tokenizer.save(tmp_path / "mine")
    arguments = [str(tmp_path / "mine"), "--baselines", "--plot", str(tmp_path / "p.png")]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        assert main(["tok-eval", *arguments]) == 2
        assert "pip install matplotlib" in capsys.readouterr().err
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: nothing is drawn")
    assert main(["tok-eval", *arguments]) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-thing"], "no-such-thing: there is nothing of this name"),
        (["TMP/x.tiktoken"], "x.tiktoken"),
        (["TMP/mine", "TMP/mine"], "two tokenizers are called 'mine'"),
        (["TMP/mine", "--text", "nothing"], "--text nothing: expected NAME=PATH"),
        (["TMP/mine", "--text", "english=TMP/t.txt"], "the name 'english' is taken"),
        (["TMP/mine", "--text", "e=TMP/empty.txt"], "empty.txt: the text is empty"),
        (["TMP/mine", "--text", "b=TMP/bad.txt"], "bad.txt: not UTF-8 at byte 2"),
        (["TMP/mine", "--text", "b=TMP/none.txt"], "none.txt: No such file"),
        (["TMP/mine", "--no-samples"], "there is no text to measure"),
    ],
)
def test_bad_input(tokenizer, tmp_path, capsys, arguments, message):
    pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    tokenizer.save(tmp_path / "mine")
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "bad.txt").write_bytes(b"ab\xff")
    arguments = [a.replace("TMP", str(tmp_path)) for a in arguments]
    assert main(["tok-eval", *arguments, "--baselines"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_names_with_bars_stay_in_their_cells(tokenizer, tmp_path, capsys):
    tokenizer.save(tmp_path / "mine")
    (tmp_path / "t.txt").write_text("some text")
    out = tmp_path / "eval.md"
    words = ["--baselines", "--no-samples", "--text", f"x|y={tmp_path / 't.txt'}", "--markdown"]
    assert main(["tok-eval", f"a|b={tmp_path / 'mine'}", *words, str(out)]) == 0
    rows = [line for line in out.read_text("utf-8").splitlines() if line.startswith("|")]
    # A bar divides cells unless a backslash is before it (GitHub's Markdown).
    cells = [re.split(r"(?<!\\)\|", row.strip("|")) for row in rows]
    assert {len(row) for row in cells} == {3}
    assert cells[0][2].strip() == r"a\|b (400)" and cells[2][0].strip() == r"x\|y"
    assert "a|b (400)" in capsys.readouterr().out


def test_stdin_is_called_stdin(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "mine")
    words = ["tok-eval", tmp_path / "mine", "--baselines", "--text", "a=-"]
    for data, told in (
        (b"ab\xff", "stdin: not UTF-8 at byte 2"),
        (b"", "stdin: the text is empty"),
    ):
        done = run(*words, input=data, text=False)
        assert (done.returncode, done.stderr.decode()) == (2, f"error: {told}\n")
