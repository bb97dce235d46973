"""`bytemill export` and `bytemill import`: there and back, and what they refuse."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.store import CheckpointStore
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model
from tests.support.programs import call, is_one_line


@pytest.fixture
def run(tmp_path):
    """A run's folder with a model and a tokenizer."""
    tokenizer = chat_tokenizer()
    model = small_model("gpt", vocab_size=tokenizer.n_vocab)
    run = tmp_path / "run"
    store = CheckpointStore(run)
    metrics = {"val_loss": 3.25}
    store.save(40, model, [], model_config=model.config.to_dict(), metrics=metrics)
    tokenizer.save(run / "tokenizer")
    return run


def test_there_and_back(run, tmp_path, capsys):
    hf, back = tmp_path / "hf", tmp_path / "back"
    status, out, err = call(capsys, "export", run, "--to", "huggingface", "--out", hf)
    assert (status, out) == (0, f"{hf}\n")
    is_one_line(err, "NanoChatForCausalLM", "largest difference")
    card = (hf / "README.md").read_text()
    assert "| Validation loss | 3.2500 nats per token |" in card and "| 40 steps |" in card
    status, out, err = call(capsys, "import", hf, "--out", back)
    assert (status, out) == (0, f"{back}\n")
    is_one_line(err, "NanoChatForCausalLM", "2 layers of width 64")
    words = ("--prompt", "the new", "--max-new-tokens", 12, "--temperature", 0)
    texts = [call(capsys, "generate", "--model", path, *words)[1] for path in (run, back)]
    assert texts[0] == texts[1] and len(texts[0]) > len("the new")


def test_what_is_refused(run, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.mkdir()
    export = ("export", run, "--to", "huggingface")
    status, out, err = call(capsys, *export, "--out", taken)
    assert (status, out) == (2, "")
    is_one_line(err, taken, "it is there already")
    status, _, err = call(
        capsys, *export, "--out", tmp_path / "x", "--no-tokenizer", "--tokenizer", run / "tokenizer"
    )
    assert status == 2
    is_one_line(err, "--no-tokenizer: it contradicts --tokenizer")
    status, _, err = call(capsys, "import", taken, "--out", tmp_path / "x")
    assert status == 2
    is_one_line(err, "config.json: no such file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "taken"]


def test_without_a_tokenizer(run, tmp_path, capsys):
    hf = tmp_path / "hf"
    words = ("--to", "huggingface", "--out", hf, "--no-tokenizer", "--checkpoint", "last")
    status, _, err = call(capsys, "export", run, *words)
    assert status == 0 and "without a tokenizer" in err
    assert not (hf / "tokenizer.json").exists()
    status, _, err = call(capsys, "import", hf, "--out", tmp_path / "back", "--context-length", 20)
    assert status == 0
    assert "a context of 20 tokens" in err and "without a tokenizer" in err
