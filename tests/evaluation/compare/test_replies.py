"""What endpoints say, by table: answers, half answers, refusals, errors."""

from __future__ import annotations

import json

import pytest

from mellm.evaluation.compare.limits import Fault
from mellm.evaluation.compare.replies import Reply, read_error, read_reply, refuses


def completion(content: object = "Yes.", finish: str = "stop", **message: object) -> dict[str, object]:
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}


@pytest.mark.parametrize(
    ("data", "text", "reason", "cut"),
    [
        (completion(), "Yes.", None, False),
        (completion([{"type": "text", "text": "Ye"}, {"type": "text", "text": "s"}]), "Yes", None, False),
        (completion("The brow is drawn", "length"), "The brow is drawn", None, True),
        (completion("<think>no, yes, no</think>\nYes"), "Yes", None, False),
        (completion("half a sen", "content_filter"), "half a sen", "content_filter", False),
        (completion(None, "content_filter"), "", "content_filter", False),
        (completion(None, refusal="I won't."), "I won't.", "refusal", False),
        (completion("I'm sorry, but I can't assist with that."), None, "phrase", False),
    ],
)
def test_completions(data, text, reason, cut):
    reply = read_reply(data)
    assert isinstance(reply, Reply)
    assert (reply.text, reply.reason, reply.cut) == (text or reply.text, reason, cut)
    assert (reply.tokens_in, reply.tokens_out) == (7, 2)


def test_a_blocked_prompt_has_no_choice_at_all():
    reply = read_reply({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}})
    assert isinstance(reply, Reply)
    assert reply.reason == "content_filter"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (completion(""), "empty"),
        (completion("<think>never ending", "length"), "no_room"),
        (completion(None, "length"), "no_room"),
        *((data, "invalid") for data in ([], "x", {}, {"choices": []}, {"choices": [{}]}, {"choices": [3]})),
        *((completion(content), "invalid") for content in (3, {"text": "x"})),
        ({"choices": [{"message": None}]}, "invalid"),
        ({"error": {"message": "upstream"}}, "server_error"),
    ],
)
def test_a_200_that_is_no_answer(data, reason):
    fault = read_reply(data)
    assert isinstance(fault, Fault)
    assert fault.reason == reason
    assert fault.retryable == (reason in ("invalid", "server_error"))


@pytest.mark.parametrize(
    "usage", [None, 3, {"prompt_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": "7"}]
)
def test_counts_that_are_none(usage):
    reply = read_reply({**completion(), "usage": usage})
    assert isinstance(reply, Reply)
    assert reply.tokens_in is None


@pytest.mark.parametrize(
    ("status", "body", "reason", "retryable", "final"),
    [
        (401, {"error": {"message": "no"}}, "unauthorized", False, True),
        (402, {}, "payment_required", False, True),
        (403, {}, "forbidden", False, False),
        (404, {"error": {"message": "no such model"}}, "not_found", False, True),
        (400, {"error": "too many images"}, "invalid_request", False, False),
        (400, [{"error": {"message": "bad", "status": "INVALID_ARGUMENT"}}], "invalid_request", False, False),
        (413, b"<html>", "too_large", False, False),
        (418, b"", "rejected", False, False),
        (408, b"", "timeout", True, False),
        (429, {"error": {"code": "rate_limit_exceeded"}}, "rate_limited", True, False),
        (429, {"error": {"code": "insufficient_quota"}}, "quota", False, True),
        (500, b"oops", "server_error", True, False),
        (503, b"\xff\xfe", "server_error", True, False),
        (302, b"", "rejected", False, False),
    ],
)
def test_errors(status, body, reason, retryable, final):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fault = read_error(status, raw, {"retry-after": "3"}, 0.0)
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.retryable, fault.final) == (reason, retryable, final)
    assert str(status) in fault.message
    assert fault.retry_after == (3 if retryable else None)


def test_a_filter_that_answers_400_is_a_refusal():
    raw = json.dumps({"error": {"code": "content_filter", "message": "filtered"}}).encode()
    assert read_error(400, raw, {}, 0.0) == Reply("filtered", "content_filter")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, I cannot help with identifying people in images.",
        "Sorry, I can't help with that.",
        "I cannot identify real people based on their appearance.",
        "Unfortunately, I am not able to provide that.",
        "I'm not able to identify who this is.",
        "As an AI language model, I cannot provide the identification of real people.",
        "I'm unable to make judgments about a person's emotions.",
        "I am sorry, but this request goes against the policy.",
        "抱歉，我无法识别图片中的人物。",
        "对不起，我不能协助您。",
    ],
)
def test_refusals(text):
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "Yes",
        "No, I cannot see a dog.",
        "I cannot see a dog in the picture.",
        "I cannot identify a dog here. No.",
        "I'm sorry to see that the person is sad: the lip corners are down.",
        "I can't identify the model, but the answer is 4.",
        "The person says 'I can't help with that'.",
        "I cannot read the sign because it is blurred; it may say STOP.",
        "There is no motion that supports an expression.",
        "我无法看清，但答案是 4。",
        "",
    ],
)
def test_answers_that_sound_a_little_like_refusals(text):
    assert not refuses(text)
