// Norms, rotary embedding, activation, softmax and conversions: one row at a time, lanes along the
// row, every sum one chain of vectors. All of them are bound by memory or by the exponential.

namespace ponder::kernels {
namespace {

inline float sum_lanes(Vec a) { return _mm_cvtss_f32(sum4(a, zero(), zero(), zero())); }

// e^x within 2 units in the last place for results that are normal numbers; smaller ones are 0.
// 2^n * e^r with n = round(x / ln 2), |r| <= ln 2 / 2; the polynomial is that of Cephes' expf.
inline Vec exp(Vec x) {
  const Vec highest = broadcast(88.7228317f);
  const Vec lowest = broadcast(-87.3365402f);
  const Vec clamped = max(lowest, min(highest, x));
  const Vec n = round_to_integer(mul(clamped, broadcast(1.44269504f)));
  Vec r = fma(n, broadcast(-0.693359375f), clamped);
  r = fma(n, broadcast(2.12194440e-4f), r);
  Vec p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = add(fma(p, mul(r, r), r), broadcast(1.0f));
  const Vec y = scale_by_power(p, n);
  return replace_above(replace_below(y, x, lowest, zero()), x, highest,
                       broadcast(__builtin_inff()));
}

void rms_norm(const RmsNormArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  const std::size_t whole = args.dim / kLanes * kLanes;
  const std::size_t rest = args.dim - whole;
  const auto dim = static_cast<float>(args.dim);
  for (std::size_t r = row_begin; r < row_end; ++r) {
    const float* x = args.x + r * args.x_stride;
    float* y = args.y + r * args.y_stride;
    Vec squares = zero();
    for (std::size_t i = 0; i < whole; i += kLanes) {
      squares = fma(load(x + i), load(x + i), squares);
    }
    const Vec last = load_some(x + whole, rest);
    squares = fma(last, last, squares);
    const Vec mean = broadcast(sum_lanes(squares) / dim + args.eps);
    const Vec scale = div(broadcast(1.0f), sqrt(mean));
    for (std::size_t i = 0; i < whole; i += kLanes) {
      store(y + i, mul(mul(load(x + i), scale), load(args.weight + i)));
    }
    store_some(y + whole, mul(mul(last, scale), load_some(args.weight + whole, rest)), rest);
  }
}

void layer_norm(const LayerNormArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  const std::size_t whole = args.dim / kLanes * kLanes;
  const std::size_t rest = args.dim - whole;
  const auto dim = static_cast<float>(args.dim);
  for (std::size_t r = row_begin; r < row_end; ++r) {
    const float* x = args.x + r * args.x_stride;
    float* y = args.y + r * args.y_stride;
    Vec sum = zero();
    for (std::size_t i = 0; i < whole; i += kLanes) sum = add(load(x + i), sum);
    sum = add(load_some(x + whole, rest), sum);
    const Vec mean = broadcast(sum_lanes(sum) / dim);
    Vec squares = zero();
    for (std::size_t i = 0; i < whole; i += kLanes) {
      const Vec centred = sub(load(x + i), mean);
      squares = fma(centred, centred, squares);
    }
    // The lanes past the end hold the mean, and so add nothing.
    const Vec last = sub(load_some(x + whole, rest, mean), mean);
    squares = fma(last, last, squares);
    const Vec variance = broadcast(sum_lanes(squares) / dim + args.eps);
    const Vec scale = div(broadcast(1.0f), sqrt(variance));
    for (std::size_t i = 0; i < whole; i += kLanes) {
      const Vec normed = mul(sub(load(x + i), mean), scale);
      store(y + i, fma(normed, load(args.weight + i), load(args.bias + i)));
    }
    const Vec normed = mul(last, scale);
    const Vec weight = load_some(args.weight + whole, rest);
    store_some(y + whole, fma(normed, weight, load_some(args.bias + whole, rest)), rest);
  }
}

inline Pair rotate(Vec a, Vec b, Vec cos, Vec sin) {
  return {fms(a, cos, mul(b, sin)), fma(a, sin, mul(b, cos))};
}

void rotate_half_split(float* x, const float* cos, const float* sin, std::size_t half) {
  std::size_t j = 0;
  for (; j + kLanes <= half; j += kLanes) {
    const Pair y = rotate(load(x + j), load(x + half + j), load(cos + j), load(sin + j));
    store(x + j, y.first);
    store(x + half + j, y.second);
  }
  const std::size_t rest = half - j;
  const Pair y = rotate(load_some(x + j, rest), load_some(x + half + j, rest),
                        load_some(cos + j, rest), load_some(sin + j, rest));
  store_some(x + j, y.first, rest);
  store_some(x + half + j, y.second, rest);
}

void rotate_interleaved(float* x, const float* cos, const float* sin, std::size_t half) {
  std::size_t j = 0;
  for (; j + kLanes <= half; j += kLanes) {
    const Pair in = deinterleave(load(x + 2 * j), load(x + 2 * j + kLanes));
    const Pair y = rotate(in.first, in.second, load(cos + j), load(sin + j));
    const Pair out = interleave(y.first, y.second);
    store(x + 2 * j, out.first);
    store(x + 2 * j + kLanes, out.second);
  }
  const std::size_t rest = half - j;
  if (rest == 0) return;
  float pairs[2 * kLanes] = {};
  for (std::size_t i = 0; i < 2 * rest; ++i) pairs[i] = x[2 * j + i];
  const Pair in = deinterleave(load(pairs), load(pairs + kLanes));
  const Pair y = rotate(in.first, in.second, load_some(cos + j, rest), load_some(sin + j, rest));
  const Pair out = interleave(y.first, y.second);
  store(pairs, out.first);
  store(pairs + kLanes, out.second);
  for (std::size_t i = 0; i < 2 * rest; ++i) x[2 * j + i] = pairs[i];
}

void rope(const RopeArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  const std::size_t half = args.dim / 2;
  for (std::size_t r = row_begin; r < row_end; ++r) {
    const std::size_t position =
        args.positions == nullptr ? r : static_cast<std::size_t>(args.positions[r]);
    const float* cos = args.cos + position * half;
    const float* sin = args.sin + position * half;
    for (std::size_t h = 0; h < args.heads; ++h) {
      float* x = args.x + r * args.row_stride + h * args.head_stride;
      if (args.layout == RopeLayout::interleaved) {
        rotate_interleaved(x, cos, sin, half);
      } else {
        rotate_half_split(x, cos, sin, half);
      }
    }
  }
}

inline Vec silu(Vec z) { return div(z, add(broadcast(1.0f), exp(sub(zero(), z)))); }

void silu_mul(const SiluMulArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  const std::size_t whole = args.dim / kLanes * kLanes;
  const std::size_t rest = args.dim - whole;
  for (std::size_t r = row_begin; r < row_end; ++r) {
    const float* gate = args.gate + r * args.gate_stride;
    const float* up = args.up + r * args.up_stride;
    float* y = args.y + r * args.y_stride;
    for (std::size_t i = 0; i < whole; i += kLanes) {
      store(y + i, mul(silu(load(gate + i)), load(up + i)));
    }
    const Vec last = silu(load_some(gate + whole, rest));
    store_some(y + whole, mul(last, load_some(up + whole, rest)), rest);
  }
}

void weighted_sum(const WeightedSumArgs& args, std::size_t row_begin,
                  std::size_t row_end) noexcept {
  for (std::size_t r = row_begin; r < row_end; ++r) {
    float* y = args.y + r * args.y_stride;
    for (std::size_t slot = 0; slot < args.slots; ++slot) {
      const std::int32_t index = args.indices[r * args.slots + slot];
      if (index < 0) continue;
      const float* x = args.x + static_cast<std::size_t>(index) * args.x_stride;
      const Vec weight = broadcast(args.weights[r * args.slots + slot]);
      std::size_t i = 0;
      for (; i + kLanes <= args.dim; i += kLanes) {
        store(y + i, fma(weight, load(x + i), load(y + i)));
      }
      const std::size_t rest = args.dim - i;
      store_some(y + i, fma(weight, load_some(x + i, rest), load_some(y + i, rest)), rest);
    }
  }
}

void softmax(const SoftmaxArgs& args, std::size_t row_begin, std::size_t row_end) noexcept {
  const std::size_t whole = args.dim / kLanes * kLanes;
  const std::size_t rest = args.dim - whole;
  const Vec scale = broadcast(args.scale);
  const Vec lowest = broadcast(-__builtin_inff());
  for (std::size_t r = row_begin; r < row_end; ++r) {
    float* x = args.x + r * args.stride;
    Vec best = lowest;
    for (std::size_t i = 0; i < whole; i += kLanes) best = max(mul(load(x + i), scale), best);
    float last[kLanes];
    store(last, lowest);
    store_some(last, mul(load_some(x + whole, rest), scale), rest);
    const Vec top = broadcast(max_lane(max(load(last), best)));
    Vec sum = zero();
    for (std::size_t i = 0; i < whole; i += kLanes) {
      const Vec e = exp(sub(mul(load(x + i), scale), top));
      store(x + i, e);
      sum = add(e, sum);
    }
    const Vec last_exp = exp(sub(load(last), top));
    const Vec total = broadcast(sum_lanes(add(last_exp, sum)));
    for (std::size_t i = 0; i < whole; i += kLanes) store(x + i, div(load(x + i), total));
    store_some(x + whole, div(last_exp, total), rest);
  }
}

void add(float* y, const float* x, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, add(load(y + i), load(x + i)));
  store_some(y + i, add(load_some(y + i, n - i), load_some(x + i, n - i)), n - i);
}

std::size_t argmax(const float* x, std::size_t n) noexcept {
  const Vec lowest = broadcast(-__builtin_inff());
  const std::size_t whole = n / kLanes * kLanes;
  Vec best = max(load_some(x + whole, n - whole, lowest), lowest);
  for (std::size_t i = 0; i < whole; i += kLanes) best = max(load(x + i), best);
  const float value = max_lane(best);
  if (value == -__builtin_inff()) return 0;
  std::size_t i = 0;
  while (i < whole && !any_equal(load(x + i), broadcast(value))) i += kLanes;
  while (x[i] != value) ++i;
  return i;
}

void bf16_to_f32(float* y, const bf16* x, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(x + i));
  store_some(y + i, load_some(x + i, n - i), n - i);
}

void f32_to_bf16(bf16* y, const float* x, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_bf16(y + i, load(x + i));
  bf16 last[kLanes];
  store_bf16(last, load_some(x + i, n - i));
  for (std::size_t j = 0; i + j < n; ++j) y[i + j] = last[j];
}

void round_to_bf16(float* x, std::size_t n) noexcept {
  bf16 rounded[kLanes];
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store_bf16(rounded, load(x + i));
    store(x + i, load(rounded));
  }
  store_bf16(rounded, load_some(x + i, n - i));
  store_some(x + i, load(rounded), n - i);
}

}  // namespace
}  // namespace ponder::kernels
