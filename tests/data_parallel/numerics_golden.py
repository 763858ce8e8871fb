"""Writes numerics_golden.hpp, what PyTorch itself answers:

    python3 numerics_golden.py > numerics_golden.hpp

All inputs have at most 8 significant bits, which every floating-point type of 16 bits or more
holds, so the answers, in double, are those to inputs of any type.
"""

import math

import torch
from torch.cuda.amp import grad_scaler
from torch.nn.utils import clip_grad_norm_

INF = math.inf
SIZES = [19, 0, 1, 8]
SCALERS = [  # scale, growth, backoff, interval; and in which steps a gradient was not finite
    (65536.0, 2.0, 0.5, 2000, [0, 0, 1, 0, 1, 1, 0]),
    (65536.0, 2.0, 0.5, 3, [0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    (1000.0, 1.7, 0.3, 2, [0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]),
    (2.0**126, 4.0, 0.25, 1, [0, 0, 1, 0, 0]),
]

torch.manual_seed(0)


def grid(*shape):
    return (torch.randint(-127, 128, shape) / 16).double()


def number(value):
    if math.isnan(value):
        return "nan"
    return ("-" if value < 0 else "") + "inf" if math.isinf(value) else repr(value)


def braces(values):
    return "{" + ", ".join(map(number, values)) + "}"


def flat(tensor):
    return braces(tensor.detach().flatten().tolist())


# ---- clip_grad_norm_ ----

def clipped(inputs, norm, max_norm):
    parameters = []
    for size in SIZES:
        if size == 0 and norm == INF:  # which has no answer for nothing
            continue
        parameters.append(torch.zeros(size, dtype=torch.float64))
        taken = sum(map(len, parameters[:-1]))
        parameters[-1].grad = inputs[taken:taken + size].clone()
    total = clip_grad_norm_(parameters, max_norm, norm)
    return total.item(), torch.cat([each.grad for each in parameters])


def clips():
    inputs = grid(sum(SIZES))
    broken = inputs.clone()
    broken[3] = INF
    spoilt = inputs.clone()
    spoilt[20] = math.nan
    for norm in (1.0, 2.0, INF):
        exact = clipped(inputs, norm, 1.0)[0]
        for each, max_norm in ((inputs, 1.0), (inputs, exact), (inputs, 1000.0), (inputs, 0.0),
                               (broken, 1.0), (spoilt, 1.0)):
            total, scaled = clipped(each, norm, max_norm)
            yield (f"    {{{number(norm)}, {number(max_norm)}, {number(total)},\n"
                   f"     {flat(each)},\n     {flat(scaled)}}},")


# ---- GradScaler ----

def update_scale(scale, tracker, found_inf, growth, backoff, interval):
    """torch._amp_update_scale_, which PyTorch has for CUDA alone, written out."""
    if found_inf.item() != 0:
        scale.fill_(scale.item() * backoff)
        tracker.fill_(0)
    elif tracker.item() + 1 == interval:
        grown = torch.tensor(scale.item() * growth, dtype=torch.float32)
        if torch.isfinite(grown):
            scale.copy_(grown)
        tracker.fill_(0)
    else:
        tracker.add_(1)


def scalers():
    torch._amp_update_scale_ = update_scale
    grad_scaler.amp_definitely_not_available = lambda: False
    cpu = torch.device("cpu")
    for scale, growth, backoff, interval, found in SCALERS:
        scaler = grad_scaler.GradScaler(scale, growth, backoff, interval)
        scaler._lazy_init_scale_growth_tracker(cpu)
        rows = []
        for each in found:
            scaler._per_optimizer_states[0]["found_inf_per_device"] = {
                cpu: torch.tensor(float(each))}
            scaler.update()
            rows.append(f"{{{str(bool(each)).lower()}, {number(scaler._scale.item())}f, "
                        f"{scaler._growth_tracker.item()}}}")
        yield (f"    {{{number(scale)}f, {number(growth)}, {number(backoff)}, {interval},\n"
               f"     {{{', '.join(rows)}}}}},")


# ---- BatchNorm over the whole batch ----

def batches():
    norm = torch.nn.BatchNorm1d(3, momentum=0.3).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, -2.0]))
        norm.bias.copy_(torch.tensor([0.25, 0.0, 1.0]))
    for samples, offset in ((7, 0), (4, 16), (1, 0)):
        x = ((grid(samples, 3, 2) * 4).round() / 8 + offset).requires_grad_()
        norm.zero_grad()
        y = norm(x)
        dy = grid(samples, 3, 2)
        y.backward(dy)
        var, mean = torch.var_mean(x, (0, 2), unbiased=False)
        yield "    {" + f"{samples},\n     " + ",\n     ".join(map(flat, (
            x, dy, mean, var, norm.running_mean, norm.running_var, y, x.grad, norm.weight.grad,
            norm.bias.grad))) + "},"


print(f"""// Written by numerics_golden.py with PyTorch {torch.__version__}.
#pragma once

// clang-format off

#include <cstddef>
#include <limits>
#include <vector>

namespace golden_numerics {{

inline constexpr double inf = std::numeric_limits<double>::infinity();
inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// clip_grad_norm_ of gradients of {SIZES} elements, one behind the other.
struct clip {{
  double norm, max_norm, total;
  std::vector<double> before, after;
}};

inline const clip clips[] = {{""")
print("\n".join(clips()))
print("""};

// The scale and the growth tracker of GradScaler after each update.
struct scaler_step {
  bool found_inf;
  float scale;
  int growth_tracker;
};
struct scaler {
  float scale;
  double growth, backoff;
  int interval;
  std::vector<scaler_step> steps;
};

inline const scaler scalers[] = {""")
print("\n".join(scalers()))
print("""};

// BatchNorm1d of 3 channels of length 2, momentum 0.3, fed with one batch after the other.
inline constexpr double weight[] = {0.5, 1.0, -2.0}, bias[] = {0.25, 0.0, 1.0}, epsilon = 1e-5;
struct batch {
  std::size_t samples;
  std::vector<double> x, dy, mean, variance, running_mean, running_variance, y, dx, dweight, dbias;
};

inline const batch batches[] = {""")
print("\n".join(batches()))
print("""};

}  // namespace golden_numerics""")
