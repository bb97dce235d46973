"""Generation against the model without a cache, token by token."""

import math
from array import array

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.lm import ModelConfig, Transformer
from bytemill.lm.generate.decoder import Decoder
from bytemill.lm.generate.sampling import Sampling
from bytemill.lm.generate.text import generate, generate_steps, stream_text
from bytemill.lm.generate.weights import DecodingWeights
from tests.support.one_thread import one_thread  # noqa: F401

T, V = 32, 260
KINDS = {
    "cs336": ("cs336", {}),
    "cs336-grouped": ("cs336", {"n_kv_head": 2}),
    "gpt": ("gpt", {"n_kv_head": 2}),
    "gpt-weights": ("gpt", {"n_kv_head": 1, "norm_weights": True}),
    "2026": ("nanochat-2026", {"n_kv_head": 2, "window": 5}),
}


@pytest.fixture(scope="module", params=KINDS)
def model(request) -> Transformer:
    preset, fields = KINDS[request.param]
    return make(preset, **fields)


def make(name: str, d_model: int = 32, **fields) -> Transformer:
    """Weights as after some training: none is zero, or one."""
    sizes = {"vocab_size": V, "context_length": T, "n_layer": 2, "n_head": 4}
    config = ModelConfig.preset(name, d_model=d_model, **sizes, **fields)
    generator = torch.Generator().manual_seed(11)
    model = Transformer(config, generator=generator).requires_grad_(False)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.add_(noise * parameter.shape[-1] ** -0.5)
    return model


def prompts(lengths: list[int], seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(V, (n,), generator=generator).tolist() for n in lengths]


def uncached(model: Transformer, prompt: list[int], n: int) -> list[int]:
    """Greedy, without a cache: the whole window is read for each token."""
    window, new = list(prompt[-T:]), []
    for _ in range(n):
        if len(window) > T:
            window = window[-(T // 2) :]
        token = int(model(torch.tensor([window]))[0, -1].argmax())
        window.append(token)
        new.append(token)
    return new


@pytest.mark.parametrize("lengths", [[1], [7], [T - 1], [6, 6, 6], [1, 9, 4, 17]])
@pytest.mark.parametrize("d_model", [32, 256])
def test_decoder_gives_the_models_logits(lengths, d_model):
    # At 256 the matrices are large enough for the faster kernel.
    for name, fields in (("cs336", {}), ("gpt", {"n_kv_head": 2})):
        model = make(name, d_model, **fields)
        rows = prompts([T] * len(lengths))
        expected = model(torch.tensor(rows))
        decoder = Decoder(DecodingWeights(model))
        logits = decoder.prefill([row[:n] for row, n in zip(rows, lengths, strict=True)])
        for n in range(T - max(lengths) + 1):
            for i, length in enumerate(lengths):
                error = (logits[i] - expected[i, length + n - 1]).abs().max()
                assert error <= 1e-5 * max(1, float(expected.abs().max())), (name, n, i)
            if n < T - max(lengths):
                tokens = [row[length + n] for row, length in zip(rows, lengths, strict=True)]
                logits = decoder.step(torch.tensor(tokens))
        assert decoder.lengths == [length + T - max(lengths) for length in lengths]


def test_decoder_in_another_dtype():
    model = make("cs336", n_kv_head=2)
    rows = prompts([8, 5])
    decoder = Decoder(DecodingWeights(model, torch.bfloat16))
    decoder.prefill(rows)
    logits = decoder.step(torch.tensor([1, 2]))
    expected = torch.stack([model(torch.tensor([[*rows[i], i + 1]]))[0, -1] for i in (0, 1)])
    assert logits.dtype == torch.float32
    assert (logits - expected).norm() < 0.03 * expected.norm()


def test_decoder_refuses_what_does_not_fit():
    model = make("cs336")
    weights = DecodingWeights(model)
    for length in (0, T + 1):
        with pytest.raises(ValueError, match=f"max_length={length}"):
            Decoder(weights, length)
    decoder = Decoder(weights, 4)
    for bad in ([], [[]], [[1] * 5]):
        with pytest.raises(ValueError, match="each must have from 1 to 4"):
            decoder.prefill(bad)
    decoder.prefill([[1, 2, 3]])
    with pytest.raises(ValueError, match=r"expected \(1,\)"):
        decoder.step(torch.tensor([1, 2]))
    decoder.step(torch.tensor([1]))
    with pytest.raises(ValueError, match="holds 4 tokens"):
        decoder.step(torch.tensor([1]))


def test_greedy_text_is_that_without_a_cache(model):
    # Prompts of 1 to T tokens, 64 new ones: past the end of the context, twice.
    weights = DecodingWeights(model)
    rows = prompts([1, 2, 3, 15, 16, 17, T - 1, T])
    expected = [uncached(model, row, 64) for row in rows]
    options = {"max_new_tokens": 64, "temperature": 0, "overflow": "slide"}
    for row, text in zip(rows, expected, strict=True):
        assert generate(weights, [row], **options) == [text]
    assert generate(weights, rows, **options) == expected


def test_a_long_prompt_slides(model):
    (row,) = prompts([3 * T])
    found = generate(model, [row], max_new_tokens=5, temperature=0, overflow="slide")
    assert found == [uncached(model, row, 5)]


def test_prompts_of_every_length_up_to_the_context():
    model = make("gpt", n_kv_head=2)
    rows = prompts(list(range(1, T + 1)))
    found = generate(DecodingWeights(model), rows, temperature=0)
    # Without a limit each goes on until its context is full, and gives out one token more.
    assert [len(new) for new in found] == [T - n + 1 for n in range(1, T + 1)]
    assert found[::7] == [uncached(model, row, T - len(row) + 1) for row in rows[::7]]


def test_samples_of_uniform_logits_differ():
    model = make("cs336")
    model.lm_head.weight.zero_()
    found = generate(model, [[1]] * 64, max_new_tokens=2)
    assert len({new[0] for new in found}) >= 40
    assert len({tuple(new) for new in found}) >= 60


def test_a_row_is_the_same_alone_and_among_others(model):
    rows = prompts([3, 9, 3, 1])
    options = {"max_new_tokens": 12, "temperature": 0.9, "top_k": 50, "top_p": 0.95}
    together = generate(model, rows, seed=100, **options)
    for i, row in enumerate(rows):
        assert generate(model, [row], seed=100 + i, **options) == [together[i]]
    backwards = generate(model, rows[::-1], seed=[103, 102, 101, 100], **options)
    assert backwards == together[::-1]
    assert generate(model, rows, seed=100, **options) == together
    assert generate(model, rows, seed=7, **options) != together
    # Its beginning does not depend on where it is to end.
    longer = generate(model, rows, seed=100, **{**options, "max_new_tokens": 20})
    assert [new[:12] for new in longer] == together


def test_stop_ids_end_their_row_only(model):
    rows = prompts([4, 4, 7])
    free = generate(model, rows, max_new_tokens=20, temperature=0)
    stop = {free[0][3], free[2][6]}
    expected = []
    for new in free:
        ends = [i for i, token in enumerate(new) if token in stop]
        expected.append(new[: ends[0]] if ends else new)
    assert generate(model, rows, max_new_tokens=20, temperature=0, stop=stop) == expected
    steps = list(generate_steps(model, rows, max_new_tokens=20, temperature=0, stop=stop))
    assert len(steps) == max(map(len, expected))
    for i, new in enumerate(expected):
        column = [step[i] for step in steps]
        assert column == new + [None] * (len(steps) - len(new))


FORMS = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "keys": lambda ids: dict.fromkeys(ids).keys(),
    "numpy ints": lambda ids: [np.int64(id_) for id_ in ids],
    "numpy": np.array,
    "numpy uint16": lambda ids: np.array(ids, np.uint16),
    "stdlib array": lambda ids: array("i", ids),
    "tensor": torch.tensor,
    "tensors": lambda ids: [torch.tensor(id_) for id_ in ids],
    "int32 tensor": lambda ids: torch.tensor(ids, dtype=torch.int32),
}


@pytest.mark.parametrize("form", FORMS)
def test_stop_ids_of_every_form(form):
    model, rows = make("cs336"), prompts([4, 7])
    (first, second) = generate(model, rows, max_new_tokens=12, temperature=0)
    stop = [first[3], second[5]]
    expected = [
        new[: min((i for i, token in enumerate(new) if token in stop), default=12)]
        for new in (first, second)
    ]
    assert expected != [first, second]
    assert generate(model, rows, max_new_tokens=12, temperature=0, stop=FORMS[form](stop)) == (
        expected
    )


@pytest.mark.parametrize("form", [int, np.int64, np.uint8, np.array, torch.tensor])
def test_a_single_stop_id(form):
    model, rows = make("cs336"), [[1, 2, 3]]
    (free,) = generate(model, rows, max_new_tokens=12, temperature=0)
    stop = free[4] if form is not np.uint8 else next(t for t in free if t < 256)
    found = generate(model, rows, max_new_tokens=12, temperature=0, stop=form(stop))
    assert found == [free[: free.index(stop)]]


@pytest.mark.parametrize(
    "form", [form for form in FORMS if form not in ("set", "frozenset", "keys")]
)
def test_prompts_and_seeds_of_every_form(form):
    model, rows, seeds = make("cs336"), prompts([4, 4]), [3, 11]
    options = {"max_new_tokens": 6}
    expected = generate(model, rows, seed=seeds, **options)
    make_ids = FORMS[form]
    as_rows = [make_ids(row) for row in rows]
    assert generate(model, as_rows, seed=make_ids(seeds), **options) == expected
    assert generate(model, tuple(as_rows), seed=seeds, **options) == expected
    assert generate(model, rows[:1], seed=make_ids([3])[0], **options) == expected[:1]
    for whole in (torch.tensor, np.array):
        assert generate(model, whole(rows), seed=seeds, **options) == expected
    decoder = Decoder(DecodingWeights(model))
    assert torch.equal(decoder.prefill(as_rows), decoder.prefill(rows))


def test_numbers_of_numpy_and_torch():
    model, rows = make("cs336"), [[1, 2, 3]] * 3
    plain = {"max_new_tokens": 6, "top_k": 9, "temperature": 0.5, "top_p": 0.75, "seed": 5}
    expected = generate(model, rows, **plain)
    for integer, real in (
        (np.int32, np.float32), (np.uint8, np.float64), (np.array, np.array),
        (torch.tensor, torch.tensor),
    ):  # fmt: skip
        options = {name: integer(plain[name]) for name in ("max_new_tokens", "top_k", "seed")}
        options |= {name: real(plain[name]) for name in ("temperature", "top_p")}
        assert generate(model, rows, **options) == expected
    found = Sampling(np.float32(0.5), np.int64(9), torch.tensor(0.75))
    assert found == Sampling(0.5, 9, 0.75)
    kinds = [type(value) for value in (found.temperature, found.top_k, found.top_p)]
    assert kinds == [float, int, float]


@pytest.mark.parametrize("name", ["cs336", "gpt"])
@pytest.mark.parametrize("n_rows", [1, 2])
def test_decoder_refuses_what_is_not_an_id(name, n_rows):
    decoder = Decoder(DecodingWeights(make(name)))
    rows = [[1, 2]] * n_rows
    for bad, error, message in (
        (1.5, TypeError, "has 1.5: ids are integers"),
        (True, TypeError, "has True: ids are integers"),
        (V, ValueError, f"id {V} is not in the vocabulary"),
        (-1, ValueError, "id -1 is not in the vocabulary"),
    ):
        with pytest.raises(error, match=message):
            decoder.prefill([[1, bad]] * n_rows)
    decoder.prefill(rows)
    for bad, error, message in (
        (1.0, TypeError, "tokens of torch.float32"),
        (True, TypeError, "tokens of torch.bool"),
        (V, ValueError, f"token {V} is not in the vocabulary"),
        (-1, ValueError, "token -1 is not in the vocabulary"),
    ):
        with pytest.raises(error, match=message):
            decoder.step(torch.tensor([bad] * n_rows))
    assert decoder.lengths == [2] * n_rows


def test_nothing_asked_nothing_made(model):
    assert generate(model, [[1], [2]], max_new_tokens=0) == [[], []]
    assert generate(model, [[1]], max_new_tokens=0, overflow="slide") == [[]]


def test_streamed_text_never_divides_a_character():
    # Bytes alone are tokens: each character but ASCII's takes several.
    tokenizer = Tokenizer.from_ranks({bytes([i]): i for i in range(256)}, {"<|end|>": 256})
    text = "aé€😀\n" * 3
    ids = list(text.encode())

    class Told(Transformer):
        """Says the text, whatever it is asked."""

    model = Told(make("cs336").config)
    said = iter([*ids, 0xF0, 256])
    import bytemill.lm.generate.text as module

    def steps(*args, **options):
        for token in said:
            if token in options["stop"]:
                return
            yield [token]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "generate_steps", steps)
        pieces = list(stream_text(model, tokenizer, "x", max_new_tokens=999, stop={256}))
    assert "".join(pieces) == text + "\ufffd"
    # A piece is a whole character, and nothing is held back that could be given.
    assert pieces == [*text, "\ufffd"]


def test_streamed_text_is_the_text_of_the_ids(model):
    tokenizer = Tokenizer.from_ranks({bytes([i]): i for i in range(256)}, {"<|end|>": 256})
    for seed in range(4):
        options = {"max_new_tokens": 25, "seed": seed, "stop": {256}}
        (ids,) = generate(model, [list(b"abc")], **options)
        known = [id_ for id_ in ids if id_ < tokenizer.n_vocab]
        text = "".join(stream_text(model, tokenizer, "abc", **options))
        assert text == tokenizer.decode(known)
        assert "".join(stream_text(model, tokenizer, list(b"abc"), **options)) == text


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ([[1] * (T + 1)], {}, ValueError, "33 tokens, more than the context length 32.*slide"),
        ([[1], [1] * 30], {"max_new_tokens": 4}, ValueError, r"prompts\[1\].*room for 3.*slide"),
        ([], {}, ValueError, "no prompt"),
        ([[1], []], {}, ValueError, r"prompts\[1\] is empty"),
        ([[V]], {}, ValueError, "the id 260: the model's go from 0 to 259"),
        ([[-1]], {}, ValueError, "the id -1"),
        ([[1.0]], {}, TypeError, "1.0: ids are integers"),
        ("text", {}, TypeError, "lists of ids"),
        (["text"], {}, TypeError, r"prompts\[0\]='text'"),
        ([1], {}, TypeError, r"prompts\[0\]=1"),
        ([[1]], {"max_new_tokens": -1}, ValueError, "max_new_tokens=-1"),
        ([[1]], {"overflow": "wrap"}, ValueError, "overflow='wrap'"),
        ([[1]], {"overflow": "slide"}, ValueError, "max_new_tokens"),
        ([[1]], {"temperature": -1}, ValueError, "temperature=-1"),
        ([[1]], {"seed": -1}, ValueError, "seed=-1"),
        ([[True]], {}, TypeError, r"prompts\[0\] has True: ids are integers"),
        ([[1, "a"]], {}, TypeError, r"prompts\[0\] has 'a': ids are integers"),
        ([[[1]]], {}, TypeError, r"prompts\[0\] has \[1\]: ids are integers"),
        ([{1, 2}], {}, TypeError, r"prompts\[0\]=\{1, 2\}: it must be a list"),
        ([b"ab"], {}, TypeError, r"prompts\[0\]=b'ab'"),
        ([bytearray(b"ab")], {}, TypeError, r"prompts\[0\]=bytearray"),
        ([memoryview(b"ab")], {}, TypeError, r"prompts\[0\]=<memory"),
        ([None], {}, TypeError, r"prompts\[0\]=None"),
        (torch.tensor([1, 2]), {}, TypeError, r"prompts\[0\]=tensor\(1\): a prompt is a list"),
        (torch.tensor([[1.0]]), {}, TypeError, r"prompts\[0\] has 1.0: ids are integers"),
        (np.array([[True]]), {}, TypeError, r"prompts\[0\] has True"),
        (np.array([[1.5]]), {}, TypeError, r"prompts\[0\] has 1.5"),
        (torch.tensor(1), {}, TypeError, r"prompts=tensor\(1\)"),
        ({1: [2]}, {}, TypeError, r"prompts=\{1: \[2\]\}"),
        (([1] for _ in range(2)), {}, TypeError, "prompts=<generator"),
        ([[1]], {"stop": "5"}, TypeError, "stop='5'"),
        ([[1]], {"stop": b"5"}, TypeError, "stop=b'5'"),
        ([[1]], {"stop": ["5"]}, TypeError, "stop has '5': ids are integers"),
        ([[1]], {"stop": 5.0}, TypeError, "stop=5.0: it must be an integer"),
        ([[1]], {"stop": {5.0}}, TypeError, "stop has 5.0"),
        ([[1]], {"stop": True}, TypeError, "stop=True"),
        ([[1]], {"stop": [True]}, TypeError, "stop has True"),
        ([[1]], {"stop": None}, TypeError, "stop=None"),
        ([[1]], {"stop": {5: "five"}}, TypeError, "stop={5: 'five'}"),
        ([[1]], {"stop": torch.tensor([5.0])}, TypeError, "stop has 5.0"),
        ([[1]], {"stop": torch.tensor([[5]])}, TypeError, r"stop has \[5\]"),
        ([[1]], {"stop": [3, V]}, ValueError, "stop has the id 260, which never comes"),
        ([[1]], {"stop": -1}, ValueError, "stop has the id -1, which never comes"),
        ([[1]], {"max_new_tokens": math.nan}, TypeError, "max_new_tokens=nan"),
        ([[1]], {"max_new_tokens": 3.0}, TypeError, "max_new_tokens=3.0"),
        ([[1]], {"max_new_tokens": np.float32(3)}, TypeError, "max_new_tokens="),
        ([[1]], {"max_new_tokens": True}, TypeError, "max_new_tokens=True"),
        ([[1]], {"max_new_tokens": "3"}, TypeError, "max_new_tokens='3'"),
        ([[1]], {"max_new_tokens": torch.tensor([3])}, TypeError, "max_new_tokens=tensor"),
        ([[1]], {"seed": True}, TypeError, "seed=True"),
        ([[1]], {"seed": [False]}, TypeError, "seed has False"),
        ([[1]], {"seed": {1}}, TypeError, r"seed=\{1\}"),
        ([[1]], {"seed": torch.tensor(1.0)}, TypeError, r"seed=tensor\(1.\)"),
        ([[1]], {"top_k": True}, TypeError, "top_k=True"),
        ([[1]], {"top_k": np.float64(2)}, TypeError, "top_k="),
        ([[1]], {"top_p": True}, TypeError, "top_p=True"),
        ([[1]], {"temperature": True}, TypeError, "temperature=True"),
        ([[1]], {"temperature": np.True_}, TypeError, "temperature="),
        ([[1]], {"temperature": torch.tensor([1.0])}, TypeError, r"temperature=tensor\(\[1.\]\)"),
        ([[1]], {"temperature": None}, TypeError, "temperature=None"),
    ],
)
def test_bad_input(rows, options, error, message):
    with pytest.raises(error, match=message):
        # At once, and not when the first token is asked for.
        generate_steps(make("cs336"), rows, **options)


def test_another_tokenizer_is_refused():
    tokenizer = Tokenizer.from_ranks(
        {bytes([i]): i for i in range(256)}, {f"<{i}>": 256 + i for i in range(9)}
    )
    with pytest.raises(ValueError, match="tokenizer has 265 ids, the model 260"):
        stream_text(make("cs336"), tokenizer, "x")
