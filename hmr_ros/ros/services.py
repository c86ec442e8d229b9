"""The node's services, offered where std_srvs is installed. Only this file imports it."""

from __future__ import annotations

import traceback
from collections.abc import Callable


class ServiceError(Exception):
    """The request cannot be done now. The message says why and what to do."""


def offer(node, **actions: Callable[[], str]) -> list:
    """Offer Trigger services named ~/<keyword>. An action returns a text that says what it did, or raises."""
    try:
        from std_srvs.srv import Trigger
    except ImportError as error:
        names = ", ".join(f"~/{name}" for name in actions)
        node.get_logger().info(f"no services {names}: std_srvs cannot be imported ({error}); the rest works without it")
        return []

    def handler(action: Callable[[], str]):
        def handle(request, response):
            try:
                response.success, response.message = True, action()
            except (ServiceError, OSError) as error:
                response.success, response.message = False, str(error)
            except Exception as error:  # the client must get an answer, and the node must go on
                response.success, response.message = False, f"{type(error).__name__}: {error}"
                node.get_logger().error(f"a service failed\n{traceback.format_exc()}")
            return response

        return handle

    return [node.create_service(Trigger, f"~/{name}", handler(action)) for name, action in actions.items()]
