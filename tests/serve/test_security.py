"""Attempts to get at what is not one's own, and what comes of each."""

import json

import pytest

from bytemill.serve.app import ServeSettings
from bytemill.serve.assistant import Memory
from tests.support.serving import PATIENT, served

CHAT = "/v1/chat/completions"
USER = [{"role": "user", "content": "hi"}]
BODY = json.dumps({"messages": USER, "max_tokens": 1}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def locked(calling):
    with served(calling, ServeSettings(PATIENT, key="s3cret-key")) as made:
        yield made


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
        "/page.html", "/static/../app.py", "/v1/models/../../etc/passwd", "/v1/models/%2e%2e",
        "/v1/models/..%5c..%5cconfig.json", "/%00", "/.git/config",
    ],
)  # fmt: skip
def test_no_file_is_to_be_had(client, path):
    status, _, body = client.get(path)
    assert status in (400, 404) and b"root:" not in body
    assert json.loads(body)["error"]


def test_without_the_key_nothing_is_told(locked):
    for path in ("/v1/models", "/v1/models/toy", "/stats", "/metrics"):
        status, headers, _ = locked.get(path)
        assert status == 401 and headers["www-authenticate"] == "Bearer"
        assert locked.get(path, Authorization="Bearer s3cret-key")[0] == 200
    assert locked.post(CHAT, BODY)[0] == 401
    assert locked.post(CHAT, BODY, Authorization="Bearer s3cret-key")[0] == 200
    # What is open says nothing of the model.
    assert locked.get("/")[0] == 200
    assert locked.get("/health")[2] == b'{"status":"ok"}'


@pytest.mark.parametrize(
    "sent",
    [
        "", "Bearer", "Bearer ", "Bearer s3cret-ke", "Bearer s3cret-keyy", "Bearer S3CRET-KEY",
        "Basic s3cret-key", "s3cret-key", "Bearer s3cret-key s3cret-key", "Bearer \xe9",
        "Bearer " + "s" * 10_000,
    ],
)  # fmt: skip
def test_keys_that_are_not_the_key(locked, sent):
    status, _, data = locked.post(CHAT, BODY, Authorization=sent.encode("latin-1"))
    assert (status, data["error"]["code"]) == (401, "invalid_api_key")
    assert locked.get("/v1/models?key=s3cret-key", Cookie="key=s3cret-key")[0] == 401


def test_the_key_is_compared_in_constant_time(locked, monkeypatch):
    compared = []

    def compare(a, b):
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr("bytemill.serve.guard.hmac.compare_digest", compare)
    for sent in ("Bearer s", "Bearer " + "s" * 1000, "Bearer s3cret-key"):
        locked.get("/stats", Authorization=sent)
    assert compared == [(32, 32)] * 3


def test_pages_of_other_sites_get_nothing(client):
    own = {"Origin": client.url, "Host": f"127.0.0.1:{client.port}"}
    assert client.post(CHAT, BODY, **own)[0] == 200
    for origin in ("https://example.com", "null", f"http://localhost:{client.port}"):
        status, headers, data = client.post(CHAT, BODY, **{**own, "Origin": origin})
        assert (status, data["error"]["code"]) == (403, "foreign_origin")
        assert not any(name.startswith("access-control") for name in headers)
    # What a browser sends before it lets a page ask.
    ask = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
    status, headers, _ = client.ask("OPTIONS", CHAT, headers=ask)
    assert status == 403 and not any(name.startswith("access-control") for name in headers)
    # And what it sends without asking.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert client.ask("POST", CHAT, BODY, {"Content-Type": kind})[0] == 415


def test_names_of_other_sites_get_nothing(client, calling):
    """A name of an attacker's that points to this machine (DNS rebinding)."""
    port = client.port
    for host in ("example.com", f"example.com:{port}", f"localhost.example.com:{port}", "0.0.0.0"):
        status, _, data = client.post(CHAT, BODY, Host=host)
        assert (status, data["error"]["code"]) == (421, "unknown_host")
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}", "LOCALHOST"):
        assert client.post(CHAT, BODY, Host=host)[0] == 200
    with served(calling, ServeSettings(PATIENT, hosts=["model.example", "127.0.0.1"])) as named:
        assert named.post(CHAT, BODY, Host="model.example")[0] == 200
        assert named.post(CHAT, BODY, Host="localhost")[0] == 421


def test_every_response_forbids_what_it_does_not_need(client):
    for path in ("/", "/health", "/nothing", "/v1/models"):
        headers = client.get(path)[1]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers
    policy = client.get("/")[1]["content-security-policy"]
    assert "unsafe" not in policy and "http" not in policy and "'sha256-" in policy


def test_nothing_of_a_conversation_is_kept_unless_asked(calling, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    messages = [{"role": "user", "content": "the low secret"}]
    with served(calling) as client:
        assert client.chat(messages=messages, max_tokens=2)[0] == 200
        client.get("/the-low-secret")
        told = client.get("/metrics")[2] + client.get("/stats")[2]
    assert list(tmp_path.iterdir()) == [] and b"secret" not in told
    out, err = capfd.readouterr()
    assert "secret" not in out + err
    log = tmp_path / "log.jsonl"
    with served(calling, ServeSettings(PATIENT, log=log)) as client:
        whole = client.chat(messages=messages, max_tokens=9, seed=1)[2]
        connection, response = client.stream(CHAT, messages=messages, max_tokens=9, seed=1)
        response.read()
        connection.close()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["asked"]["messages"] for line in lines] == [messages] * 2
    assert [line["answer"]["choices"] for line in lines] == [whole["choices"]] * 2


def test_what_is_remembered_of_others_is_bound_to_their_conversation():
    """Ids are found again only by all that came before them, and in a bounded memory."""
    from bytemill.chat import Conversation, Message, Part

    def talk(*texts):
        roles = ("user", "assistant")
        return Conversation(tuple(Message(roles[i % 2], t) for i, t in enumerate(texts)))

    memory = Memory(most_ids=1000)
    written = Message("assistant", (Part("python", "1+1", (1, 2)), Part("text", "yes", (3,))))
    _, key = memory.recall(talk("hi"))
    memory.keep(key, written)
    again = (talk("hi", "yes", "go on"), talk("hi", "yes!", "go on"), talk("ho", "yes", "go on"))
    found = [memory.recall(conversation)[0].messages[1].content for conversation in again]
    assert found == [written.content, "yes!", "yes"]
    parts = Conversation(
        (Message("user", "hi"), Message.of(written.to_dict()), Message("user", "x"))
    )
    assert [p.ids for p in memory.recall(parts)[0].messages[1].parts] == [(1, 2), (3,)]
    for i in range(20):
        memory.keep(memory.recall(talk(str(i)))[1], written)
    assert memory._held <= 1000
    assert memory.recall(again[0])[0].messages[1].content == "yes"  # forgotten
