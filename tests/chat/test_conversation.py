"""What is a conversation, what is not, and what the message says then."""

import gzip
import json

import pytest

from bytemill.chat import Conversation, Message, Part, read_conversations

USER = {"role": "user", "content": "Hi"}
REPLY = {"role": "assistant", "content": "Hello"}


def test_from_and_to_dicts():
    given = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "2+2?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "python", "text": "2+2"},
                    {"type": "python_output", "text": "4"},
                    {"type": "text", "text": "It is 4."},
                ],
            },
        ]
    }
    conversation = Conversation.of(given)
    assert conversation.to_dict() == given
    assert Conversation.of(given["messages"]) == conversation
    assert conversation.messages[2].text == "It is 4."
    assert conversation.but_last_reply().messages == conversation.messages[:2]


def test_a_users_list_of_texts_is_text():
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert Conversation.of([{"role": "user", "content": content}]).messages[0].content == "ab"


def test_neighbouring_texts_are_one_part():
    parts = (Part("text", "a"), Part("text", ""), Part("text", "b"), Part("python", "1"))
    assert Message("assistant", parts).parts == (Part("text", "ab"), Part("python", "1"))


@pytest.mark.parametrize(
    ("messages", "error", "reason"),
    [
        ([], ValueError, "empty"),
        ([{"role": "system", "content": "x"}], ValueError, "only a system message"),
        ([REPLY], ValueError, "message 1 is of the role 'assistant'"),
        ([USER, USER], ValueError, "message 2 is of the role 'user'"),
        ([USER, REPLY, REPLY], ValueError, "message 3 is of the role 'assistant'"),
        ([USER, {"role": "system", "content": "x"}], ValueError, "message 2 is of the role"),
        ([{"role": "tool", "content": "x"}], ValueError, "message 1: role 'tool'"),
        ([{"role": 3, "content": "x"}], TypeError, "role 3"),
        ([{"role": "user"}], ValueError, "no 'content'; its keys are: 'role'"),
        ([{"content": "x"}], ValueError, "no 'role'"),
        ([{"role": "user", "content": None}], TypeError, "content is a NoneType"),
        ([{"role": "user", "content": "\ud800x"}], ValueError, "lone surrogate at position 0"),
        ([USER, {"role": "assistant", "content": [{"type": "image", "text": ""}]}], ValueError,
         "message 2: a part of type 'image': the types are text, python, python_output"),
        ([USER, {"role": "assistant", "content": [{"type": "text", "text": 3}]}], TypeError,
         "a int as its text"),
        ([USER, {"role": "assistant", "content": [{"type": "python_output", "text": "4"}]}],
         ValueError, "no \"python\" stands before it"),
        ([USER, {"role": "assistant", "content": ["x"]}], TypeError, "a part is a str"),
        ([{"role": "user", "content": [{"type": "python", "text": "1"}]}], ValueError,
         "it can only be text"),
        (["x"], TypeError, "message 1: a message is a str"),
        ("x", TypeError, "messages is a str"),
        ({"text": "x"}, ValueError, "no 'messages'; its keys are: 'text'"),
    ],
)  # fmt: skip
def test_refused(messages, error, reason):
    with pytest.raises(error) as raised:
        Conversation.of(messages)
    assert reason in str(raised.value)


def test_read_files_and_name_bad_lines(tmp_path):
    good = json.dumps({"messages": [USER, REPLY]})
    (tmp_path / "a.jsonl").write_text(f"\ufeff{good}\n\n{json.dumps([USER])}\n", encoding="utf-8")
    with gzip.open(tmp_path / "b.jsonl.gz", "wb") as file:
        file.write(b'{"messages": []}\n{nonsense\n\xff\n' + good.encode())
    bad = []
    found = list(read_conversations(tmp_path, on_bad=bad.append))
    assert [len(c.messages) for c in found] == [2, 1, 2]
    assert [message.split("b.jsonl.gz:")[1][:2] for message in bad] == ["1:", "2:", "3:"]
    assert "empty" in bad[0]
    assert "not JSON" in bad[1]
    assert "UTF-8" in bad[2]
    with pytest.raises(ValueError, match=r"b\.jsonl\.gz:1: not a conversation: .*empty"):
        list(read_conversations(tmp_path))
    with pytest.raises(FileNotFoundError):
        list(read_conversations(tmp_path / "none.jsonl"))


def test_deep_json_is_a_bad_line(tmp_path):
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"deep\.jsonl:1: not"):
        list(read_conversations(tmp_path / "deep.jsonl"))
