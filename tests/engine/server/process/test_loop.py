import asyncio
import logging

from mellm.engine.server.process.loop import ACCEPT, limit_accept_errors


def test_failed_accepts_are_told_once_and_everything_else_as_before(caplog):
    loop = asyncio.new_event_loop()
    try:
        others: list[str] = []
        loop.set_exception_handler(lambda loop, context: others.append(context["message"]))
        limit_accept_errors(loop)
        with caplog.at_level(logging.ERROR):
            for _ in range(500):
                loop.call_exception_handler(
                    {"message": ACCEPT, "exception": OSError(24, "Too many open files")}
                )
            loop.call_exception_handler({"message": "something else"})
        assert [r.getMessage() for r in caplog.records] == [
            "no connection can be accepted: [Errno 24] Too many open files (1 times)"
        ]
        assert others == ["something else"]
    finally:
        loop.close()
