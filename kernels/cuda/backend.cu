// The CUDA backend: one device, one stream, and the table that the library exports.

#include <array>
#include <cstring>

#include "kernels/cuda/operations.cuh"

namespace ponder::kernels {
namespace {

static_assert(kDeviceOutOfMemory == cudaErrorMemoryAllocation);

struct Device {
  int index = 0;
  cudaStream_t stream = nullptr;
  int error = cudaSuccess;  // the first one that a launch left
  bool reads_host = false;  // memory that is not pinned, by itself
  bool is_capturing = false;
  bool is_spoilt = false;                              // the capture met what it cannot keep
  std::array<cudaEvent_t, kDeviceEventsMax> events{};  // created when they are first recorded
};

Device& the_device() {
  static Device device;
  return device;
}

/// The runtime has a current device for each thread, the first one to begin with, and what is
/// launched for another one fails. A model is loaded by one thread and run by another.
thread_local int current_device = 0;

cudaError_t make_current(int device) {
  if (device == current_device) return cudaSuccess;
  const cudaError_t error = cudaSetDevice(device);
  if (error == cudaSuccess) current_device = device;
  return error;
}

/// What is wrong with the device, if anything: a failed launch says so here at the latest.
int state() {
  if (the_device().is_capturing) return cudaSuccess;  // end_capture() tells
  if (the_device().error == cudaSuccess) the_device().error = cudaPeekAtLastError();
  return the_device().error;
}

int noted(cudaError_t error) {
  if (the_device().is_capturing) return error;
  if (the_device().error == cudaSuccess && error != cudaSuccess) the_device().error = error;
  return state();
}

int num_devices(int* count) { return cudaGetDeviceCount(count); }

int describe(int device, DeviceInfo* info) {
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device)) return error;
  *info = {};
  std::memcpy(info->name, properties.name, sizeof info->name - 1);  // the last byte stays 0
  info->compute_capability = properties.major * 10 + properties.minor;
  info->num_processors = properties.multiProcessorCount;
  if (const cudaError_t error = make_current(device)) return error;
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  if (const cudaError_t error = cudaMemGetInfo(&free_bytes, &total_bytes)) return error;
  info->memory_bytes = total_bytes;
  info->memory_bytes_free = free_bytes;
  return 0;
}

int open(int device) {
  cudaGetLastError();  // of an earlier use that did not look; one that sticks comes back
  if (const cudaError_t error = make_current(device)) return error;
  the_device().index = device;
  int reads_host = 0;
  cudaDeviceGetAttribute(&reads_host, cudaDevAttrPageableMemoryAccess, device);
  the_device().reads_host = reads_host != 0;
  return cudaStreamCreateWithFlags(&the_device().stream, cudaStreamNonBlocking);
}

void close() {
  for (cudaEvent_t event : the_device().events) {
    if (event != nullptr) cudaEventDestroy(event);
  }
  if (the_device().stream != nullptr) cudaStreamDestroy(the_device().stream);
  the_device() = {};
}

const char* error_text(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

/// What may not be part of a graph: the host's memory will be another by the time that it runs, and
/// nothing can be waited for.
bool is_refused() {
  if (the_device().is_capturing) the_device().is_spoilt = true;
  return the_device().is_capturing;
}

int wait() {
  if (is_refused()) return cudaErrorStreamCaptureUnsupported;
  return noted(cudaStreamSynchronize(stream()));
}

/// A request beyond the memory is answered, and harms nothing.
int allocate(void** at, std::size_t bytes) {
  if (is_refused()) return cudaErrorStreamCaptureUnsupported;
  const cudaError_t error = cudaMallocAsync(at, bytes == 0 ? 1 : bytes, stream());
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return error;
  }
  if (error != cudaSuccess) return noted(error);
  return noted(cudaMemsetAsync(*at, 0, bytes, stream()));
}

void release(void* at) {
  if (at != nullptr) cudaFreeAsync(at, stream());
}

/// From pageable memory. A driver that copies it aside has read `from` when the call returns; a
/// device that reads the host's memory by itself may not have.
int upload(void* to, const void* from, std::size_t bytes) {
  if (is_refused()) return cudaErrorStreamCaptureUnsupported;
  const int error = noted(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()));
  return error == cudaSuccess && the_device().reads_host ? wait() : error;
}

int download(void* to, const void* from, std::size_t bytes) {
  if (is_refused()) return cudaErrorStreamCaptureUnsupported;
  noted(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()));
  return wait();
}

int copy(void* to, const void* from, std::size_t bytes) {
  return noted(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()));
}

int begin_capture() {
  if (const int error = state()) return error;
  const cudaError_t error = cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal);
  if (error != cudaSuccess) {
    cudaGetLastError();
    return error;
  }
  the_device().is_capturing = true;
  the_device().is_spoilt = false;
  return 0;
}

/// The graph as the device wants it, in its memory; null when it cannot be had.
cudaError_t instantiate(cudaGraph_t recorded, cudaGraphExec_t* graph) {
  cudaError_t error = cudaGraphInstantiate(graph, recorded, 0);
  if (error != cudaSuccess) {
    *graph = nullptr;
    return error;
  }
  error = cudaGraphUpload(*graph, stream());
  if (error == cudaSuccess) return error;
  cudaGraphExecDestroy(*graph);
  *graph = nullptr;
  return error;
}

/// Errors of the capture are taken away again; one of the device comes back with the next call.
int end_capture(void** graph) {
  *graph = nullptr;
  cudaGraph_t recorded = nullptr;
  cudaError_t error = cudaStreamEndCapture(stream(), &recorded);
  the_device().is_capturing = false;
  const cudaError_t launched = cudaGetLastError();
  if (error == cudaSuccess) error = launched;
  if (error == cudaSuccess && the_device().is_spoilt) error = cudaErrorStreamCaptureUnsupported;
  cudaGraphExec_t executable = nullptr;
  if (error == cudaSuccess) error = instantiate(recorded, &executable);
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  cudaGetLastError();
  *graph = executable;
  return error;
}

int launch_graph(void* graph) {
  return noted(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream()));
}

void release_graph(void* graph) {
  if (graph != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
}

int record_event(std::size_t event) {
  if (is_refused()) return cudaErrorStreamCaptureUnsupported;
  cudaEvent_t& at = the_device().events.at(event);
  const cudaStream_t queue = stream();
  if (at == nullptr) {
    if (const cudaError_t error = cudaEventCreate(&at)) return noted(error);
  }
  return noted(cudaEventRecord(at, queue));
}

int event_ms(std::size_t from, std::size_t to, float* ms) {
  const auto& events = the_device().events;
  if (const int error = noted(cudaEventSynchronize(events.at(to)))) return error;
  return noted(cudaEventElapsedTime(ms, events.at(from), events.at(to)));
}

void* native_stream() { return stream(); }

}  // namespace

cudaStream_t stream() noexcept {
  noted(make_current(the_device().index));
  return the_device().stream;
}

}  // namespace ponder::kernels

extern "C" __attribute__((visibility("default"))) const ponder::kernels::DeviceTable*
ponder_device_table() {
  using namespace ponder::kernels;
  static const DeviceTable the_table = [] {
    DeviceTable table{};
    table.version = kDeviceTableVersion;
    table.name = "cuda";
    table.num_devices = num_devices;
    table.describe = describe;
    table.open = ponder::kernels::open;
    table.close = ponder::kernels::close;
    table.error_text = error_text;
    table.allocate = allocate;
    table.release = release;
    table.upload = upload;
    table.download = download;
    table.copy = copy;
    table.wait = wait;
    table.begin_capture = begin_capture;
    table.end_capture = end_capture;
    table.launch_graph = launch_graph;
    table.release_graph = release_graph;
    table.record_event = record_event;
    table.event_ms = event_ms;
    table.native_stream = native_stream;
    set_operations(table);
    return table;
  }();
  return &the_table;
}
