from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from feedback.tune.losses import (  # noqa: E402
    hindsight_loss,
    mean_nll,
    rating_scaled_contrast,
    token_log_probabilities,
)


def test_token_log_probabilities_are_those_of_the_next_token():
    logits = torch.log(torch.tensor([[[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]]))
    found = token_log_probabilities(logits, torch.tensor([[0, 1, 0]]))
    assert found[0].tolist() == pytest.approx([0.0, torch.tensor(0.8).log().item(), torch.tensor(0.5).log().item()])


def test_the_mean_is_over_the_answers_tokens_only():
    log_p = torch.tensor([[-9.0, -1.0, -3.0, -9.0], [-9.0, -2.0, -9.0, -9.0]])
    mask = torch.tensor([[0.0, 1, 1, 0], [0, 1, 0, 0]])
    assert mean_nll(log_p, mask).tolist() == [2.0, 2.0]
    assert mean_nll(log_p, torch.zeros_like(mask)).tolist() == [0.0, 0.0]


def contrast(nll, rating, group, ratio=0.2):
    return float(
        rating_scaled_contrast(
            torch.tensor(nll), torch.tensor(rating), torch.tensor(group), margin=10.0, scale=7.0, ratio=ratio
        )
    )


def test_the_contrast_is_the_published_formula_worked_by_hand():
    # Best (rated 6): nll 1.0. Worse rated 2.5: 1.0 - 2.0 + 10 * 3.5 / 7 = 4.0. Worse rated 5.3: 1.0 - 4.0 + 1.0 -> 0.
    assert contrast([1.0, 2.0, 4.0], [6.0, 2.5, 5.3], [0, 0, 0]) == pytest.approx(1.0 + 0.2 * (4.0 + 0.0) / 2)


def test_every_answer_keeps_its_own_rating_whatever_the_order():
    nll, rating = [1.0, 2.0, 4.0], [6.0, 2.5, 5.3]
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        assert contrast([nll[i] for i in order], [rating[i] for i in order], [0, 0, 0]) == pytest.approx(1.4)


def test_answers_rated_like_the_best_are_not_compared_and_prompts_do_not_mix():
    assert contrast([1.0, 9.0], [5.0, 5.0], [0, 0]) == pytest.approx(1.0)
    assert contrast([1.0, 9.0], [5.0, 1.0], [0, 1]) == pytest.approx(5.0)  # two prompts with one answer each


def test_a_better_rated_answer_that_is_surer_by_its_margin_costs_only_its_likelihood():
    assert contrast([0.5, 20.0], [7.0, 0.0], [0, 0]) == pytest.approx(0.5)


def test_feedback_that_changes_nothing_teaches_nothing():
    log_p = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    hindsight_loss(log_p, log_p.detach().clone(), torch.ones(1, 2)).backward()
    assert log_p.grad.abs().sum() == 0


def test_tokens_that_feedback_makes_likelier_are_pushed_up_and_others_down():
    log_p = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    loss = hindsight_loss(log_p, torch.tensor([[-0.5, -3.0]]), torch.ones(1, 2))
    loss.backward()
    assert float(loss) == pytest.approx(-(0.5 * -1.0 + -1.0 * -2.0) / 2)
    assert log_p.grad[0].tolist() == pytest.approx([-0.25, 0.5])  # descent raises the first and lowers the second


def slow_contrast(nll, rating, group, margin, scale, ratio):
    """Section 3.3 of Liu et al. 2023 in plain numbers, prompt by prompt."""
    total, prompts = 0.0, sorted(set(group))
    for prompt in prompts:
        answers = [(r, loss) for loss, r, g in zip(nll, rating, group, strict=True) if g == prompt]
        best_rating = max(r for r, _ in answers)
        best_loss = next(loss for r, loss in answers if r == best_rating)
        hinges = [
            max(0.0, best_loss - loss + margin * (best_rating - r) / scale) for r, loss in answers if r < best_rating
        ]
        total += best_loss + (ratio * sum(hinges) / len(hinges) if hinges else 0.0)
    return total / len(prompts)


def slow_hindsight(log_p, knowing, lengths):
    """-1/B sum_b 1/|y| sum_t [log p(y_t | x, o) - log p(y_t | x)] log p(y_t | x), the bracket a constant (arXiv 2603.12273)."""
    answers = [
        -sum((after - before) * before for before, after in zip(a[:n], b[:n], strict=True)) / n
        for a, b, n in zip(log_p, knowing, lengths, strict=True)
    ]
    return sum(answers) / len(answers)


@pytest.mark.parametrize("seed", range(20))
def test_both_losses_agree_with_their_formulas_term_by_term(seed):
    generator = torch.Generator().manual_seed(seed)
    nll = torch.rand(12, generator=generator, dtype=torch.float64) * 5
    rating = torch.randint(1, 8, (12,), generator=generator).double()
    group = torch.sort(torch.randint(0, 4, (12,), generator=generator)).values
    fast = rating_scaled_contrast(nll, rating, group, margin=3.0, scale=7.0, ratio=0.3)
    slow = slow_contrast(nll.tolist(), rating.tolist(), group.tolist(), 3.0, 7.0, 0.3)
    assert float(fast) == pytest.approx(slow, rel=1e-12)
    log_p = -torch.rand(5, 9, generator=generator, dtype=torch.float64) * 4
    knowing = -torch.rand(5, 9, generator=generator, dtype=torch.float64) * 4
    lengths = torch.randint(1, 10, (5,), generator=generator)
    mask = (torch.arange(9)[None, :] < lengths[:, None]).double()
    log_p.requires_grad_()
    loss = hindsight_loss(log_p, knowing, mask)
    assert float(loss) == pytest.approx(slow_hindsight(log_p.tolist(), knowing.tolist(), lengths.tolist()), rel=1e-12)
    loss.backward()
    advantage = (knowing - log_p.detach()) * mask
    assert torch.allclose(log_p.grad, -advantage / lengths[:, None] / 5)  # the bracket carries no gradient
