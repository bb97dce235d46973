"""What a model replies is decided by seed, batch, question and sample, and by nothing else."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Conversation, Message, Renderer
from bytemill.lm.generate.replies import replies
from bytemill.lm.stages.rl.rollouts import Questions, check_judged, roll_out, row_seed
from bytemill.lm.stages.rl.settings import RlSettings
from bytemill.tasks import Messages, Mixture
from tests.support.chats import chat_tokenizer
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.rewards import Lengths, assistant

SETTINGS = RlSettings(questions=5, samples=4, max_new_tokens=10, top_k=20)


@pytest.fixture(scope="module")
def renderer():
    return Renderer(chat_tokenizer())


def asked(renderer, place=0, n=5, task=None, seed=3):
    return Questions(task or Lengths(), renderer, 32, seed).take(place, n)[0]


def written(renderer, questions, batch=0, seed=7, **settings):
    settings = dataclasses.replace(SETTINGS, **settings)
    model = assistant()
    return roll_out(model, renderer, Lengths(), questions, settings, seed=seed, batch=batch)


def test_rollouts_depend_on_neither_batch_nor_company(renderer):
    questions = asked(renderer)
    whole = written(renderer, questions)
    assert len(whole) == 20 and len({tuple(one.ids) for one in whole}) > 15
    assert written(renderer, questions, rollout_rows=3) == whole
    shares = [written(renderer, questions[rank::2]) for rank in range(2)]
    assert [one for one in whole if one.question % 2 == 0] == shares[0]
    assert [one for one in whole if one.question % 2 == 1] == shares[1]
    for change in ({"batch": 1}, {"seed": 8}):
        assert written(renderer, questions, **change) != whole


def test_a_rollout_is_a_reply_of_the_engine(renderer):
    (question,) = asked(renderer, n=1)
    found = written(renderer, [question])
    for sample, one in enumerate(found):
        seed = row_seed(7, 0, 0, sample)
        (reply,) = replies(
            assistant(), renderer, [question.prompt], max_new_tokens=10, top_k=20, seed=[seed]
        )
        assert (one.ids, one.mask) == (reply.ids, reply.mask)
        assert one.is_finished == (reply.finish == "stop")
        assert one.reward == len(reply.message.text) % 3 / 2
    assert {one.is_finished for one in written(renderer, asked(renderer))} == {False, True}


def test_seeds_are_of_63_bits_and_differ():
    seeds = {
        row_seed(s, b, q, i) for s in range(3) for b in range(9) for q in range(9) for i in range(9)
    }
    assert len(seeds) == 3 * 9**3 and all(0 <= seed < 2**63 for seed in seeds)


def test_the_model_is_left_in_its_mode(renderer):
    model = assistant(dropout=0.5)
    model.train()
    first, second = (
        roll_out(model, renderer, Lengths(), asked(renderer), SETTINGS, seed=1, batch=0)
        for _ in range(2)
    )
    assert first == second and model.training


def test_a_reward_that_is_not_a_number(renderer):
    """It is told, also of a reply that a limit ended, whose reward is not looked at."""
    settings = dataclasses.replace(SETTINGS, max_new_tokens=1)

    class Judge(Lengths):
        def judge(self, item, reply):
            return float("inf")

    with pytest.raises(ValueError, match="the judge of lengths gave inf"):
        roll_out(assistant(), renderer, Judge(), asked(renderer), settings, seed=1, batch=0)


def test_all_questions_come_once_before_one_comes_again(renderer):
    questions = Questions(Lengths(7), renderer, 32, seed=1)
    orders, place = [], 0
    for _ in range(3):
        found, place = questions.take(place, 7)
        orders.append([tuple(one.prompt) for one in found])
    assert all(len(set(order)) == 7 for order in orders)
    assert len(set(map(tuple, orders))) == 3
    # Any place is found again without those before it.
    again, _ = Questions(Lengths(7), renderer, 32, seed=1).take(9, 3)
    assert [tuple(one.prompt) for one in again] == orders[1][2:5]


def test_questions_that_leave_no_room_are_passed_over(renderer):
    class Some(Lengths):
        def item(self, index):
            item = super().item(index)
            if index % 2:
                message = Message("user", "long " * 40)
                return dataclasses.replace(item, conversation=Conversation((message,)))
            return item

    found, place = Questions(Some(10), renderer, 32, seed=0).take(0, 5)
    assert len(found) == 5 and 5 < place <= 10
    with pytest.raises(ValueError, match="no question leaves room"):
        Questions(Lengths(), renderer, 4, seed=0).take(0, 1)


def test_tasks_that_cannot_be_judged(renderer, tmp_path):
    path = tmp_path / "said.jsonl"
    path.write_text('[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]\n')
    check_judged(Lengths())
    with pytest.raises(ValueError, match="cannot be rewarded"):
        check_judged(Mixture([Lengths(), Messages(path)]))
    with pytest.raises(ValueError, match="nothing to ask"):
        Questions(Lengths(0), renderer, 32, seed=0)
