"""A Ray cluster: whether it is there, what room it has, and what runs on its machines."""

import logging
import os
import platform
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
import torch
from ray.exceptions import RayTaskError

from lookaway.errors import EngineError, InputError
from lookaway.memory import kept_memory
from lookaway.own_code import own_code
from lookaway.study.prepare import Prepared, named_code, versions
from lookaway.study.settings import Study
from lookaway.threads import wait_settings

DEATHS = 5  # of workers at one piece of work, or before any has begun, until it is given up
LOOK = 2.0  # seconds until the cluster is looked at again
_KNOCK = 5.0  # seconds until a cluster that does not answer is not there


def check_cluster(prepared: Prepared) -> None:
    """Find out early whether the study's cluster is there and has room for a worker.

    Raises:
        EngineError: it is not, or has not.
    """
    if prepared.study.run.address is not None:
        with connected(prepared.study):
            check_room(prepared)


@contextmanager
def connected(study: Study) -> Iterator[None]:
    """A connection to the study's cluster, or one of this machine; one that is there is used."""
    if ray.is_initialized():
        yield
        return
    address = study.run.address
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _knock(address)
        ray.init(
            address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"there is no Ray cluster at {address!r} ({error}); start one with `ray start --head` "
            "and give its address, or leave the address out to use this machine. A cluster that "
            "asks for a token needs RAY_AUTH_MODE=token and its ~/.ray/auth_token here"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Find out whether anything listens: Ray itself would try for minutes.

    Raises:
        OSError: nothing does.
    """
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK).close()


def room_for(prepared: Prepared) -> int:
    """How many workers the cluster's machines have room for now, and the study wants."""
    study = prepared.study
    rooms = []
    for there in _machines():
        room = int(there.get("CPU", 0) // study.run.cpus_per_worker)
        rooms.append(min(room, int(there.get("GPU", 0))) if on_gpu(prepared) else room)
    return sum(rooms) if study.run.workers is None else min(sum(rooms), study.run.workers)


def check_room(prepared: Prepared) -> None:
    """Refuse a cluster without room for a worker.

    Raises:
        EngineError: with what its machines have.
    """
    if room_for(prepared) < 1:
        there = [
            f"{machine.get('CPU', 0):g} CPUs and {machine.get('GPU', 0):g} GPUs"
            for machine in _machines()
        ]
        raise EngineError(
            f"a worker needs a machine with {prepared.study.run.cpus_per_worker} CPUs"
            f"{' and a GPU' if on_gpu(prepared) else ''}; the cluster's have "
            f"{', '.join(there) or 'gone'}: change run.cpus_per_worker or run.device, or add "
            "machines"
        )


def on_gpu(prepared: Prepared) -> bool:
    """Whether each worker has a GPU."""
    return prepared.device.startswith("cuda")


def _machines() -> list[dict[str, float]]:
    """What each of the cluster's machines has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def first_line(error: Exception) -> str:
    """What an error of Ray says, without the tracebacks behind it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def what_it_takes(prepared: Prepared) -> dict[str, Any]:
    """The options of a worker: its processors, its GPU, and how its threads wait."""
    return {
        "num_cpus": prepared.study.run.cpus_per_worker,
        "num_gpus": int(on_gpu(prepared)),
        "runtime_env": {"env_vars": wait_settings()},
    }


class OnMachine:
    """What runs on one of the cluster's machines."""

    def __init__(self, prepared: Prepared) -> None:
        if prepared.device == "cpu":
            torch.set_num_threads(prepared.study.run.cpus_per_worker)
        self._memory = kept_memory()
        self._memory.__enter__()
        self._prepared = prepared

    def about(self) -> dict[str, Any]:
        """Where this worker runs, and with which versions."""
        return {
            "versions": versions(self._prepared.plan.versions),
            "own_code": self._own_code(),
            "pid": os.getpid(),
            "host": platform.node(),
            "node": ray.get_runtime_context().get_node_id(),
        }

    def _own_code(self) -> dict[str, str]:
        """The checksums of the study's own modules here; of one that is not here, why."""
        found: dict[str, str] = {}
        for name in named_code(self._prepared.study):
            try:
                found |= own_code([name])
            except (ImportError, InputError) as error:
                found[name.partition(":")[0]] = f"{type(error).__name__}: {error}"
        return found


def started(prepared: Prepared, reference: Any) -> Mapping[str, Any]:
    """What ``OnMachine.about`` gave, of a worker that computes what this process would.

    Raises:
        EngineError: it cannot start, or would compute something else.
        RayError: it was lost.
    """
    try:
        about: Mapping[str, Any] = ray.get(reference)
    except RayTaskError as error:
        raise EngineError(f"a worker cannot start: {first_line(error)}") from error
    check_alike(prepared, about)
    return about


def check_alike(prepared: Prepared, about: Mapping[str, Any]) -> None:
    """Refuse a machine that would compute something else than this one.

    Raises:
        EngineError: it has other versions of what makes the numbers, or of the user's own code.
    """
    odd = {
        name: f"{about['versions'].get(name, 'missing')} there, {own} here"
        for name, own in prepared.plan.versions.items()
        if about["versions"].get(name) != own
    }
    if odd:
        raise EngineError(
            "a machine of the cluster has other versions than this one, which would change "
            "the numbers: " + "; ".join(f"{name} {told}" for name, told in odd.items())
        )
    for name, here in prepared.plan.own_code.items():
        if (there := about["own_code"].get(name)) != here:
            raise EngineError(
                f"the machine {about['host']!r} of the cluster has not this machine's module "
                f"{name!r}, which the study names ({there} there, {here} here); install it on "
                "every machine, or start Ray there with it on PYTHONPATH"
            )
