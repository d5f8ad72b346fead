"""AdamW, warmup and clipping in NumPy, by the conventions that are in use and with known mistakes.

`wrong` holds names of `mistakes.py` and of `conventions.py`. Without any this is AdamW as PyTorch has it: corrected
averages, decay by lr * weight_decay before the update. Right answers are stored and do not come from here.
"""

import math

import numpy as np

STUCK = ("optimizer-state-reset", "step-count-stuck")
FOLDED = {  # with a correction that is folded into the learning rate, and mistakes that can be made only there
    "folded-bias-correction", "correction-without-root", "correction-upside-down", "learning-rate-compounded",
    "rate-compounded-over-parameters",
}  # fmt: skip


def corrections(t, beta1, beta2, wrong):
    """(what the mean is divided by, what the square is divided by) at step t."""
    if STUCK[0] in wrong or STUCK[1] in wrong:
        t = 1
    if "bias-correction-off-by-one" in wrong:
        t = t + 1
    if "bias-correction-from-step-0" in wrong:
        t = t - 1
    if "betas-swapped-in-correction" in wrong:
        beta1, beta2 = beta2, beta1
    mean, square = 1 - beta1**t, 1 - beta2**t
    if "power-as-product" in wrong:
        mean, square = 1 - beta1 * t, 1 - beta2 * t
    if "only-square-corrected" in wrong:
        mean = 1.0
    if "only-mean-corrected" in wrong:
        square = 1.0
    return mean, square


def update_moments(state, g, beta1, beta2, wrong):
    """The two running averages with this gradient in them."""
    if "betas-swapped" in wrong:
        beta1, beta2 = beta2, beta1
    if {"optimizer-state-reset", "moments-not-stored"} & wrong:
        state["mean"], state["square"] = np.zeros_like(g), np.zeros_like(g)
    if "mean-not-stored" in wrong:
        state["mean"] = np.zeros_like(g)
    if "square-not-stored" in wrong:
        state["square"] = np.zeros_like(g)
    if "moments-start-at-gradient" in wrong and state["t"] == 1:
        state["mean"], state["square"] = g.copy(), g**2
    share = 1.0 if "mean-without-1-minus-beta" in wrong else 1 - beta1
    if "averages-weighted-the-wrong-way" in wrong:
        beta1, beta2, share = 1 - beta1, 1 - beta2, beta1
    state["mean"] = beta1 * state["mean"] + share * g
    square = state["mean"] ** 2 if "square-of-mean" in wrong else g if "square-not-squared" in wrong else g**2
    state["square"] = beta2 * state["square"] + (1.0 if "square-without-1-minus-beta" in wrong else 1 - beta2) * square


def adam_direction(state, lr, beta1, beta2, eps, wrong):
    """(what is subtracted from the parameter apart from decay, the rate it was scaled with)."""
    if "betas-swapped" in wrong:
        beta1, beta2 = beta2, beta1
    c1, c2 = corrections(state["t"], beta1, beta2, wrong)
    mean, square = state["mean"], state["square"]
    if "no-bias-correction" in wrong:
        c1 = c2 = 1.0
    if FOLDED & wrong:
        root = c2 if "correction-without-root" in wrong else np.sqrt(np.float64(c2))
        rate = lr * np.float64(c1) / root if "correction-upside-down" in wrong else lr * root / np.float64(c1)
    else:
        rate, mean, square = lr, mean / np.float64(c1), square / np.float64(c2)
        if "correction-without-root#of-the-square" in wrong:
            square = square / np.float64(c2)
    if "corrected-moments-stored" in wrong:
        state["mean"], state["square"] = mean, square
    if "root-missing" in wrong:
        bottom = square + eps
    elif "eps-inside-root" in wrong:
        bottom = np.sqrt(square + eps)
    else:
        bottom = np.sqrt(square) + (0 if "eps-missing" in wrong else eps)
    if "square-overwritten" in wrong:
        state["square"] = np.sqrt(square)
    if "square-overwritten#with-eps" in wrong:
        state["square"] = bottom
    return (lr if "learning-rate-twice" in wrong else 1) * rate * mean / bottom, rate


def decay_step(rate, decay, wrong):
    """What the parameter is multiplied with and subtracted, as a share."""
    if "decay-missing" in wrong or "l2-instead-of-decoupled" in wrong:
        return 0.0
    share = decay if "decay-without-lr" in wrong else rate * decay
    if "decay-times-lr-squared" in wrong:
        share *= rate
    if "decay-without-weight-decay" in wrong:
        share = rate
    if "decay-twice" in wrong:
        share *= 2
    return -share if "decay-sign" in wrong else share


def adamw_several(parameters, gradients, lr, beta1, beta2, eps, weight_decay, wrong=frozenset()):
    """gradients: one list for each step, None where a parameter has none. Returns a list of arrays [S, ...]."""
    parameters = [np.array(p, dtype=np.float64) for p in parameters]
    states = [{"mean": np.zeros_like(p), "square": np.zeros_like(p), "t": 0} for p in parameters]
    histories, calls = [[] for _ in parameters], 0
    for step, given in enumerate(gradients, 1):
        carried = lr
        for i, (p, g) in enumerate(zip(parameters, given, strict=True)):
            if g is None:
                if "missing-gradient-ends-the-loop" in wrong:
                    break
                if "missing-gradient-as-zero" not in wrong:
                    continue
                g = np.zeros_like(p)
            g = np.array(g, dtype=np.float64)
            calls += 1
            state = states[i]
            state["t"] = step if "one-step-count" in wrong else state["t"] + 1
            if "step-counted-for-each-parameter" in wrong:
                state["t"] = calls
            if "first-gradient-dropped" in wrong and state["t"] == 1:
                continue
            if "first-gradient-dropped#and-not-counted" in wrong and not state.get("begun"):
                state["begun"], state["t"] = True, 0
                continue
            rate = carried if "rate-compounded-over-parameters" in wrong else lr
            parameters[i], used = one_step(p, g, state, (rate, lr), beta1, beta2, eps, weight_decay, wrong)
            carried = used
            if "learning-rate-compounded" in wrong:
                lr = used
            if "return-inside-the-loop" in wrong:
                break
        for history, p in zip(histories, parameters, strict=True):
            history.append(p)
    return [np.stack(history) for history in histories]


def one_step(p, g, state, rates, beta1, beta2, eps, weight_decay, wrong):
    """(the new parameter, the rate that was used). rates: of the update before its correction, of decay."""
    lr, decay_rate = rates
    if "l2-instead-of-decoupled" in wrong:
        g = g + weight_decay * p
    before = dict(state)
    update_moments(state, g, beta1, beta2, wrong)
    used = {**before, "t": state["t"]} if "update-with-old-moments" in wrong else state
    change, rate = adam_direction(used, lr, beta1, beta2, eps, wrong)
    change = -change if "step-uphill" in wrong else change
    if "nothing-updated" in wrong:
        return p, rate
    if "nothing-updated#but-decayed" in wrong:
        change = np.zeros_like(change)
    share = decay_step(rate if "decay-by-corrected-rate" in wrong else decay_rate, weight_decay, wrong)
    if "decay-of-gradient" in wrong:
        return p - change - share * g, rate
    if "decay-of-update" in wrong:
        return p - change - share * change, rate
    if "decay-after-step" in wrong:
        p = p - change
        return p - share * p, rate
    return p - share * p - change, rate


def adamw(parameter, gradients, lr, beta1, beta2, eps, weight_decay, wrong=frozenset()):
    """[N], [S, N] -> [S, N]."""
    given = [[gradient] for gradient in gradients]
    return adamw_several([parameter], given, lr, beta1, beta2, eps, weight_decay, wrong)[0]


def warmup_schedule(step, warmup_steps, total_steps, wrong=frozenset()):
    """The factor of the learning rate."""
    if "schedule-off-by-one" in wrong:
        step = step + 1
    if "schedule-one-step-behind" in wrong:
        step = max(0, step - 1)
    left = (total_steps - step) / max(1, total_steps - warmup_steps)
    if "schedule-noam" in wrong:
        return min(step / warmup_steps, math.sqrt(warmup_steps / max(step, 1)))
    if step < warmup_steps and "no-warmup" not in wrong:
        return (step + 1 if "warmup-starts-above-0" in wrong else step) / warmup_steps
    if "schedule-of-bert" in wrong or "no-warmup" in wrong:
        return (total_steps - step) / total_steps
    if "no-decay" in wrong:
        return 1.0
    if "schedule-cosine" in wrong:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, 1 - left)))
    if "schedule-polynomial" in wrong:
        return max(0.0, left) ** 2
    if "schedule-polynomial#end" in wrong:  # transformers' default: power 1, and an end at 1e-7 of a rate of 5e-5
        return (1 - 2e-3) * max(0.0, left) + 2e-3
    if "never-reaches-zero" in wrong:
        return 1 - (step - warmup_steps) / total_steps
    if "decay-starts-too-late" in wrong:
        return max(0.0, (total_steps - step - 1) / max(1, total_steps - warmup_steps))
    return max(0.0, left)


def clip_gradients(gradients, max_norm, wrong=frozenset()):
    """List of arrays."""
    norms = [math.sqrt(float((g**2).sum())) for g in gradients]
    if "not-clipped" in wrong:
        return [g.copy() for g in gradients]
    if "clipped-by-value" in wrong:
        return [np.clip(g, -max_norm, max_norm) for g in gradients]
    if "clipped-per-tensor" in wrong:
        return [g * min(1.0, max_norm / (n + 1e-6)) for g, n in zip(gradients, norms, strict=True)]
    total = math.sqrt(sum(n**2 for n in norms))
    if "norms-added" in wrong:
        total = sum(norms)
    if "norm-without-root" in wrong:
        total = total**2
    if "largest-norm" in wrong:
        total = max(norms)
    if "norm-of-largest-element" in wrong:
        total = max(float(np.abs(g).max()) for g in gradients)
    factor = max_norm / (total + 1e-6)
    if "scaled-to-norm-1" in wrong:
        factor = 1 / (total + 1e-6) if total > max_norm else 1.0
    return [g * (factor if "always-scaled" in wrong else min(1.0, factor)) for g in gradients]
