"""The name of a file is not a text to train on."""

import pytest

from bytemill import BpeTrainer, Tokenizer


@pytest.mark.parametrize("of", [list, tuple])
def test_a_list_of_paths_is_not_trained_on(of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("corpus.txt", "more"):
        (tmp_path / name).write_text("some text to train on")
    for paths in (["corpus.txt"], ["corpus.txt", str(tmp_path / "more")], [str(tmp_path)]):
        with pytest.raises(ValueError, match=r"is a path that exists.*feed_files"):
            Tokenizer.train(of(paths), 260)
        with pytest.raises(ValueError, match=r"is a path that exists.*feed_files"):
            BpeTrainer().feed(of(paths))
    # Texts that only look like it, or are meant.
    for texts in (["corpus.txt", "a text"], ["a\n", "more\n"], ["x" * 5000], ["more\0"], []):
        BpeTrainer().feed(of(texts))
    trainer = BpeTrainer()
    trainer.feed(iter(["more"]))
    assert trainer.counts.items() == [(b"more", 1)]
    by_path = Tokenizer.train([tmp_path / "corpus.txt"], 260)
    assert (
        by_path == Tokenizer.train(tmp_path / "corpus.txt", 260) != Tokenizer.train(["x"] * 2, 256)
    )
