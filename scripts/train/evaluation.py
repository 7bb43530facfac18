"""Loss and accuracy of the averaged weights on held-out samples."""

import torch

from indexing import Recall
from model import Pass
from packing import pack


@torch.no_grad()
def evaluate(shared, samples, stage, budget=6000, limit=64):
    """Teacher-forced figures over the first `limit` samples: loss and share of right tokens among
    the assistant's, share of samples with every token right, and the indexer's recall."""
    model = shared.averaged()
    kept = list(range(min(limit, len(samples))))
    nll, right, count, exact, tables = 0.0, 0, 0, 0, []
    for prefix, members in samples.batches(budget, 0):
        members = [i for i in members if i in kept]
        if not members:
            continue
        packed = pack(samples, prefix, members, model, 0, prompt_loss=False)
        state = Pass("sparse" if stage == "sparse" else "off")
        logits = model.logits(model.hidden(packed.batch, state)[packed.rows])
        nll += float(torch.nn.functional.cross_entropy(logits, packed.targets, reduction="sum"))
        hit = logits.argmax(-1) == packed.targets
        right, count = right + int(hit.sum()), count + len(hit)
        misses = torch.bincount(packed.sample[~hit], minlength=len(members))
        exact += int((misses == 0).sum())
        if stage != "dense" and len(tables) < 2:
            recall = Recall(packed.layout, model.config.index_topk, 0)
            model.hidden(packed.batch, Pass("watch", recall))
            tables.append(recall.table())
    result = {"loss": nll / count, "tokens_right": right / count,
              "samples_right": exact / len(kept)}
    if tables:
        result["recall_mass_chance"] = torch.stack(tables).mean(0).tolist()
    return result
