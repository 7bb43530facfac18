"""Training and judging the lightning indexer (the model's own attention is the teacher)."""

import torch

from attention import index_scores, topk_sets


def sampled_rows(count, wanted, generator):
    return torch.randperm(count, generator=generator)[:wanted].sort().values


def attention_shares(q, k, lse, layout, sequence, rows, seen):
    """Attention of the given query rows, averaged over the heads, zero where not seen."""
    at = rows + int(layout.starts[sequence])
    logits = torch.einsum("qnd,knd->qnk", q[at].float(), layout.keys(k, sequence).float())
    probs = torch.exp(logits * q.shape[-1] ** -0.5 - lse[at][..., None]).mean(1)
    return probs * seen


class _Rows:
    """A layout whose sequence `sequence` has only some of its query rows."""

    def __init__(self, layout, sequence, rows):
        self.layout, self.at = layout, rows + int(layout.starts[sequence])

    def rows(self, _):
        return self.at

    def keys(self, tensor, sequence):
        return self.layout.keys(tensor, sequence)


class IndexLoss:
    """Observer of a Pass: KL(attention || softmax of the scores) over the keys that are visible,
    or, in the sparse stage, selected; mean over sampled rows and layers in `total`."""

    def __init__(self, layout, rows_per_sequence, seed):
        self.layout, self.wanted = layout, rows_per_sequence
        self.generator = torch.Generator().manual_seed(seed)
        self.terms = []

    def __call__(self, index, q, k, lse, mask):
        layout, sums, count = self.layout, [], 0
        for i in range(1, len(layout.lengths)):
            rows = sampled_rows(layout.lengths[i], self.wanted, self.generator)
            seen = layout.visible(i, mask)[rows]
            share = attention_shares(q, k, lse, layout, i, rows, seen)
            share = share / share.sum(-1, keepdim=True)
            scores = index_scores(*index, _Rows(layout, i, rows), i)
            log_guess = torch.log_softmax(scores.masked_fill(~seen, -1e30), -1)
            sums.append((torch.xlogy(share, share) - share * log_guess * seen).sum())
            count += len(rows)
        self.terms.append(torch.stack(sums).sum() / count)

    def total(self):
        return torch.stack(self.terms).mean()


class Recall:
    """Observer of a dense Pass: at positions beyond 2 x topk, which part of the topk keys with the
    most attention, and of the attention itself, would the indexer have selected?"""

    def __init__(self, layout, topk, seed):
        self.layout, self.topk = layout, topk
        self.generator = torch.Generator().manual_seed(seed)
        self.layers = []

    @torch.no_grad()
    def __call__(self, index, q, k, lse, mask):
        layout, found = self.layout, []
        for i in range(1, len(layout.lengths)):
            rows = sampled_rows(layout.lengths[i], 16, self.generator)
            rows = rows[rows + layout.prefix >= 2 * self.topk]
            if len(rows) == 0:
                continue
            seen = layout.visible(i)[rows]
            share = attention_shares(q, k, lse, layout, i, rows, seen)
            chosen = topk_sets(index_scores(*index, _Rows(layout, i, rows), i), seen, self.topk)
            best = topk_sets(share, seen, self.topk)
            hit = (chosen & best).sum(-1) / self.topk
            mass = (share * chosen).sum(-1) / share.sum(-1)
            chance = self.topk / seen.sum(-1)
            found.append(torch.stack([hit, mass, chance], -1))
        self.layers.append(torch.cat(found).mean(0))

    def table(self):
        """[layers, 3]: recall, attention mass kept, recall of a random choice."""
        return torch.stack(self.layers)
