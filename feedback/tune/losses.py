"""Two losses that TRL does not have, as functions of token log-probabilities.

Shapes: T tokens a sequence (padded), B sequences; `mask` is 1 for tokens of the answer and 0 for prompt and padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def token_log_probabilities(logits: Tensor, input_ids: Tensor) -> Tensor:
    """log p(token t | tokens before t), (B, T); the first token has none and gets 0."""
    import torch

    shifted = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    picked = shifted.gather(2, input_ids[:, 1:].unsqueeze(2)).squeeze(2)
    return torch.nn.functional.pad(picked, (1, 0))


def mean_nll(log_p: Tensor, mask: Tensor) -> Tensor:
    """Mean negative log-likelihood of each sequence's answer tokens, (B,). An answer without tokens gives 0."""
    return -(log_p * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def rating_scaled_contrast(
    nll: Tensor, rating: Tensor, group: Tensor, *, margin: float, scale: float, ratio: float
) -> Tensor:
    """Stable Alignment's loss: imitate the best-rated answer, and be surer of it than of the others by a margin that
    grows with how much worse they were rated.

        L = mean over prompts of [ L_best + ratio * mean_j max(0, L_best - L_j + margin (r_best - r_j) / scale) ]

    nll, rating, group : (B,); `group` numbers the prompts. L is the mean negative log-likelihood of an answer, so a
    positive bracket means that the best one is not yet likelier by the margin. Answers rated like the best are not compared.
    Source: Liu et al. 2023 (arXiv 2305.16960), section 3.3. The public code attaches margins by position instead of by
    answer; here every answer keeps its own rating. Hinge per answer, as in the paper.
    """
    import torch

    total = nll.new_zeros(())
    prompts = torch.unique(group)
    for prompt in prompts:
        rows = torch.nonzero(group == prompt).squeeze(1)
        best = rows[torch.argmax(rating[rows])]
        worse = rows[rating[rows] < rating[best]]
        loss = nll[best]
        if len(worse):
            wanted = margin * (rating[best] - rating[worse]) / scale
            loss = loss + ratio * torch.clamp(nll[best] - nll[worse] + wanted, min=0).mean()
        total = total + loss
    return total / len(prompts)


def hindsight_loss(log_p: Tensor, log_p_knowing: Tensor, mask: Tensor) -> Tensor:
    """Self-distillation from feedback: tokens the model would choose more after hearing the feedback become likelier.

        A_t = stopgrad[ log p(y_t | x, o) - log p(y_t | x) ],   L = mean over answers of -sum_t A_t log p(y_t | x) / |y|

    `log_p`: of the answer given the prompt; `log_p_knowing`: of the same tokens given prompt and feedback `o`; both (B, T)
    over the answer's tokens. Equal ones give a gradient of zero. Source: arXiv 2603.12273, offline objective, without a KL term.
    """
    advantage = (log_p_knowing - log_p).detach()
    per_answer = -(advantage * log_p * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return per_answer.mean()
