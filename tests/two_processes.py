"""What two processes of ``torch.distributed`` do in tests, each with its part."""

from copy import deepcopy
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def in_two_processes(work, folder, *args) -> list[Any]:
    """What ``work(rank, *args)`` gives in each of two processes, over gloo."""
    mp.spawn(_begin, (work, str(folder), args), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def _begin(rank, work, folder, args):
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    try:
        torch.save(work(rank, *args), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def pairs_of_maps(count, levels, seed):
    """Clean maps (N, h, w), attacked and control ones (L, N, h, w); the last of N > 2 are dead."""
    random = torch.Generator().manual_seed(seed)
    clean = torch.rand(count, 5, 6, generator=random)
    attacked, control = torch.rand(2, levels, count, 5, 6, generator=random)
    if count > 2:
        attacked[0, -1] = 0.0
        clean[-2] = 0.0
        control[-1, 0] = 0.0
    return clean, attacked, control


def reduced_metrics(rank):
    from lookaway import metrics

    clean, attacked, control = pairs_of_maps(*[(4, 2, 4), (3, 2, 3)][rank])
    same = {"levels": 2, "grid": 32}
    made = {
        "mod": metrics.MeanObservedDissimilarity(**same),
        "vid": metrics.VariationInDissimilarity(**same),
        "pooled": metrics.VariationInDissimilarity(per="pooled", **same),
        "excess": metrics.ExcessShift(**same),
        "nissim": metrics.NISSIM(**same),
    }
    for name, metric in made.items():
        metric.update(clean, attacked, *([control] if name == "excess" else []))
    found = {name: metric.compute() for name, metric in made.items()}
    local = made["mod"].metric_state
    found["local after"] = [int(count) for each in local.values() for count in each[:, 0]]
    found["local before"] = [len(clean)] * 2
    found["on step"] = metrics.MeanObservedDissimilarity(dist_sync_on_step=True, **same)(
        clean, attacked
    )
    some, mean = metrics.NISSIM(**same), metrics.MeanObservedDissimilarity(**same)
    if rank == 0:
        some.update(clean, attacked)
        mean.update(clean, attacked)
    found["of one"], found["mod of one"] = some.compute(), mean.compute()
    return found


def watched_training(rank, net, images, labels, read):
    """A network in two processes, whose halves of the images are measured in a training step."""
    from torch.nn.parallel import DistributedDataParallel

    import lookaway as la

    spread = DistributedDataParallel(deepcopy(net))  # its tensors lie in memory that both share
    half = slice(4 * rank, 4 * rank + 4)
    part = images[half], labels[half]
    both = la.ShiftMonitor(part, la.FGSM(), 0.05, **read).measure(spread)
    some = part if rank == 0 else []
    of_one = la.ShiftMonitor(some, la.FGSM(), 0.05, **read).measure(spread)
    alone = la.ShiftMonitor(part, la.FGSM(), 0.05, distributed=False, **read).measure(spread)
    first = la.ShiftMonitor(
        (images[:4], labels[:4]), la.FGSM(), 0.05, distributed=False, **read
    ).measure(spread)
    spread.train()
    torch.nn.functional.cross_entropy(spread(part[0]), part[1]).backward()
    torch.optim.SGD(spread.parameters(), lr=0.1).step()
    weights = [value.flatten().tolist() for value in spread.parameters()]
    gathered = [None, None]
    dist.all_gather_object(gathered, weights)
    bad = (images + 2 * rank, labels)  # of the second process no pixels
    failure = ""
    try:
        la.ShiftMonitor(bad, la.FGSM(), 0.05, **read).measure(spread)
    except la.LookawayError as error:
        failure = f"{type(error).__name__}: {error}"
    return {
        "rank": rank,
        "both": dict(both),
        "of one": dict(of_one),
        "expected of one": dict(first),
        "images": [both.images, of_one.images, alone.images],
        "weights": weights,
        "gathered weights": gathered[1 - rank],
        "failure": failure,
    }
