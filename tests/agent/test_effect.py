"""What is put into effect; that starts are held is tested in test_guard.py, whole looks in test_service.py."""

from __future__ import annotations

from tests.agent.conftest import NEW_ANSWER, AgentHost, eventually_in
from tests.agent.test_service import Both
from tests.process.conftest import start

__all__ = ["start"]


def test_a_program_that_is_itself_the_file_is_patched_as_soon_as_it_runs(host_of_program: AgentHost) -> None:
    """Nobody can hold it; no look is needed though."""
    both = Both(host_of_program)
    try:
        running = host_of_program.service()
        host_of_program.publish()
        both.look()
        assert running.ask("a") == NEW_ANSWER
        later = host_of_program.service()

        def is_patched() -> bool:
            both.service.notice()
            return later.ask("a") == NEW_ANSWER

        eventually_in(10, is_patched)
    finally:
        both.end()
