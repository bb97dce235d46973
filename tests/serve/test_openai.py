"""OpenAI's own client: chat, streams, stop, seed, n, log-probabilities, errors, texts."""

import json

import pytest

openai = pytest.importorskip("openai")
torch = pytest.importorskip("torch")

from bytemill.chat import Conversation, Message
from bytemill.lm.generate.replies import replies
from bytemill.lm.generate.sampling import Chance, Sampling
from tests.support.serving import RENDERER, TOKENIZER

ASKED = [{"role": "system", "content": "Be brief. 你好"}, {"role": "user", "content": "1+2 👍🏽?"}]
HOW = {"temperature": 1.0, "max_tokens": 60}


@pytest.fixture(scope="module")
def api(client):
    made = openai.OpenAI(base_url=f"{client.url}/v1", api_key="any", max_retries=0, timeout=300)
    yield made.with_options(max_retries=0)
    made.close()


def alone(weights, seed, messages=ASKED, **how):
    """What a lonely run gives."""
    settings = {"temperature": 1.0, "max_new_tokens": 60, "top_k": 50, **how}
    prompt = RENDERER.prompt(Conversation.of(messages))
    (reply,) = replies(weights, RENDERER, [prompt], seed=seed, **settings)
    return reply


def test_models(api):
    (model,) = api.models.list()
    assert (model.id, model.object) == ("toy", "model")
    assert api.models.retrieve("toy").id == "toy"
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        api.models.retrieve("other")


def test_a_whole_answer_is_that_of_a_lonely_run(api, calling):
    n_calls = 0
    for seed in range(8):
        answer = api.chat.completions.create(
            model="toy", messages=ASKED, seed=seed, **HOW, extra_body={"show_parts": True}
        )
        reply = alone(calling, seed)
        (choice,) = answer.choices
        assert choice.message.content == reply.message.text
        assert choice.finish_reason == reply.finish
        parts = [(p.type, p.text) for p in reply.message.parts]
        assert [(p["type"], p["text"]) for p in choice.message.parts] == parts
        n_calls += any(kind == "python_output" for kind, _ in parts)
        assert answer.usage.completion_tokens == len(reply.ids)
        assert answer.usage.prompt_tokens == len(RENDERER.prompt(Conversation.of(ASKED)))
        assert answer.seed == seed
    assert n_calls


def test_a_stream_is_the_same_in_pieces(api, calling):
    stream = api.chat.completions.create(
        model="toy",
        messages=ASKED,
        seed=3,
        n=3,
        stream=True,
        stream_options={"include_usage": True},
        **HOW,
    )
    texts, finishes, roles, usage = {}, {}, set(), None
    for chunk in stream:
        assert chunk.object == "chat.completion.chunk"
        usage = chunk.usage or usage
        for choice in chunk.choices:
            assert choice.index not in finishes
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
            if choice.delta.role:
                roles.add((choice.index, choice.delta.role))
            if choice.finish_reason:
                finishes[choice.index] = choice.finish_reason
    found = [alone(calling, seed) for seed in (3, 4, 5)]
    assert texts == {i: reply.message.text for i, reply in enumerate(found)}
    assert finishes == {i: reply.finish for i, reply in enumerate(found)}
    assert roles == {(i, "assistant") for i in range(3)}
    assert usage.completion_tokens == sum(len(reply.ids) for reply in found)


def test_the_bytes_of_a_stream(client):
    fields = {"messages": ASKED, "seed": 1, "max_tokens": 5, "show_parts": True}
    connection, response = client.stream("/v1/chat/completions", **fields)
    body = response.read().decode()
    connection.close()
    assert response.getheader("Content-Type").startswith("text/event-stream")
    lines = body.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "length"
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)


def test_stop_strings_are_not_begun(api, calling):
    seed = max(range(20), key=lambda seed: len(alone(calling, seed).message.text))
    whole = alone(calling, seed).message.text
    stop = whole[7:10]
    expected = whole[: whole.find(stop)]
    common = {"model": "toy", "messages": ASKED, "seed": seed, "stop": ["nowhere", stop], **HOW}
    answer = api.chat.completions.create(**common)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (
        expected,
        "stop",
    )
    assert answer.usage.completion_tokens < 60
    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in api.chat.completions.create(**common, stream=True)
    ]
    assert "".join(pieces) == expected


def test_without_a_seed_answers_differ(api):
    answers = {
        api.chat.completions.create(model="toy", messages=ASKED, **HOW).choices[0].message.content
        for _ in range(4)
    }
    assert len(answers) > 1


def test_logprobs(api, calling):
    answer = api.chat.completions.create(
        model="toy", messages=ASKED, seed=2, logprobs=True, top_logprobs=3, **HOW
    )
    reply = alone(calling, 2)
    content = answer.choices[0].logprobs.content
    written = [id_ for id_, own in zip(reply.ids, reply.mask, strict=True) if own]
    assert [bytes(one.bytes) for one in content] == TOKENIZER.decode_tokens_bytes(written)
    for one in content:
        assert one.logprob <= 0 and len(one.top_logprobs) == 3
        ordered = [other.logprob for other in one.top_logprobs]
        assert ordered == sorted(ordered, reverse=True) and one.logprob <= ordered[0]
    streamed = []
    for chunk in api.chat.completions.create(
        model="toy", messages=ASKED, seed=2, logprobs=True, stream=True, **HOW
    ):
        if chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert [one.bytes for one in streamed] == [one.bytes for one in content]


def test_a_next_turn_shows_the_model_what_it_wrote(api, calling, client):
    """Also the calls that the client does not see; of them it reads only what is new."""
    messages, n_before = [*ASKED], 0
    ids = RENDERER.prompt(Conversation.of(ASKED))
    for turn in range(3):
        seed = next(
            s
            for s in range(100 * turn, 10_000)
            if (r := _continued(calling, ids, s)).finish == "stop"
            and 0 in r.mask
            and _again(r.message)[-len(r.ids) :] == r.ids  # no special token out of place
        )
        answer = api.chat.completions.create(
            model="toy", messages=messages, seed=seed, temperature=1.0, max_tokens=40
        )
        reply = _continued(calling, ids, seed)
        assert answer.choices[0].message.content == reply.message.text
        assert answer.usage.prompt_tokens == len(ids)
        if turn:
            # All that was there, but the token that ended the message.
            assert answer.usage.prompt_tokens_details.cached_tokens == n_before - 1
        n_before = len(ids) + len(reply.ids)
        messages += [
            {"role": "assistant", "content": answer.choices[0].message.content},
            {"role": "user", "content": "low"},
        ]
        special = RENDERER.special
        asked = [special["<|user_start|>"], *TOKENIZER.encode_ordinary("low")]
        ids = [*ids, *reply.ids, *asked, special["<|user_end|>"], special["<|assistant_start|>"]]


def _again(message):
    return RENDERER.render(Conversation((Message("user", ""), message)), None).ids


def _continued(weights, ids, seed):
    (reply,) = replies(
        weights, RENDERER, [ids], max_new_tokens=40, temperature=1.0, top_k=50, seed=seed
    )
    return reply


def _naive(model, ids, seed, stop):
    chance, row = Chance([seed]), []
    while len(row) < 8:
        logits = model(torch.tensor([[*ids, *row]]))[:, -1, : TOKENIZER.n_vocab]
        token = Sampling(1.0, 50).choose(logits, chance.next()).item()
        if token == stop:
            break
        row.append(token)
    return row


def test_texts(api, calling):
    prompts = ["the low", "1+2"]
    answer = api.completions.create(
        model="toy", prompt=prompts, n=2, seed=9, temperature=1.0, max_tokens=8, echo=True
    )
    bos = RENDERER.special["<|bos|>"]
    for index, choice in enumerate(answer.choices):
        prompt = prompts[index // 2]
        ids = [bos, *TOKENIZER.encode_ordinary(prompt)]
        row = _naive(calling.model, ids, 9 + index, bos)
        expected = TOKENIZER.decode([i for i in row if not TOKENIZER.is_special_token(i)])
        assert choice.text == prompt + expected
    ids = api.completions.create(model="toy", prompt=[bos, 97], max_tokens=3, logprobs=2, seed=1)
    (choice,) = ids.choices
    assert ids.usage.prompt_tokens == 2 and len(choice.logprobs.tokens) == 3
    lengths = [len(token) for token in choice.logprobs.tokens]
    assert choice.logprobs.text_offset == [0, lengths[0], lengths[0] + lengths[1]]
    stream = api.completions.create(
        model="toy", prompt="the low", max_tokens=5, stream=True, seed=4
    )
    whole = api.completions.create(model="toy", prompt="the low", max_tokens=5, seed=4)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text


def test_errors(api):
    with pytest.raises(openai.BadRequestError) as caught:
        api.chat.completions.create(model="toy", messages=ASKED, temperature=3)
    assert caught.value.param == "temperature" and caught.value.code == "invalid_value"
    with pytest.raises(openai.BadRequestError) as caught:
        api.chat.completions.create(model="toy", messages=[{"role": "user", "content": "é!" * 300}])
    assert caught.value.code == "context_length_exceeded" and "256" in str(caught.value)
    with pytest.raises(openai.NotFoundError) as caught:
        api.chat.completions.create(model="gpt-4", messages=ASKED)
    assert caught.value.code == "model_not_found"
