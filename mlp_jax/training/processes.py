"""Several processes that train one network: they meet, agree on what to do, and end together.

JAX's distributed runtime carries the numbers. What it does not do is fail well: it aborts where nobody coordinates,
trains on where processes disagree, and needs its whole timeout to see that one is gone. So each process also keeps a
connection to process 0, over which lines of JSON go, and which closes at the moment that either dies.
"""

import os
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from mlp_jax.training.connection import Connection, host_and_port
from mlp_jax.training.devices import Tree
from mlp_jax.training.epoch import BATCH

FLAGS = "--coordinator, --num-processes, --process-id"


class ProcessError(ValueError):
    """Another process is not there, is gone, stopped, or does not agree; the message says which."""


class Processes:
    """The processes of a run as one of them sees them; without arguments, one that is alone.

    address: where process 0 waits for the others, HOST:PORT. JAX's runtime uses it too.
    count: how many processes there are, 1 or more. index: which of them this is, from 0 to count - 1.
    device_ids: which of the machine's accelerators this process takes; all if not given.
    timeout: seconds to wait for the others to come, and later, where connections do not tell, for a sign of life.

    Raises ValueError for an address, a count or an index that cannot be.
    """

    def __init__(
        self,
        address: str = "",
        count: int = 1,
        index: int = 0,
        device_ids: Sequence[int] | None = None,
        timeout: int = 60,
    ) -> None:
        if count < 1:
            raise ValueError(f"the number of processes is {count}: expected 1 or more")
        if not 0 <= index < count:
            raise ValueError(f"the process id is {index}: expected 0 to {count - 1}, for there are {count} processes")
        if timeout < 1:
            raise ValueError(f"the timeout is {timeout} s: expected 1 or more")
        self.address, self.count, self.index, self.device_ids, self.timeout = address, count, index, device_ids, timeout
        self._others: list[tuple[int, Connection]] = []
        self._watches: list[threading.Thread] = []
        self._ending = threading.Lock()

    def meet(self) -> None:
        """Wait until all processes are there. Raises ProcessError where one does not come, or comes twice."""
        if self.count == 1:
            return
        host, port = host_and_port(self.address)
        if self.index == 0:
            self._await_others(port)
        else:
            self._others.append((0, self._reach_coordinator(host, port)))
            self._others[0][1].send(process=self.index, of=self.count)
        self.agree()

    def agree(self, **facts: object) -> None:
        """Raises ProcessError in every process, naming both sides, unless all processes give the same facts."""
        ours = {name: str(fact) for name, fact in facts.items()}
        if self.index != 0:
            self._tell(facts=ours)
            self._hear(*self._others[0])
            return
        for number, theirs in [(number, self._hear(number, other)["facts"]) for number, other in self._others]:
            names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
            if names:
                sides = [", ".join(f"{name} {side.get(name)}" for name in names) for side in (theirs, ours)]
                raise self._refusal(f"process {number} has {sides[0]}; process 0 has {sides[1]}: let all have the same")
        self._tell()

    def start(self) -> None:
        """Join JAX's distributed runtime, before anything is computed. From here on nobody is left behind.

        A process that sees another go ends at once, with a line on stderr that names it and exit status 1.
        """
        if self.count == 1:
            return
        # Gloo, which carries numbers between CPUs, writes to stdout what it does: only Python keeps the real one.
        sys.stdout.flush()
        sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
        os.dup2(2, 1)
        jax.config.update("jax_enable_preemption_service", False)  # with it, SIGTERM would no longer end a process
        jax.distributed.initialize(
            self.address,
            self.count,
            self.index,
            local_device_ids=self.device_ids,
            cluster_detection_method="deactivate",
            initialization_timeout=self.timeout,
            heartbeat_timeout_seconds=self.timeout,
            shutdown_timeout_seconds=self.timeout,
        )
        self._watches = [threading.Thread(target=self._watch, args=each, daemon=True) for each in self._others]
        for watch in self._watches:
            watch.start()

    def mesh(self, devices: int) -> Mesh | None:
        """The devices that share each mini-batch, those of all processes or so many of one's; None for a single one.

        devices: how many, where there is one process. Raises ValueError where they are not there, and for processes
        that do not have equally many.
        """
        if devices < 1:
            raise ValueError(f"the number of devices is {devices}: expected 1 or more")
        there = jax.devices()
        if self.count == 1:
            if devices > len(there):
                kind = there[0].platform
                hint = f"set JAX_NUM_CPU_DEVICES={devices} to split the CPU" if kind == "cpu" else "ask for fewer"
                raise ValueError(f"{devices} devices are asked for, but this machine has {len(there)} ({kind}): {hint}")
            there = there[:devices]
        each = Counter(device.process_index for device in there)
        few, many = min(each, key=each.__getitem__), max(each, key=each.__getitem__)
        if each[few] != each[many]:
            raise ValueError(
                f"process {few} has {each[few]} devices, process {many} has {each[many]}: let all have equally many"
            )
        return jax.make_mesh((len(there),), (BATCH,), devices=there) if len(there) > 1 else None

    def most(self, number: int) -> int:
        """The highest number of any process; all must ask. Processes that act on the answer act alike."""
        return number if self.count == 1 else int(multihost_utils.process_allgather(np.asarray(number)).max())

    def share(self, tree: Tree) -> Tree:
        """The arrays of process 0, bit for bit, in every process; the others give some of the same shapes and types."""
        return tree if self.count == 1 else jax.tree.map(_of_process_0, tree)

    def leave(self) -> None:
        """Wait until every process is done, then leave the runtime."""
        if self.index != 0:
            self._tell(done=True)
        for watch in self._watches:
            watch.join()
        if self.index == 0:
            self._tell(done=True)
        if self._watches:
            jax.distributed.shutdown()
        self.close()

    def close(self) -> None:
        """Close the connections to other processes."""
        for _, other in self._others:
            other.close()

    def end(self, message: str, status: int, others: str) -> None:
        """End this process and all others at once. The message goes to stderr; `others` is what they say on theirs."""
        self._ending.acquire()  # for ever: another thread with something to say comes too late
        self._tell(error=others, status=status)
        print(f"mlp-jax: process {self.index}: {message}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(status)  # an ordinary exit would wait for the others, and this thread may not be the main one

    def _await_others(self, port: int) -> None:
        deadline = time.monotonic() + self.timeout
        with self._listen(port) as server:
            while missing := sorted(set(range(1, self.count)) - {number for number, _ in self._others}):
                server.settimeout(max(deadline - time.monotonic(), 0.01))
                try:
                    other = Connection(server.accept()[0], self.timeout)
                except TimeoutError as error:
                    raise self._refusal(
                        f"waited {self.timeout} s at {self.address} for {self.count - 1} other processes, but "
                        f"{', '.join(map(str, missing))} did not come"
                    ) from error
                try:
                    hello = other.receive()
                    number, of = int(hello["process"]), int(hello["of"])
                except (OSError, ValueError, KeyError, TypeError):  # whoever that was, it was no process of a run
                    other.close()
                    continue
                self._others.append((number, other))
                if of != self.count:
                    raise self._refusal(
                        f"process {number} was started as one of {of} processes, process 0 as one of {self.count}: "
                        "give all the same --num-processes"
                    )
                if number not in missing:
                    raise self._refusal(f"two processes came as process {number}: give each its own --process-id")

    def _listen(self, port: int) -> socket.socket:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        try:
            return socket.create_server(("", port), family=family, backlog=self.count, dualstack_ipv6=both)
        except OSError as error:
            raise ProcessError(
                f"port {port} cannot be listened at ({os.strerror(error.errno or 0)}): give all processes another as "
                "--coordinator, with a port that is free on the machine of process 0"
            ) from error

    def _reach_coordinator(self, host: str, port: int) -> Connection:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                connection = socket.create_connection((host, port), timeout=self.timeout)
                # Where nobody listens yet, a connection within a machine may come from the very port that it goes to.
                if connection.getsockname() != connection.getpeername():
                    return Connection(connection, self.timeout + 10)  # process 0 is the first to lose patience
                connection.close()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise ProcessError(
                        f"nobody answered at {self.address} for {self.timeout} s ({error.strerror or error}): start "
                        "process 0 there, or correct --coordinator"
                    ) from error
            time.sleep(0.1)

    def _refusal(self, message: str) -> ProcessError:
        """What process 0 raises where the processes do not fit together; the others raise it too."""
        self._tell(error=message, status=2)
        return ProcessError(message)

    def _tell(self, **message: object) -> None:
        for _, other in self._others:
            other.send(**message)

    def _hear(self, number: int, other: Connection) -> dict[str, Any]:
        try:
            message = other.receive()
        except TimeoutError as error:
            raise ProcessError(f"process {number} said nothing for {self.timeout} s") from error
        except (OSError, ValueError) as error:
            raise ProcessError(f"process {number} is gone") from error
        if "error" in message:
            raise ProcessError(message["error"], message["status"])
        return message

    def _watch(self, number: int, other: Connection) -> None:
        try:
            other.wait_for_ever()
            self._hear(number, other)  # that it is done
        except ProcessError as error:
            message, *status = error.args
            self.end(message, *status or [1], others=message)


def _of_process_0(leaf: jax.Array) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_of_process_0(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
    array = np.asarray(leaf)
    # As bytes: the runtime adds up what all processes have, and zeros added to -0.0 make 0.0.
    received = multihost_utils.broadcast_one_to_all(np.frombuffer(array.tobytes(), np.uint8))
    return jnp.asarray(np.asarray(received).view(array.dtype).reshape(array.shape))


@contextmanager
def together(processes: Processes) -> Iterator[None]:
    """What is done by all processes, after they have met and until they leave; an error of one ends all."""
    try:
        processes.meet()
        yield
        processes.leave()
    except Exception as error:
        if processes.count == 1:
            raise
        if isinstance(error, ProcessError):
            processes.end(error.args[0], 2, others=error.args[0])
        if jax.distributed.is_initialized():
            time.sleep(1)  # if this failed because another process is gone, the watch says which, and ends
        usable = isinstance(error, (ValueError, OSError))  # a message for people
        message = " ".join(str(error).split()) if usable else "".join(traceback.format_exception(error))
        processes.end(message, 2 if usable else 1, others=f"process {processes.index} stopped: {error}")


def processes_of(
    distributed: bool, coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: int
) -> Processes:
    """The processes that flags of the command line speak of.

    distributed: whether what is not given is asked of SLURM, Open MPI, Kubernetes or a TPU, as JAX knows them.
    coordinator, num_processes, process_id: all of them, unless distributed; none for a process that is alone.

    Raises ValueError where some are missing and cannot be found.
    """
    device_ids = None
    if distributed:
        from jax._src.clusters import ClusterEnv  # what jax.distributed.initialize asks; it has no public name

        try:
            coordinator, num_processes, process_id, device_ids = ClusterEnv.auto_detect_unset_distributed_params(
                coordinator, num_processes, process_id, None, None, timeout
            )
        except Exception as error:  # whatever JAX makes of an environment that looks like a launcher's and is none
            raise ValueError(
                f"--distributed cannot read what the launcher says ({error!r}): give all of {FLAGS}"
            ) from error
    flags = {"--coordinator": coordinator, "--num-processes": num_processes, "--process-id": process_id}
    missing = [name for name, value in flags.items() if value is None]
    if distributed and missing:
        raise ValueError(
            "--distributed finds no SLURM, Open MPI, Kubernetes or TPU pod that would say what to use as "
            f"{', '.join(missing)}: give all of {', '.join(flags)}"
        )
    if coordinator is None and num_processes is None and process_id is None:
        return Processes(timeout=timeout)
    if coordinator is None or num_processes is None or process_id is None:
        raise ValueError(f"{', '.join(missing)} is missing: give all of {', '.join(flags)}, or --distributed")
    host_and_port(coordinator)
    return Processes(coordinator, num_processes, process_id, device_ids, timeout)
