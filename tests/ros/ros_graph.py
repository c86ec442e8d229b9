"""Our side of a ROS graph under test: processes with a node, and a probe that talks to them.

Discovery takes 0.1 s or 3 s: tests wait for what they need (`Probe.until`), they never sleep.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAKE_NODE = [str(Path(__file__).with_name("fake_node.py"))]
REAL_NODE = ["-m", "hmr_ros.ros.node"]
WAIT_S = 20.0


class Probe:
    """Our side of the graph: publishes images, listens to the node, calls its services."""

    def __init__(self, ros, namespace: str):
        from rclpy.executors import SingleThreadedExecutor

        self.node = ros.create_node("probe", namespace=namespace)
        self.target = f"{namespace}/hmr"
        self._clients = {}
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()

    def until(self, condition, what: str = "", each=None):
        """Spin until condition() holds and return what it returned. each(): called between looks."""
        end = time.monotonic() + WAIT_S
        while not (found := condition()):
            assert time.monotonic() < end, f"waited {WAIT_S:g} s in vain for {what or condition}"
            if each:
                each()
            self._executor.spin_once(timeout_sec=0.02)
        return found

    def node_names(self) -> set[str]:
        return {f"{'' if space == '/' else space}/{name}" for name, space in self.node.get_node_names_and_namespaces()}

    def call(self, kind, name: str, request):
        """The answer of a service of the node's."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, f"{self.target}/{name}")
            self._until_answered(self._clients[name], kind, name)
        future = self._clients[name].call_async(request)
        self.until(future.done, f"the answer of {name}")
        return future.result()

    def _until_answered(self, client, kind, name: str) -> None:
        """A server that has not found us yet answers into the void: ask something harmless until the answer comes."""
        harmless = kind.Request()
        if hasattr(harmless, "transition"):
            harmless.transition.label = "none"
        self.until(client.service_is_ready, f"service {name}")
        asked = []

        def ask():
            if not asked or time.monotonic() - asked[-1][0] > 1.0:
                asked.append((time.monotonic(), client.call_async(harmless)))

        self.until(lambda: any(future.done() for _, future in asked), f"any answer of {name}", each=ask)

    def listen(self, kind, topic: str, latched: bool = False) -> list:
        """A list that fills with what arrives on ~/topic (or /topic), once the publisher is matched."""
        from rclpy.qos import DurabilityPolicy, QoSProfile

        name = topic if topic.startswith("/") else f"{self.target}/{topic}"
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        heard = []
        self.node.create_subscription(kind, name, heard.append, QoSProfile(depth=50, durability=durability))
        self.until(lambda: self.node.count_publishers(name), f"a publisher of {name}")
        return heard

    def change_state(self, transition: str) -> bool:
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        number = getattr(Transition, f"TRANSITION_{transition.upper()}")
        return self.call(ChangeState, "change_state", ChangeState.Request(transition=Transition(id=number))).success

    def state(self) -> str:
        from lifecycle_msgs.srv import GetState

        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def set_parameter(self, name: str, value):
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, "set_parameters", request).results[0]


class NodeProcess:
    """The node in a process of its own."""

    def __init__(self, program: list[str], *options: str):
        command = [sys.executable, *program, "--ros-args", *options]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
                 "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self.lines = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_for_line(self, text: str) -> None:
        end = time.monotonic() + WAIT_S
        while text not in self.output:
            assert self.process.poll() is None and time.monotonic() < end, f"no {text!r} in:\n{self.output}"
            time.sleep(0.01)

    def wait(self) -> int:
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        self.process.stdout.close()
