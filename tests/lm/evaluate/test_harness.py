"""Our model in the lm-evaluation-harness, beside its own of the same weights."""

import json
import sys

import pytest

torch = pytest.importorskip("torch")

from tests.support.chats import chat_tokenizer
from tests.support.one_thread import one_thread  # noqa: F401

TOKENIZER = chat_tokenizer()
SHAPE = {
    "vocab_size": TOKENIZER.n_vocab, "context_length": 64, "d_model": 32, "n_layer": 2, "n_head": 4,
}  # fmt: skip
CONTEXTS = ["the low new est wid er", "a b", "the low new " * 40]


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "bytemill.lm.evaluate.harness", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'bytemill\[harness\]'"):
        import bytemill.lm.evaluate.harness  # noqa: F401


def begins_with_bos(tokenizer, flag):
    """Lets their tokenizer begin texts as ours does."""
    from tokenizers.processors import TemplateProcessing

    bos = "<|bos|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A" if flag else "$A", special_tokens=[(bos, TOKENIZER.special_tokens[bos])]
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Ours and the harness's, of the same weights and tokenizer."""
    pytest.importorskip("lm_eval")
    transformers = pytest.importorskip("transformers")
    from lm_eval.models.huggingface import HFLM

    from benchmarks import lm_models
    from bytemill.chat import export
    from bytemill.lm.checkpoint.one_file import CheckpointStore
    from bytemill.lm.evaluate.harness import BytemillLM

    folder = tmp_path_factory.mktemp("harness")
    mine, theirs = lm_models.ours("cs336", SHAPE), lm_models.llama(SHAPE)
    lm_models.copy_weights(mine, theirs)
    CheckpointStore(folder / "run").save(
        1, mine, [torch.optim.SGD(mine.parameters(), lr=1.0)],
        model_config=mine.config.to_dict(), metrics={"val_loss": 1.0},
    )  # fmt: skip
    TOKENIZER.save(folder / "run" / "tokenizer")
    export(TOKENIZER, folder / "exported")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "exported")
    begins_with_bos(tokenizer, True)
    for config in (theirs.config, theirs.generation_config):
        config.eos_token_id = TOKENIZER.special_tokens["<|assistant_end|>"]  # Llama's is 2
    harness = HFLM(
        pretrained=theirs.eval(), tokenizer=tokenizer, max_length=64, batch_size=1, device="cpu",
        add_bos_token=True,
    )  # fmt: skip
    return BytemillLM.create_from_arg_string(
        f"run={folder / 'run'},batch_size=4,device=cpu,checkpoint=last"
    ), harness


def made(kind, arguments):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, each, i) for i, each in enumerate(arguments)]


def test_loglikelihoods_are_those_of_its_own(both):
    pairs = [(c, x) for x in (" low", " the new", " 12 er est") for c in [*CONTEXTS, "a b "]]
    mine, theirs = (lm.loglikelihood(made("loglikelihood", pairs)) for lm in both)
    assert [found for found, _ in mine] == pytest.approx([f for f, _ in theirs], abs=1e-3)
    assert [greedy for _, greedy in mine] == [greedy for _, greedy in theirs]


def test_rolling_is_that_of_its_own(both):
    texts = [("the low",), ("the low new est " * 30,)]
    begins_with_bos(both[1].tokenizer, False)  # it puts one before each text anyway
    mine, theirs = (lm.loglikelihood_rolling(made("loglikelihood_rolling", texts)) for lm in both)
    begins_with_bos(both[1].tokenizer, True)
    assert mine == pytest.approx(theirs, abs=1e-2)


def test_what_is_written_is_that_of_its_own(both):
    options = {"until": ["\n\n"], "max_gen_toks": 10, "do_sample": False}
    asked = [(context, options) for context in CONTEXTS]
    mine, theirs = (lm.generate_until(made("generate_until", asked)) for lm in both)
    assert mine == theirs and any(mine)
    cut = {"until": mine[0][2:4], "max_gen_toks": 10}
    assert both[0].generate_until(made("generate_until", [(CONTEXTS[0], cut)])) == [mine[0][:2]]
    with pytest.raises(ValueError, match="num_beams"):
        both[0].generate_until(made("generate_until", [("x", {"num_beams": 2})]))


def test_a_task_from_a_file(both, tmp_path):
    """The whole way: a task of the harness's, on local items, with the same scores for both."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    items = [{"query": "the low", "choices": [" new", " 12 er"], "gold": i % 2} for i in range(6)]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    (tmp_path / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
        f"    test: {tmp_path / 'items.jsonl'}\n"
        "output_type: multiple_choice\ntest_split: test\ndoc_to_text: '{{query}}'\n"
        "doc_to_choice: '{{choices}}'\ndoc_to_target: gold\ntarget_delimiter: ''\n"
        "metric_list:\n  - metric: acc\n"
    )
    found = [
        simple_evaluate(
            model=lm, tasks=["mine"], task_manager=TaskManager(include_path=str(tmp_path)),
            bootstrap_iters=0,
        )["results"]["mine"]["acc,none"]
        for lm in both
    ]  # fmt: skip
    assert found == [0.5, 0.5]
