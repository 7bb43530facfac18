// Row-wise pieces of the model that PyTorch would run as many passes over memory: RMSNorm, rotary
// position embedding with the layout of keys and values, and SwiGLU, forward and backward. One
// thread; rows are independent. Called through ctypes; the contracts are in rowwise.py.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using Bf16 = uint16_t;

inline float widen(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

inline Bf16 narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return static_cast<Bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Rotates interleaved pairs; sign -1 undoes it.
inline void rotate(Bf16* out, const Bf16* in, const float* cos, const float* sin, int pairs,
                   float sign) {
  for (int j = 0; j < pairs; ++j) {
    const float a = widen(in[2 * j]), b = widen(in[2 * j + 1]);
    out[2 * j] = narrow(a * cos[j] - sign * b * sin[j]);
    out[2 * j + 1] = narrow(sign * a * sin[j] + b * cos[j]);
  }
}

// A fast e^x, good to 2e-7 relative; the compiler vectorises it.
inline float exponential(float x) {
  x = x < -87.f ? -87.f : x > 88.f ? 88.f : x;
  const float y = x * 1.44269504088896341f;
  const float n = std::nearbyint(y);
  const float f = y - n;
  float p = 1.5353362e-4f;
  p = p * f + 1.3398874e-3f;
  p = p * f + 9.6184373e-3f;
  p = p * f + 5.5503302e-2f;
  p = p * f + 2.4022648e-1f;
  p = p * f + 6.9314720e-1f;
  p = p * f + 1.f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, 4);
  return p * scale;
}

}  // namespace

extern "C" {

// y = bf16(x * w / rms(x)); x is fp32 or bf16 rows `stride` apart.
void rms_forward(const float* x32, const Bf16* x16, int64_t stride, const float* w, float eps,
                 Bf16* y, float* inverse, int64_t rows, int64_t width) {
  std::vector<float> x(width);
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 0;
    if (x32 != nullptr)
      for (int i = 0; i < width; ++i) x[i] = x32[r * stride + i];
    else
      for (int i = 0; i < width; ++i) x[i] = widen(x16[r * stride + i]);
    for (int i = 0; i < width; ++i) sum += x[i] * x[i];
    const float inv = 1.f / std::sqrt(sum / width + eps);
    inverse[r] = inv;
    for (int i = 0; i < width; ++i) y[r * width + i] = narrow(x[i] * inv * w[i]);
  }
}

void rms_backward(const float* x32, const Bf16* x16, int64_t stride, const float* w,
                  const float* inverse, const Bf16* g, float* dx32, Bf16* dx16, float* dw,
                  int64_t rows, int64_t width) {
  std::vector<float> n(width), e(width);
  for (int64_t r = 0; r < rows; ++r) {
    const float inv = inverse[r];
    if (x32 != nullptr)
      for (int i = 0; i < width; ++i) n[i] = x32[r * stride + i] * inv;
    else
      for (int i = 0; i < width; ++i) n[i] = widen(x16[r * stride + i]) * inv;
    float dot = 0;
    for (int i = 0; i < width; ++i) {
      const float grad = widen(g[r * width + i]);
      dw[i] += grad * n[i];
      e[i] = grad * w[i];
      dot += e[i] * n[i];
    }
    dot /= width;
    if (dx32 != nullptr)
      for (int i = 0; i < width; ++i) dx32[r * width + i] = (e[i] - n[i] * dot) * inv;
    else
      for (int i = 0; i < width; ++i) dx16[r * width + i] = narrow((e[i] - n[i] * dot) * inv);
  }
}

// Rotates the last 2 * pairs of every head of x [rows, heads, width].
void rotate_tails(const Bf16* x, const float* cos, const float* sin, Bf16* y, float sign,
                  int64_t rows, int64_t heads, int64_t width, int64_t pairs) {
  for (int64_t r = 0; r < rows; ++r)
    for (int h = 0; h < heads; ++h) {
      const int64_t at = (r * heads + h) * width;
      std::memcpy(y + at, x + at, (width - 2 * pairs) * sizeof(Bf16));
      rotate(y + at + width - 2 * pairs, x + at + width - 2 * pairs, cos + r * pairs,
             sin + r * pairs, pairs, sign);
    }
}

// kv [rows, heads, nope + dv] and rope [rows, 2 * pairs] (`stride` apart) -> k [rows, heads, nope +
// 2 * pairs] with the rotated rope in every head, v [rows, heads, dv].
void expand_keys(const Bf16* kv, const Bf16* rope, int64_t stride, const float* cos,
                 const float* sin, Bf16* k, Bf16* v, int64_t rows, int64_t heads, int64_t nope,
                 int64_t dv, int64_t pairs) {
  std::vector<Bf16> turned(2 * pairs);
  for (int64_t r = 0; r < rows; ++r) {
    rotate(turned.data(), rope + r * stride, cos + r * pairs, sin + r * pairs, pairs, 1.f);
    for (int h = 0; h < heads; ++h) {
      const Bf16* from = kv + (r * heads + h) * (nope + dv);
      Bf16* key = k + (r * heads + h) * (nope + 2 * pairs);
      std::memcpy(key, from, nope * sizeof(Bf16));
      std::memcpy(key + nope, turned.data(), 2 * pairs * sizeof(Bf16));
      std::memcpy(v + (r * heads + h) * dv, from + nope, dv * sizeof(Bf16));
    }
  }
}

void expand_keys_backward(const Bf16* dk, const Bf16* dv_in, const float* cos, const float* sin,
                          Bf16* dkv, Bf16* drope, int64_t rows, int64_t heads, int64_t nope,
                          int64_t dv, int64_t pairs) {
  std::vector<float> sum(2 * pairs);
  std::vector<Bf16> total(2 * pairs);
  for (int64_t r = 0; r < rows; ++r) {
    for (auto& s : sum) s = 0;
    for (int h = 0; h < heads; ++h) {
      const Bf16* key = dk + (r * heads + h) * (nope + 2 * pairs);
      Bf16* to = dkv + (r * heads + h) * (nope + dv);
      std::memcpy(to, key, nope * sizeof(Bf16));
      std::memcpy(to + nope, dv_in + (r * heads + h) * dv, dv * sizeof(Bf16));
      for (int j = 0; j < 2 * pairs; ++j) sum[j] += widen(key[nope + j]);
    }
    for (int j = 0; j < 2 * pairs; ++j) total[j] = narrow(sum[j]);
    rotate(drope + r * 2 * pairs, total.data(), cos + r * pairs, sin + r * pairs, pairs, -1.f);
  }
}

// x [rows, 2 * width] = gate | up -> silu(gate) * up.
void gated_forward(const Bf16* x, Bf16* y, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r)
    for (int i = 0; i < width; ++i) {
      const float g = widen(x[r * 2 * width + i]), u = widen(x[r * 2 * width + width + i]);
      y[r * width + i] = narrow(g / (1.f + exponential(-g)) * u);
    }
}

void gated_backward(const Bf16* x, const Bf16* dy, Bf16* dx, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r)
    for (int i = 0; i < width; ++i) {
      const float g = widen(x[r * 2 * width + i]), u = widen(x[r * 2 * width + width + i]);
      const float d = widen(dy[r * width + i]);
      const float s = 1.f / (1.f + exponential(-g));
      dx[r * 2 * width + i] = narrow(d * u * s * (1.f + g * (1.f - s)));
      dx[r * 2 * width + width + i] = narrow(d * g * s);
    }
}

}  // extern "C"
