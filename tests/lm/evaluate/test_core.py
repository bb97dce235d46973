"""CORE against a naive version of its definition: item by item, row by row, all logits."""

import json
import math
import random
import statistics

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.evaluate.core import TASKS, CoreResult, TaskResult, run_core
from bytemill.lm.evaluate.core.items import find, read_items
from bytemill.lm.evaluate.core.prompts import question
from bytemill.lm.evaluate.core.score import score
from tests.support.chats import chat_tokenizer
from tests.support.evaluation import EVAL
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401

TOKENIZER = chat_tokenizer()
BOS = TOKENIZER.special_tokens["<|bos|>"]
BY_NAME = {task.name: task for task in TASKS}
SOME = ("arc_easy", "copa", "winogrande", "jeopardy", "lambada_openai")


def made_up(task, n, seed=0):
    r = random.Random(f"{task.name} {seed}")
    words = ["the", "low", "er", "new", "est", "wid", "12", "don't", "你好", "👍", "a", "b"]

    def text(least, most):
        return " ".join(r.choices(words, k=r.randint(least, most)))

    items = []
    for _ in range(n):
        if task.kind == "choice":
            choices = [text(1, 4) for _ in range(r.randint(2, 4))]
            choices[1] = choices[0] + r.choice(["", " more"])  # the one begins the other
            item = {"query": text(3, 9), "choices": choices}
        elif task.kind == "schema":
            item = {"context_options": [text(2, 6), text(2, 6)], "continuation": text(1, 4)}
        else:
            item = {"context": f" {text(3, 9)} ", "continuation": text(1, 2)}
        if task.kind != "continuation":
            item["gold"] = r.randrange(len(item.get("choices", [0, 0])))
        items.append(item)
    return items


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    for name in SOME:
        task = BY_NAME[name]
        path = folder / "deep" / f"{task.file}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(map(json.dumps, made_up(task, 14))))
    return folder


@pytest.fixture(scope="module")
def model():
    made = small_model("gpt", vocab_size=TOKENIZER.n_vocab, context_length=160)
    return made.eval().requires_grad_(False)


def naive(model, task, path, n):
    """(choice, right) of each item, by the definition alone."""
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    random.Random(1337).shuffle(items)
    context = model.config.context_length
    encode = TOKENIZER.encode_ordinary
    answers = []
    for index, item in enumerate(items[:n]):
        others = [i for i in range(len(items)) if i != index]
        prompt = ""
        for i in random.Random(1234 + index).sample(others, task.shots) if task.shots else []:
            shot = items[i]
            if task.kind == "choice":
                prompt += f"{shot['query']}{task.delimiter}{shot['choices'][shot['gold']]}\n\n"
            elif task.kind == "schema":
                given = shot["context_options"][shot["gold"]]
                prompt += f"{given}{task.delimiter}{shot['continuation']}\n\n"
            else:
                prompt += f"{shot['context'].strip()}{task.delimiter}{shot['continuation']}\n\n"
        if task.kind == "continuation":
            without = f"{prompt}{item['context'].strip()}{task.delimiter}"
            row = [BOS, *encode(without + item["continuation"])]
            start = 0
            for a, b in zip(row, [BOS, *encode(without.strip())], strict=False):
                if a != b:
                    break
                start += 1
            start = min(start, len(row) - 1)
            crop = max(len(row) - context, 0)
            ids = row[crop:]
            best = model(torch.tensor([ids]))[0].argmax(-1).tolist()
            right = all(best[i - 1] == ids[i] for i in range(max(start - crop, 1), len(ids)))
            answers.append((int(right), right))
            continue
        if task.kind == "choice":
            texts = [f"{prompt}{item['query']}{task.delimiter}{c}" for c in item["choices"]]
        else:
            end = f"{task.delimiter}{item['continuation']}"
            texts = [prompt + c + end for c in item["context_options"]]
        rows = [[BOS, *encode(text)] for text in texts]
        if task.kind == "choice":
            shared = 0
            while all(len(r) > shared and r[shared] == rows[0][shared] for r in rows):
                shared += 1
            shared = min(shared, min(map(len, rows)) - 1)
            starts = [shared] * len(rows)
        else:
            shared = 0
            while all(len(r) > shared and r[-1 - shared] == rows[0][-1 - shared] for r in rows):
                shared += 1
            starts = [max(len(r) - shared, 1) for r in rows]
        losses = []
        for row, start in zip(rows, starts, strict=True):
            crop = max(len(row) - context, 0)
            ids = torch.tensor(row[crop:])
            logs = model(ids[None])[0].double().log_softmax(-1)
            places = range(max(start - crop, 1), len(ids))
            losses.append(statistics.fmean(-logs[i - 1, ids[i]].item() for i in places))
        choice = losses.index(min(losses))
        answers.append((choice, choice == item["gold"], losses))
    return answers


def test_every_answer_as_the_naive_one_at_every_batch_size(model, bundle, tmp_path):
    expected = {n: naive(model, BY_NAME[n], find(bundle, BY_NAME[n]), 14) for n in SOME}
    for batch_size in (1, 7, 64):
        keep = tmp_path / str(batch_size)
        found = run_core(
            model, TOKENIZER.encode_ordinary, BOS, bundle, batch_size=batch_size, keep=keep
        )
        assert {r.task.name for r in found.tasks} == set(SOME)
        for result in found.tasks:
            name = result.task.name
            head, *lines = map(json.loads, (keep / f"{name}.jsonl").read_text().splitlines())
            assert head["task"] == name
            assert [(line["choice"], line["right"]) for line in lines] == [
                (choice, right) for choice, right, *_ in expected[name]
            ]
            assert list(result.right) == [line["right"] for line in lines]
            for line, (_, _, *losses) in zip(lines, expected[name], strict=True):
                assert not losses or line["losses"] == pytest.approx(losses[0], abs=1e-4)
    # Both ways of being wrong and right are there, and rows too long for the model.
    assert any(any(r.right) and not all(r.right) for r in found.tasks)
    assert any(r.n_cropped for r in found.tasks)


def test_greedy_continuations_that_are_right(model):
    """A continuation that the model itself wrote is right; with another last token it is not."""
    task = BY_NAME["lambada_openai"]
    given = [BOS, *TOKENIZER.encode_ordinary("the new")]
    ids = list(given)
    for _ in range(3):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    questions = []
    for last in (ids[-1], (ids[-1] + 1) % 256):
        made = question(task, [{"context": "x", "continuation": "y"}], 0, list, None, 160)
        rows = [[*ids[:-1], last]]
        questions.append(type(made)(rows, [(len(given), len(ids))], None, False))
    found = dict(score(model, questions))
    assert [found[i].is_right for i in (0, 1)] == [True, False]


def test_a_choice_that_begins_another_has_something_to_score():
    task = BY_NAME["copa"]
    items = [{"query": "Q", "choices": ["one", "one more"], "gold": 1}]
    made = question(task, items, 0, lambda text: list(text.encode()), BOS, 99)
    assert [end - start for start, end in made.spans] == [1, 6]
    assert made.spans[0][0] == made.spans[1][0] == len("Q one")


def test_a_row_of_one_token_is_refused():
    """Nothing stands before it: it has no loss."""
    task = BY_NAME["copa"]
    items = [{"query": "Q", "choices": ["one", "two"], "gold": 1}]
    with pytest.raises(ValueError, match=r"item 0 of copa .* the context length is 1;"):
        question(task, items, 0, lambda text: list(text.encode()), BOS, 1)
    with pytest.raises(ValueError, match=r"item 0 of copa .*<\|bos\|>"):
        question(task, items, 0, lambda text: [len(text)], None, 99)
    assert question(task, items, 0, lambda text: [len(text)], BOS, 99).spans == [(1, 2), (1, 2)]


def test_items_are_asked_once(model, bundle, tmp_path):
    asked = []

    def encode(text):
        asked.append(text)
        return TOKENIZER.encode_ordinary(text)

    def run(**changes):
        asked.clear()
        settings = {"keep": tmp_path, "identity": "a", **changes}
        return run_core(model, encode, BOS, bundle, **settings).tasks

    first = run(max_items=5)
    assert asked
    more = run(max_items=9)
    assert {len(r.right) for r in more} == {9}
    assert [r.right[:5] for r in more] == [r.right for r in first]
    assert [r.right for r in run(max_items=9)] == [r.right for r in more]
    assert asked == []
    run(max_items=9, identity="b")
    assert asked
    (tmp_path / "copa.jsonl").write_text("{broken")
    assert [r.right for r in run(max_items=9, identity="b")] == [r.right for r in more]
    assert asked


def test_bad_data(model, tmp_path):
    def run(**changes):
        return run_core(model, TOKENIZER.encode_ordinary, BOS, tmp_path, **changes)

    with pytest.raises(FileNotFoundError, match=r"none of CORE's files.*hellaswag\.jsonl"):
        run()
    path = tmp_path / "arc_easy.jsonl"
    good = made_up(BY_NAME["arc_easy"], 11)
    path.write_text("\n".join(map(json.dumps, good[:10])))
    with pytest.raises(ValueError, match=r"shows 10 other items .* there are 10"):
        run()
    for line, reason in (
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"query": "x", "choices": ["a"]}', "has no 'gold'"),
        ('{"query": "x", "choices": ["a"], "gold": 1}', "gold is 1, of 1"),
        ('{"query": 3, "choices": ["a"], "gold": 0}', "'query' of an item of arc_easy is 3"),
        ('{"query": "x", "choices": "ab", "gold": 0}', "'choices' of an item .* is 'ab'"),
        ('{"query": "x", "choices": ["a", null], "gold": 0}', "'choices' of an item"),
        ("[" * 100_000, "not JSON"),
    ):
        path.write_text("\n".join([*map(json.dumps, good), line]))
        with pytest.raises(ValueError, match=rf"arc_easy\.jsonl:12: .*{reason}"):
            run()
    path.write_bytes(b"\xff" + path.read_bytes())
    with pytest.raises(ValueError, match=r"arc_easy\.jsonl: not UTF-8"):
        run()
    path.write_text("\n".join(map(json.dumps, good)))
    for changes in ({"max_items": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(changes))}=0"):
            run(**changes)


def test_centring_by_hand():
    """GPT-2 XL's accuracies are not at hand; two tasks' figures are worked out on paper."""
    boolq = TaskResult(BY_NAME["boolq"], (True,) * 81 + (False,) * 19, 0, 0.0, "")
    assert boolq.centred() == pytest.approx(0.5)  # (0.81 - 0.62) / 0.38
    assert boolq.centred(v2=True) == pytest.approx(0.5)
    csqa = TaskResult(BY_NAME["commonsense_qa"], (True,) * 6 + (False,) * 4, 0, 0.0, "")
    assert csqa.centred() == pytest.approx(0.5)  # (0.6 - 0.2) / 0.8
    assert csqa.centred(v2=True) == pytest.approx(0.33, abs=1e-3)  # 0.197 / 0.597
    both = CoreResult((boolq, csqa))
    assert both.core() == pytest.approx(0.5)
    assert len(both.missing) == 20
    low, high = both.interval()
    # Standard errors: .0392 / .38 and .155 / .8, halved and added in squares: .110.
    spread = math.hypot(0.0392 / 0.38, 0.155 / 0.8) / 2
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.15)
    assert len({task.name for task in TASKS}) == 22


@pytest.mark.skipif(not (EVAL / "core").is_dir(), reason="CORE's items are not here")
@pytest.mark.parametrize("task", [t for t in TASKS if find(EVAL / "core", t)], ids=lambda t: t.name)
def test_real_items(model, task, tmp_path):
    path = find(EVAL / "core", task)
    n = 3
    found = run_core(
        model, TOKENIZER.encode_ordinary, BOS, EVAL / "core", tasks=[task], max_items=n
    )
    assert list(found.tasks[0].right) == [right for _, right, *_ in naive(model, task, path, n)]
    assert len(read_items(path, task)) > 30
