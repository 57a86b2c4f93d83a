"""What an endpoint said, read without touching it: chat completions, refusals, half answers, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mellm.engine.describe.retry import retry_after
from mellm.engine.describe.words import clean, without_thoughts
from mellm.evaluation.compare.limits import Fault

MAX_TEXT: Final = 100_000
"""Characters of an answer that are kept."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat completion.

    :param reason: why it is a refusal, ``None`` for an answer
    :param cut: see ``Answer.cut``"""

    text: str
    reason: str | None = None
    cut: bool = False
    tokens_in: int | None = None
    tokens_out: int | None = None


_OPENING: Final = (
    r"(?:(?:(?:i|we)(?:['’]m|['’]re| am| are) )?(?:very |really |so |truly )?(?:sorry|afraid)"
    r"(?: about that| for that)?[,.!]?\s*(?:but |that )?)?(?:as an ai[^,.]{0,40},\s*)?(?:unfortunately,?\s*)?"
)
_UNABLE: Final = (
    r"(?:i|we)\s?(?:can(?:no|['’])t|can not|won['’]t|will not|must decline to"
    r"|(?:am|are|['’]m|['’]re) (?:not able|unable) to)"
)
_DEED: Final = (
    r"(?:help|assist|comply|fulfil|continue|discuss|do that|provide|identify|recogni[sz]e|engage|support"
    r"|(?:answer|respond to) (?:that|this)|name|determine (?:the )?identity|say who|tell you who"
    r"|make (?:any )?(?:inferences|judge?ments|assumptions)"
    r"|process (?:the |this |that )?(?:request|image|photo|picture)"
    r"|analy[sz]e (?:the |this |that |these )?(?:people|person|face|individual|emotion|image|photo|picture|request))"
)
_REFUSAL: Final = re.compile(
    rf"{_OPENING}{_UNABLE}\s(?:\w+ly )?{_DEED}\b"
    r"|(?:i['’]m|i am) sorry[,.]? but (?:that|this) (?:request|question|image) (?:is|goes|violates)"
    r"|(?:很|非常)?(?:抱歉|对不起)[，,。！!]?\s*(?:但)?我?(?:无法|不能)(?:协助|帮助|提供|识别|回答|满足|处理|继续)"
    r"|我(?:无法|不能)(?:协助|帮助|提供|识别|回答(?:这个|该)|满足|处理)",
    re.IGNORECASE,
)
_VERDICT: Final = re.compile(r"(?:^|[\n.:*]\s*)\**(?:yes|no)\b|(?:answer|result) is\b", re.IGNORECASE)


def refuses(text: str) -> bool:
    """Whether an answer *opens* by saying that the model will not or cannot do it, and then gives no answer after all.

    Conservative: "I cannot see a dog. No." is an answer, and so is anything with a yes, a no or "the answer is".
    """
    return _REFUSAL.match(text.lstrip("*_#> \n")) is not None and _VERDICT.search(text) is None


def read_reply(data: object) -> Reply | Fault:
    """Read the body of a 200.

    Thoughts that a server leaves in the text (``<think>``) are taken out: an endpoint that sends them apart must not
    look more to the point than one that does not.
    """
    if not isinstance(data, dict):
        return _invalid(f"a JSON {type(data).__name__}, not an object")
    if "error" in data and not data.get("choices"):
        # some gateways answer 200 with the error of whoever is behind them
        return fault_of_body(data["error"], 502, {}, 0.0)
    counted = data.get("usage")
    used = counted if isinstance(counted, dict) else {}
    tokens = (_count(used.get("prompt_tokens")), _count(used.get("completion_tokens")))
    choices = data.get("choices")
    if choices == [] and any(
        data.get(key) for key in ("prompt_filter_results", "promptFeedback", "prompt_feedback")
    ):
        return Reply("", "content_filter", False, *tokens)
    try:
        choice = choices[0]  # type: ignore[index]
        message, finish = choice["message"], choice.get("finish_reason")
        text = _text(message.get("content"))
        refusal = message.get("refusal")
    except (LookupError, TypeError, AttributeError):
        return _invalid("no choices[0].message")
    if text is None:
        return _invalid("content that is not text")
    said = without_thoughts(text).strip()[:MAX_TEXT]
    cut = finish == "length"
    if finish == "content_filter":
        return Reply(said, "content_filter", cut, *tokens)
    if isinstance(refusal, str) and refusal.strip():
        return Reply(said or refusal.strip()[:MAX_TEXT], "refusal", cut, *tokens)
    if not said:
        if cut:
            return Fault("no_room", "the token limit was reached before the first word; raise max_tokens")
        return Fault("empty", "the answer is empty")
    return Reply(said, "phrase" if refuses(said) else None, cut, *tokens)


def read_error(status: int, raw: bytes, headers: Mapping[str, str], wall_now: float) -> Reply | Fault:
    """Read anything but a 200. A content filter that answers 400 is a refusal, not a failure."""
    try:
        data = json.loads(raw)
    except ValueError:
        data = None
    if isinstance(data, list) and data:  # Gemini's compatible endpoint wraps errors in a list
        data = data[0]
    error = data.get("error", data) if isinstance(data, dict) else raw.decode("utf-8", "replace")
    return fault_of_body(error, status, headers, wall_now)


_REASONS: Final = {
    400: "invalid_request",
    401: "unauthorized",
    402: "payment_required",
    403: "forbidden",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limited",
}
_FINAL: Final = frozenset({401, 402, 404})
_REMEDY: Final = {
    401: "the key is missing or wrong",
    402: "the account has no credit left",
    404: "check base_url and model",
}
_FILTERED: Final = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})


def fault_of_body(error: object, status: int, headers: Mapping[str, str], wall_now: float) -> Reply | Fault:
    """What an error object and a status mean.

    429 and 5xx may pass; other 4xx never do. 401, 402 and 404 are the same for every question, and so is a 429 that
    says that the account is exhausted.
    """
    fields = error if isinstance(error, dict) else {"message": error}
    codes = {str(fields.get(key) or "").lower() for key in ("code", "type", "status")}
    said = clean(str(fields.get("message") or ""), 200)
    message = f"answered {status}" + (f": {said}" if said else "")
    if 400 <= status < 500 and codes & _FILTERED:
        return Reply(said, "content_filter")
    if status == 429 and "insufficient_quota" in codes:
        return Fault("quota", f"{message} – the account is exhausted", final=True)
    reason = _REASONS.get(status, "server_error" if status >= 500 else "rejected")
    if status in (408, 429) or status >= 500:
        return Fault(reason, message, retryable=True, retry_after=retry_after(headers, wall_now), away=True)
    if status in _REMEDY:
        message += f" – {_REMEDY[status]}"
    return Fault(reason, message, final=status in _FINAL, away=status == 403)


def _invalid(what: str) -> Fault:
    return Fault("invalid", f"answered 200 with {what}", retryable=True)


def _text(content: Any) -> str | None:
    """Text of a message: a string, ``None``, or a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [
            part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"
        ]
        return "".join(part for part in parts if isinstance(part, str))
    return None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
