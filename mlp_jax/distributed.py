"""Several processes that train one network: rendezvous, agreement on the settings, and a common end.

JAX's distributed runtime moves the numbers, but it fails badly: without a coordinator it aborts, processes that
disagree train on, and it notices a dead process only after its timeout. So each process also keeps a connection to
process 0. It carries JSON, one object a line, and it closes as soon as either process dies.
"""

import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from mlp_jax.failures import message_of
from mlp_jax.rendezvous import Connection, ProcessError, await_others, host_and_port, reach_process_0
from mlp_jax.training.sharding import BATCH, Tree, move_arrays

FLAGS = ("--coordinator", "--num-processes", "--process-id")


@dataclass(eq=False)
class Processes:
    """The processes of a run as one of them sees them; without arguments, a single process.

    address: HOST:PORT, at which process 0 waits for the others. JAX's runtime uses it too.
    count: how many processes there are, 1 or more. index: which of them this is, from 0 to count - 1.
    device_ids: which of the machine's accelerators this process takes; all if not given.
    timeout: seconds to wait for the others to connect, and later for a sign of life if a connection stays open.

    Raises ValueError for an address, a count, an index or a timeout out of range.
    """

    address: str = ""
    count: int = 1
    index: int = 0
    device_ids: Sequence[int] | None = None
    timeout: int = 60
    _others: list[Connection] = field(default_factory=list, init=False)
    _watches: list[threading.Thread] = field(default_factory=list, init=False)
    _ending: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        count, index = self.count, self.index
        if count < 1:
            raise ValueError(f"the number of processes is {count}: expected 1 or more")
        if not 0 <= index < count:
            raise ValueError(f"the process id is {index}: expected 0 to {count - 1}, for there are {count} processes")
        if self.timeout < 1:
            raise ValueError(f"the timeout is {self.timeout} s: expected 1 or more")
        if self.address or count > 1:
            host_and_port(self.address)

    def meet(self) -> None:
        """Wait until all processes are connected. Raises ProcessError if one is missing, or connects twice."""
        if self.count == 1:
            return
        if self.index != 0:
            self._others.append(reach_process_0(self.address, self.timeout))
            self._tell(process=self.index, of=self.count)
        else:
            try:
                await_others(self._others, self.address, self.count, self.timeout)
            except ProcessError as error:
                self._tell(error=str(error), status=2)
                raise
        self.check_same()

    def check_same(self, **facts: object) -> None:
        """Raises ProcessError in every process, naming both sides, unless all processes give the same facts."""
        ours = {name: str(fact) for name, fact in facts.items()}
        if self.index != 0:
            self._tell(facts=ours)
            for process_0 in self._others:
                process_0.receive()
            return
        for number, theirs in [(other.number, other.receive()["facts"]) for other in self._others]:
            names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
            if names:
                sides = [", ".join(f"{name} {side.get(name)}" for name in names) for side in (theirs, ours)]
                message = f"process {number} has {sides[0]}; process 0 has {sides[1]}: let all have the same"
                self._tell(error=message, status=2)
                raise ProcessError(message)
        self._tell()

    def start(self) -> None:
        """Join JAX's distributed runtime, before anything is computed.

        From here on, if a process ends, all others end too, with a line on stderr that names it and exit status 1.
        """
        if self.count == 1:
            return
        # Gloo, which carries numbers between CPUs, logs to stdout that it is connected: only Python keeps the real one.
        sys.stdout.flush()
        sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
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
        self._watches = [threading.Thread(target=self._watch, args=(each,), daemon=True) for each in self._others]
        for watch in self._watches:
            watch.start()

    def mesh(self, devices: int) -> Mesh | None:
        """The devices that share each mini-batch: all devices of several processes, or `devices` of a single one.

        None for a single device. Raises ValueError if there are fewer, or if processes do not have equally many.
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
        counts = Counter(device.process_index for device in there).most_common()
        (many, most), (few, fewest) = counts[0], counts[-1]
        if fewest != most:
            raise ValueError(
                f"process {few} has {fewest} devices, process {many} has {most}: let all have equally many"
            )
        return jax.make_mesh((len(there),), (BATCH,), devices=there) if len(there) > 1 else None

    def max_over_processes(self, number: int) -> int:
        """The highest of the processes' numbers, the same in all of them; every process must call this."""
        return number if self.count == 1 else int(multihost_utils.process_allgather(np.asarray(number)).max())

    def broadcast(self, tree: Tree) -> Tree:
        """The arrays of process 0, bit for bit, in every process; others give some of the same shapes and dtypes."""
        return tree if self.count == 1 else move_arrays(_of_process_0, tree)

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
        for other in self._others:
            other.close()

    def end(self, message: str, status: int, others: str) -> None:
        """End all processes at once. The message goes to stderr of this process, `others` to that of the others."""
        self._ending.acquire()  # never released: only the first thread that comes here speaks
        self._tell(error=others, status=status)
        print(f"mlp-jax: process {self.index}: {message}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(status)  # an ordinary exit would wait for the others, and this thread may not be the main one

    def _tell(self, **message: object) -> None:
        for other in self._others:
            other.send(**message)

    def _watch(self, other: Connection) -> None:
        try:
            other.wait(None)
            other.receive()  # that it is done
        except ProcessError as error:
            message, *status = error.args
            self.end(message, *status or [1], others=message)


def _of_process_0(leaf: jax.Array) -> jax.Array:
    array = np.asarray(leaf)
    # As bytes: the runtime adds up what all processes have, and zeros added to -0.0 make 0.0.
    received = multihost_utils.broadcast_one_to_all(np.frombuffer(array.tobytes(), np.uint8))
    return jnp.asarray(np.asarray(received).view(array.dtype).reshape(array.shape))


@contextmanager
def together(processes: Processes) -> Iterator[None]:
    """Around what all processes do together, from the rendezvous on; an error of one ends all."""
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
        trace = "".join(traceback.format_exception(error)) if sys.flags.dev_mode else message_of(error)
        message = " ".join(str(error).split()) if usable else trace
        processes.end(message, 2 if usable else 1, others=f"process {processes.index} stopped: {error}")


def processes_of(
    distributed: bool, coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: int
) -> Processes:
    """The processes that the flags of the command line describe.

    distributed: whether to ask SLURM, Open MPI, Kubernetes or a TPU, as JAX does, for flags that are not given.
    coordinator, num_processes, process_id: all of them, unless distributed; none for a single process.

    Raises ValueError if some are missing and cannot be found.
    """
    device_ids = None
    if distributed:
        from jax._src.clusters import ClusterEnv  # jax.distributed.initialize asks it; it has no public name

        try:
            coordinator, num_processes, process_id, device_ids = ClusterEnv.auto_detect_unset_distributed_params(
                coordinator, num_processes, process_id, None, None, timeout
            )
        except Exception as error:  # JAX may raise anything if the environment only looks like a launcher's
            raise ValueError(
                f"--distributed cannot read what the launcher says ({error!r}): give all of {', '.join(FLAGS)}"
            ) from error
    elif coordinator is None and num_processes is None and process_id is None:
        return Processes(timeout=timeout)
    if coordinator is None or num_processes is None or process_id is None:
        given = zip(FLAGS, (coordinator, num_processes, process_id), strict=True)
        missing = ", ".join(flag for flag, value in given if value is None)
        if distributed:
            nowhere = "--distributed finds no SLURM, Open MPI, Kubernetes or TPU pod that would say what to use as"
            raise ValueError(f"{nowhere} {missing}: give all of {', '.join(FLAGS)}")
        raise ValueError(f"{missing} is missing: give all of {', '.join(FLAGS)}, or --distributed")
    return Processes(coordinator, num_processes, process_id, device_ids, timeout)
