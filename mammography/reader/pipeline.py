"""Several images of a study on their way at once, their answers in the order of the study."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import torch

from mammography.reader.hardware import Hardware

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")


def side_by_side(
    work: Callable[[Thing], Answer], things: Sequence[Thing], hardware: Hardware
) -> Iterator[Answer]:
    """Yield work(thing) of every thing, in their order, with as many at work as the hardware has lanes.

    While one image is in the network, another is decoded and prepared. Fewer things than lanes share all the
    processors. What `work` raises is raised here, at the thing's place. A caller that stops early waits for the
    work at hand, and nothing new is begun. Log lines keep the context that they are written in.
    """
    lanes = max(1, min(hardware.lanes, len(things)))
    threads = hardware.threads * hardware.lanes // lanes
    executor = ThreadPoolExecutor(
        lanes, thread_name_prefix="lane", initializer=torch.set_num_threads, initargs=(threads,)
    )
    try:
        contexts = [copy_context() for _ in things]
        at_work = [
            executor.submit(context.run, work, thing) for context, thing in zip(contexts, things, strict=True)
        ]
        for answer in at_work:
            yield answer.result()
    finally:
        executor.shutdown(cancel_futures=True)
