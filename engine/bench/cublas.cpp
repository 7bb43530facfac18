#include "engine/bench/cublas.h"

#include <dlfcn.h>

namespace ponder::engine::bench {
namespace {

// Of cublas_api.h and library_types.h.
constexpr int kTranspose = 1;
constexpr int kAsItIs = 0;
constexpr int kBf16 = 14;
constexpr int kComputeF32 = 68;
constexpr int kDefaultAlgorithm = -1;

}  // namespace

struct Cublas::Functions {
  void* library = nullptr;
  void* handle = nullptr;
  int (*create)(void** handle) = nullptr;
  int (*destroy)(void* handle) = nullptr;
  int (*set_stream)(void* handle, void* stream) = nullptr;
  int (*gemm)(void* handle, int trans_a, int trans_b, int m, int n, int k, const void* alpha,
              const void* a, int a_type, int lda, const void* b, int b_type, int ldb,
              const void* beta, void* c, int c_type, int ldc, int compute_type,
              int algorithm) = nullptr;

  template <class Function>
  bool find(Function& function, const char* name) const {
    function = reinterpret_cast<Function>(dlsym(library, name));
    return function != nullptr;
  }
};

Cublas::Cublas(std::unique_ptr<Functions> functions) : functions_(std::move(functions)) {}

std::unique_ptr<Cublas> Cublas::open(const OpenDevice& device) {
  void* const stream = device.table().native_stream();
  if (stream == nullptr) return nullptr;
  auto f = std::make_unique<Functions>();
  for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
    if (f->library == nullptr) f->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  if (f->library == nullptr) return nullptr;
  const bool is_found =
      f->find(f->create, "cublasCreate_v2") && f->find(f->destroy, "cublasDestroy_v2") &&
      f->find(f->set_stream, "cublasSetStream_v2") && f->find(f->gemm, "cublasGemmEx");
  if (!is_found || f->create(&f->handle) != 0 || f->set_stream(f->handle, stream) != 0) {
    return nullptr;
  }
  return std::unique_ptr<Cublas>(new Cublas(std::move(f)));
}

Cublas::~Cublas() { functions_->destroy(functions_->handle); }

/// cuBLAS counts columns first: its product of w^T and x is our rows of x @ w^T.
bool Cublas::multiply(kernels::bf16* y, const kernels::bf16* x, const kernels::bf16* w, int n) {
  const float one = 1.0F;
  const float zero = 0.0F;
  return functions_->gemm(functions_->handle, kTranspose, kAsItIs, n, n, n, &one, w, kBf16, n, x,
                          kBf16, n, &zero, y, kBf16, n, kComputeF32, kDefaultAlgorithm) == 0;
}

}  // namespace ponder::engine::bench
