"""LangChain's client of OpenAI's API: answers, streams, stop, seed, n, log-probabilities, errors.

Its dozens of packages are not among those of development: `pip install langchain-openai` to run it.
"""

import pytest

langchain_openai = pytest.importorskip("langchain_openai")
openai = pytest.importorskip("openai")

from bytemill.chat import Conversation
from bytemill.lm.generate.replies import replies
from tests.support.serving import RENDERER

ASKED = [("system", "Be brief. 你好"), ("human", "1+2 👍🏽?")]
HOW = {"temperature": 1.0, "max_tokens": 60}


def model(client, **fields):
    common = {"model": "toy", "base_url": f"{client.url}/v1", "api_key": "any", "max_retries": 0}
    return langchain_openai.ChatOpenAI(**common, **HOW, **fields)


def alone(weights, seed):
    """What a lonely run gives."""
    roles = {"system": "system", "human": "user"}
    messages = [{"role": roles[role], "content": text} for role, text in ASKED]
    prompt = RENDERER.prompt(Conversation.of(messages))
    (reply,) = replies(
        weights, RENDERER, [prompt], max_new_tokens=60, temperature=1.0, top_k=50, seed=seed
    )
    return reply


def test_an_answer(client, calling):
    answer = model(client, seed=3, logprobs=True, top_logprobs=2).invoke(ASKED)
    reply = alone(calling, 3)
    assert answer.content == reply.message.text
    assert answer.response_metadata["finish_reason"] == reply.finish
    assert answer.usage_metadata["output_tokens"] == len(reply.ids)
    tokens = answer.response_metadata["logprobs"]["content"]
    assert tokens and all(len(token["top_logprobs"]) == 2 for token in tokens)


def test_a_stream(client, calling):
    chunks = list(model(client, seed=5, stream_usage=True).stream(ASKED))
    reply = alone(calling, 5)
    assert len(chunks) > 3
    assert "".join(chunk.content for chunk in chunks) == reply.message.text
    usages = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert [usage["output_tokens"] for usage in usages] == [len(reply.ids)]


def test_several_answers_and_stop_strings(client, calling):
    (generations,) = model(client, seed=3, n=2).generate([_messages()]).generations
    whole = [alone(calling, seed).message.text for seed in (3, 4)]
    assert [each.text for each in generations] == whole
    # Stop strings are looked for in text that no call divides.
    for seed in range(20):
        first = alone(calling, seed).message.parts[0]
        if first.type == "text" and len(first.text) > 8:
            break
    stop = first.text[5:8]
    answer = model(client, seed=seed).invoke(ASKED, stop=[stop])
    assert answer.content == first.text[: first.text.find(stop)]


def test_an_error(client):
    with pytest.raises(openai.BadRequestError, match="context length"):
        model(client).invoke([("human", "low " * 1500)])


def _messages():
    from langchain_core.messages import HumanMessage, SystemMessage

    return [SystemMessage(ASKED[0][1]), HumanMessage(ASKED[1][1])]
