// Sigmoid router with selection bias and groups (DeepSeek-V3, "noaux_tc").

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/scalar.h"

namespace ponder::kernels::scalar {
namespace {

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

// The first of the largest values in [0, n) that is not yet taken; n when all are.
std::size_t best_untaken(const float* values, const bool* taken, std::size_t n) noexcept {
  std::size_t best = n;
  for (std::size_t i = 0; i < n; ++i) {
    if (!taken[i] && (best == n || values[i] > values[best])) best = i;
  }
  return best;
}

float two_best_sum(const float* values, std::size_t n) noexcept {
  float first = kExcluded;
  float second = kExcluded;
  for (std::size_t i = 0; i < n; ++i) {
    if (values[i] > first) {
      second = first;
      first = values[i];
    } else if (values[i] > second) {
      second = values[i];
    }
  }
  return n == 1 ? first : first + second;
}

// Marks the experts of all but the best groups as taken.
void drop_groups(const RouterArgs& args, const float* choice, bool* taken) noexcept {
  const std::size_t group_size = args.experts / args.groups;
  float scores[kExpertsMax];
  bool kept[kExpertsMax] = {};
  for (std::size_t g = 0; g < args.groups; ++g) {
    scores[g] = two_best_sum(choice + g * group_size, group_size);
  }
  for (std::size_t i = 0; i < args.topk_group; ++i) {
    kept[best_untaken(scores, kept, args.groups)] = true;
  }
  for (std::size_t e = 0; e < args.experts; ++e) taken[e] = !kept[e / group_size];
}

void route_row(const RouterArgs& args, std::size_t row) noexcept {
  const float* logits = args.logits + row * args.logits_stride;
  float probabilities[kExpertsMax];
  float choice[kExpertsMax];
  bool taken[kExpertsMax] = {};
  for (std::size_t e = 0; e < args.experts; ++e) {
    const double z = logits[e];
    probabilities[e] = static_cast<float>(1.0 / (1.0 + std::exp(-z)));
    choice[e] = args.bias == nullptr ? probabilities[e] : probabilities[e] + args.bias[e];
    if (std::isnan(choice[e])) choice[e] = kExcluded;
  }
  if (args.topk_group < args.groups) drop_groups(args, choice, taken);

  std::int32_t* indices = args.indices + row * args.topk;
  float* weights = args.weights + row * args.topk;
  float sum = 1e-20f;
  for (std::size_t i = 0; i < args.topk; ++i) {
    const std::size_t expert = best_untaken(choice, taken, args.experts);
    taken[expert] = true;
    indices[i] = static_cast<std::int32_t>(expert);
    weights[i] = probabilities[expert];
    sum += probabilities[expert];
  }
  for (std::size_t i = 0; i < args.topk; ++i) {
    const float share = args.normalize ? weights[i] / sum : weights[i];
    weights[i] = share * args.scaling_factor;
  }
}

}  // namespace

void router(const RouterArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  for (std::size_t row = row_begin; row < row_end; ++row) route_row(args, row);
}

}  // namespace ponder::kernels::scalar
