"""The engine against lonely runs: rows that come, go and are cancelled at random."""

import math
import random

import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Conversation, Message
from bytemill.lm.engine.engine import Engine, EngineClosed, EngineFull, EngineSettings
from bytemill.lm.engine.rows import Row, TextMachine
from bytemill.lm.generate.replies import Machine, replies
from bytemill.lm.generate.text import generate
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.tools import calculate
from tests.support.callers import calling_model
from tests.support.engine_rows import N_VOCAB, RENDERER, Asked, T
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401

SAMPLINGS = [
    {"temperature": 0.0},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 20},
    {"temperature": 1.2, "top_k": 50, "top_p": 0.9},
]


def run(engine, most=10_000):
    for _ in range(most):
        if not engine.is_busy:
            return
        engine.step()
    raise AssertionError("it does not end")


def chat_prompt(r):
    asked = "".join(r.choices(["the ", "low ", "1+2 ", "你好"], k=r.randint(1, 6)))
    return RENDERER.prompt(Conversation((Message("user", asked),)))


@pytest.fixture(scope="module")
def calling():
    return DecodingWeights(calling_model(RENDERER, T))


def scenario(engine, weights, seed, is_chat):
    """Random arrivals, cancels and lengths; the rows, and what a lonely run of each gives."""
    r = random.Random(seed)
    asked, cancelled, lonely = [], set(), []
    shared = [chat_prompt(r) for _ in range(4)]
    ended = []
    while len(asked) < 40 or engine.is_busy:
        for _ in range(r.choice([0, 0, 1, 1, 3]) if len(asked) < 40 else 0):
            sampling, row_seed, limit = r.choice(SAMPLINGS), r.randrange(2**63), r.randint(1, 40)
            if ended and r.random() < 0.4:  # a next turn: what another has read, and more
                prompt = [*r.choice(ended), *chat_prompt(r)][: T - 2]
            else:
                prompt = list(r.choice(shared) if r.random() < 0.5 else chat_prompt(r))
            limit = min(limit, T - len(prompt) + 1)
            common = {"max_new_tokens": limit, "seed": row_seed, **sampling}
            if is_chat:
                machine = Machine(RENDERER, prompt, limit, calculate)
                (reply,) = replies(weights, RENDERER, [prompt], **common)
                expected = reply.ids, reply.finish
            else:
                stop = r.sample(range(N_VOCAB), 30)
                machine = TextMachine(prompt, limit, stop)
                (ids,) = generate(weights, [prompt], stop=stop, **common)
                expected = ids, "length" if len(ids) == limit else "stop"
            lonely.append(expected)
            asked.append(Asked(machine, sampling, row_seed))
            engine.submit([asked[-1].row])
        if asked and r.random() < 0.25:
            chosen = r.randrange(len(asked))
            cancelled.add(chosen)
            asked[chosen].row.cancel()
        engine.step()
        ended = [[*one.row.machine.prompt, *one.ids] for one in asked if one.ends]
    return asked, lonely, cancelled


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["calling", "plain"])
def test_rows_are_as_if_alone(request, kind, seed):
    weights = request.getfixturevalue(kind)
    settings = EngineSettings(
        max_rows=5, chunk=[7, 30, 200][seed], prefix_bytes=[0, 200_000, 10**9][seed]
    )
    engine = Engine(weights, N_VOCAB, settings)
    asked, lonely, cancelled = scenario(engine, weights, seed, kind == "calling")
    n_whole = 0
    for i, (one, (ids, finish)) in enumerate(zip(asked, lonely, strict=True)):
        (end,) = one.ends
        if end.finish == "cancelled":
            assert i in cancelled
            assert one.ids == ids[: len(one.ids)]
            continue
        n_whole += 1
        given = one.ids if kind == "calling" or end.finish == "length" else one.ids[:-1]
        assert (given, end.finish) == (ids, finish)
    assert n_whole > 15 and len(asked) - n_whole > 2
    assert engine.n_active == engine.n_waiting == 0
    counts = engine.counts
    assert counts.stop + counts.length + counts.cancelled == len(asked)
    assert counts.new_tokens == sum(len(one.ids) for one in asked)
    assert engine.prefix_bytes <= settings.prefix_bytes
    if seed:
        assert counts.reused_tokens > counts.prompt_tokens / 10
    if kind == "calling":
        assert any(token.is_forced for one in asked for token in one.tokens)


def test_a_next_turn_reads_only_what_is_new(plain):
    engine = Engine(plain, N_VOCAB, EngineSettings(max_rows=2))
    r = random.Random(0)
    ids = chat_prompt(r)
    for turn in range(4):
        before = len(ids)
        one = Asked(TextMachine(ids, 5), {"temperature": 1.0}, turn)
        engine.submit([one.row])
        run(engine)
        assert one.row.reused == (0 if not turn else before - 3)  # 2 are new, 1 was not yet read
        ids = [*ids, *one.ids, *r.choices(range(N_VOCAB), k=2)]
        (alone,) = generate(plain, [ids[:before]], max_new_tokens=5, seed=turn)
        assert one.ids == alone


def test_samples_of_one_prompt_read_it_once(plain):
    engine = Engine(plain, N_VOCAB, EngineSettings(prefix_bytes=0))
    prompt = chat_prompt(random.Random(1)) * 2
    asked = [Asked(TextMachine(prompt, 8), {"temperature": 1.0}, seed) for seed in range(5)]
    engine.submit([one.row for one in asked])
    run(engine)
    assert engine.counts.reused_tokens == 4 * (len(prompt) - 1)
    assert [one.ids for one in asked] == generate(plain, [prompt] * 5, max_new_tokens=8)


class Reads:
    """How many prompts each pass of an engine's read, and how many tokens it was wide."""

    def __init__(self, engine, monkeypatch):
        self.shapes = []
        read = engine._passes.read

        def counted(ids, *rest):
            self.shapes.append(tuple(ids.shape))
            return read(ids, *rest)

        monkeypatch.setattr(engine._passes, "read", counted)


def test_prompts_that_wait_are_read_together(plain, monkeypatch):
    engine = Engine(plain, N_VOCAB, EngineSettings(max_rows=6, chunk=40, prefix_bytes=0))
    reads = Reads(engine, monkeypatch)
    r = random.Random(3)
    lengths = [12, 10, 11, 3, 30, 12, 12]
    prompts = [r.choices(range(N_VOCAB), k=n) for n in lengths]
    asked = [Asked(TextMachine(p, 4), {"temperature": 1.0}, i) for i, p in enumerate(prompts)]
    engine.submit([one.row for one in asked])
    engine.step()
    # Three fill most of a chunk; what is left would be little of the next but one.
    assert reads.shapes == [(3, 12), (1, 3)]
    assert [len(one.ids) for one in asked] == [2, 2, 2, 2, 0, 0, 0]
    engine.step()
    assert reads.shapes[2:] == [(1, 30)]  # no room for one beside it
    run(engine)
    assert sum(n for n, _ in reads.shapes) == len(prompts)
    for i, (one, prompt) in enumerate(zip(asked, prompts, strict=True)):
        assert [one.ids] == generate(plain, [prompt], max_new_tokens=4, seed=i)


def test_a_row_that_comes_has_its_first_token_after_a_step(plain):
    engine = Engine(plain, N_VOCAB, EngineSettings(max_rows=16, chunk=40))
    running = [Asked(TextMachine([1, i], 50), {"temperature": 1.0}, i) for i in range(15)]
    engine.submit([one.row for one in running])
    for _ in range(3):
        engine.step()
    before = [len(one.ids) for one in running]
    late = Asked(TextMachine([*range(30)], 5), {"temperature": 1.0}, 0)
    engine.submit([late.row])
    engine.step()
    assert len(late.ids) == 2  # by its reading, and with the others
    assert [len(one.ids) for one in running] == [n + 1 for n in before]


def test_a_slot_has_room_for_padding(plain, monkeypatch):
    engine = Engine(plain, N_VOCAB, EngineSettings(max_rows=3, chunk=200))
    known = [5] * (T - 6)
    engine.submit([Asked(TextMachine(known, 1), {"temperature": 0.0}, 0).row])
    run(engine)
    reads = Reads(engine, monkeypatch)
    next_turn = [*known, 7, 8, 9]  # 4 are left to read, up to 3 before the end
    other = list(range(1, 6))
    asked = [Asked(TextMachine(p, 2), {"temperature": 0.0}, 0) for p in (next_turn, other * 2)]
    more = Asked(TextMachine(other, 2), {"temperature": 0.0}, 0)
    engine.submit([one.row for one in asked])
    run(engine)
    assert reads.shapes == [(1, 3), (1, 10)]
    engine.submit([more.row])
    run(engine)
    for one in (*asked, more):
        prompt = one.row.machine.prompt
        assert [one.ids] == generate(plain, [prompt], max_new_tokens=2, temperature=0)


def test_a_pass_that_fails_ends_its_rows_alone(plain, monkeypatch):
    engine = Engine(plain, N_VOCAB, EngineSettings(max_rows=4, chunk=20, prefix_bytes=0))
    read = engine._passes.read

    def fail(ids, *rest):
        if 7 in ids:
            raise MemoryError("no room")
        return read(ids, *rest)

    monkeypatch.setattr(engine._passes, "read", fail)
    prompts = [[1, 2], [3, 4, 5, 6, 8, 9, 10, 11], [7] * 8, [12, 13, 14, 15, 16, 17, 18]]
    asked = [Asked(TextMachine(p, 5), {"temperature": 0.0}, 0) for p in prompts]
    engine.submit([one.row for one in asked])
    run(engine)
    failed = [isinstance(one.ends[0].error, MemoryError) for one in asked]
    assert failed == [False, True, True, False]  # of one pass: the second and the third
    for one in (asked[0], asked[3]):
        assert [one.ids] == generate(
            plain, [one.row.machine.prompt], max_new_tokens=5, temperature=0
        )
    assert engine.n_active == 0


def test_prefixes_are_bounded_and_the_least_used_goes(plain):
    token_bytes = 2 * plain.config.n_layer * plain.config.kv_width * 4 + 8
    engine = Engine(plain, N_VOCAB, EngineSettings(prefix_bytes=40 * token_bytes))
    prompts = [[i] * 15 for i in range(3)]

    def ask(prompt):
        one = Asked(TextMachine(prompt, 1), {"temperature": 0.0}, 0)
        engine.submit([one.row])
        run(engine)
        return one.row.reused

    assert [ask(prompts[0]), ask(prompts[1]), ask(prompts[0])] == [0, 0, 14]
    assert ask(prompts[2]) == 0  # in the place of the second, the least used
    assert engine.prefix_bytes == 30 * token_bytes
    assert [engine.known(prompt) for prompt in prompts] == [15, 0, 15]
    assert ask([7] * 41) == ask([7] * 41) == 0  # more than there is room for
    assert ask([*prompts[0], 5]) == 15 and engine.prefix_bytes == 31 * token_bytes


def test_a_cancelled_row_is_free_after_a_step(plain):
    engine = Engine(plain, N_VOCAB, EngineSettings(max_rows=3, chunk=4))
    asked = [Asked(TextMachine([1, 2, 3], 50), {"temperature": 1.0}, seed) for seed in range(5)]
    long = Asked(TextMachine([5] * 30, 3), {"temperature": 1.0}, 0)
    engine.submit([asked[0].row, asked[1].row, long.row])
    for _ in range(4):
        engine.step()
    assert (engine.n_active, engine.n_waiting, long.tokens) == (3, 0, [])
    engine.submit([one.row for one in asked[2:]])
    for one in (asked[0], long, asked[3]):  # running, being read, waiting
        one.row.cancel()
    engine.step()
    assert [one.ends[0].finish for one in (asked[0], long, asked[3])] == ["cancelled"] * 3
    assert engine.n_waiting == 0
    run(engine)
    for seed in (1, 2, 4):
        (alone,) = generate(plain, [[1, 2, 3]], max_new_tokens=50, seed=seed)
        assert asked[seed].ids == alone


def test_on_token_ends_a_row_and_its_faults_end_no_other(plain):
    engine = Engine(plain, N_VOCAB)
    some = Asked(TextMachine([1], 9), {"temperature": 1.0}, 0, most=3)
    other = Asked(TextMachine([1], 9), {"temperature": 1.0}, 1)

    def fail(token):
        raise OSError("no")

    ends = []
    failing = Row(TextMachine([1], 9), on_token=fail, on_end=ends.append)
    engine.submit([some.row, failing, other.row])
    run(engine)
    assert (len(some.ids), some.ends[0].finish) == (3, "stop")
    assert ends[0].finish == "error" and isinstance(ends[0].error, OSError)
    assert [other.ids] == generate(plain, [[1]], max_new_tokens=9, seed=1)


def test_logits_that_are_not_finite_end_only_their_row():
    model = small_model("gpt", vocab_size=N_VOCAB, context_length=T).eval()
    model.token_embeddings.weight.data[7] = math.nan
    weights = DecodingWeights(model)
    engine = Engine(weights, N_VOCAB)
    bad = Asked(TextMachine([7], 9), {"temperature": 0.0}, 0)
    good = Asked(TextMachine([1], 3), {"temperature": 0.0}, 0)
    engine.submit([bad.row, good.row])
    run(engine)
    assert bad.ends[0].finish == "error" and "not finite" in str(bad.ends[0].error)
    assert [good.ids] == generate(weights, [[1]], max_new_tokens=3, temperature=0)
    assert engine.prefix_bytes and engine.known([7, 7]) == 0  # nothing damaged is kept


def test_logprobs_are_the_models(plain):
    engine = Engine(plain, N_VOCAB)
    one = Asked(TextMachine([1, 2], 4), {"temperature": 0.5, "top_k": 3}, 5, n_top=2)
    without = Asked(TextMachine([1, 2], 4), {"temperature": 0.5, "top_k": 3}, 5)
    engine.submit([one.row, without.row])
    run(engine)
    ids = [1, 2, *one.ids]
    logprobs = plain.model(torch.tensor([ids])).log_softmax(-1)[0]
    for at, token in enumerate(one.tokens, 1):
        assert token.logprob == pytest.approx(logprobs[at, token.id].item(), abs=1e-4)
        values, best = logprobs[at].topk(2)
        assert [id_ for id_, _ in token.top] == best.tolist()
        assert [p for _, p in token.top] == pytest.approx(values.tolist(), abs=1e-4)
    assert {token.logprob for token in without.tokens} == {None} and without.ids == one.ids


def test_what_is_refused(plain):
    engine = Engine(plain, N_VOCAB, EngineSettings(max_rows=1, max_waiting=2, max_length=20))

    def row(prompt=(1,)):
        return Row(TextMachine(list(prompt), 90))

    for prompt, message in (([1] * 21, "room for 20"), ([N_VOCAB], "ids from"), ([-1], "ids from")):
        with pytest.raises(ValueError, match=message):
            engine.submit([row(), row(prompt)])
    assert not engine.is_busy
    for arguments, message in (({"seed": -1}, "seed"), ({"n_top": 21}, "n_top=21")):
        with pytest.raises(ValueError, match=message):
            Row(TextMachine([1], 1), **arguments)
    with pytest.raises(ValueError, match="empty"):
        row([])
    with pytest.raises(ValueError, match="chunk=0"):
        EngineSettings(chunk=0)
    with pytest.raises(ValueError, match="ids"):
        Engine(plain, plain.config.vocab_size + 1)
    with pytest.raises(EngineFull):
        engine.submit([row() for _ in range(4)])
    rows = [row() for _ in range(3)]
    engine.submit(rows)
    with pytest.raises(EngineFull):
        engine.submit([row()])
    run(engine)
    assert {r.end.finish for r in rows} == {"length"}
    assert {len(r.machine.ids) for r in rows} == {20}  # the last is not read
    engine.close()
    with pytest.raises(EngineClosed):
        engine.submit([row()])
