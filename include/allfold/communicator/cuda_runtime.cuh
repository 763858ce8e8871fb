// The CUDA runtime's objects, owned: errors become exceptions, and what is made is given back.
#pragma once

#include <cuda_runtime.h>

#include <allfold/communicator/device_stream.hpp>
#include <allfold/elements.hpp>
#include <allfold/error.hpp>
#include <optional>
#include <utility>
#include <vector>

namespace allfold {

/// CUDA's streams are a device's.
template <>
inline constexpr bool is_device_stream<cudaStream_t> = true;

}  // namespace allfold

namespace allfold::cuda {

/// The CUDA runtime refused a call.
class cuda_error : public error {
 public:
  cuda_error(cudaError_t code, const std::string& text) : error{text}, code_{code} {}
  cudaError_t code() const { return code_; }

 private:
  cudaError_t code_;
};

/// Throws a cuda_error that says what failed, unless `code` is success.
inline void check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // so that it is not found again by the next call
  throw cuda_error{code, std::string{"allfold: "} + what + " failed: " + cudaGetErrorString(code) +
                             " (" + cudaGetErrorName(code) + ")"};
}

/// Makes a device the thread's current one, and the former again at the end.
class device_scope {
 public:
  explicit device_scope(int device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    if (before_ != device) check(cudaSetDevice(device), "cudaSetDevice");
  }
  ~device_scope() { cudaSetDevice(before_); }
  device_scope(const device_scope&) = delete;
  device_scope& operator=(const device_scope&) = delete;

 private:
  int before_ = 0;
};

/// Gives GPU `from`, the current one, access to the memory of GPU `to`. False if it can't have it.
inline bool reaches(int from, int to) {
  int can = 0;
  check(cudaDeviceCanAccessPeer(&can, from, to), "cudaDeviceCanAccessPeer");
  if (can == 0) return false;
  const cudaError_t code = cudaDeviceEnablePeerAccess(to, 0);
  if (code == cudaErrorPeerAccessAlreadyEnabled)
    cudaGetLastError();
  else
    check(code, "cudaDeviceEnablePeerAccess");
  return true;
}

/// Elements in the memory of the device that is current when it is made. Not initialised.
template <class T>
class device_buffer {
 public:
  static constexpr memory_space space = memory_space::device;

  device_buffer() = default;
  explicit device_buffer(std::size_t size) : size_{size} {
    if (size > 0)
      check(cudaMalloc(reinterpret_cast<void**>(&data_), size * sizeof(T)), "cudaMalloc");
  }
  explicit device_buffer(const std::vector<T>& values) : device_buffer{values.size()} {
    copy_from(values);
  }
  device_buffer(device_buffer&& other) noexcept { *this = std::move(other); }
  device_buffer& operator=(device_buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~device_buffer() { cudaFree(data_); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }

  /// Waits until it is done. `values` has as many elements.
  void copy_from(const std::vector<T>& values) {
    if (values.size() != size_)
      throw usage_error{"allfold: " + std::to_string(values.size()) +
                        " values do not fit a device_buffer of " + std::to_string(size_)};
    check(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice),
          "cudaMemcpy");
    check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");  // it may return on the way
  }
  /// The elements, once all work that was given to the device before is done.
  std::vector<T> to_host() const {
    std::vector<T> values(size_);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    check(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost),
          "cudaMemcpy");
    return values;
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// One object in host memory that every device reads and writes too.
template <class T>
class mapped {
 public:
  mapped() {
    check(cudaHostAlloc(reinterpret_cast<void**>(&object_), sizeof(T),
                        cudaHostAllocMapped | cudaHostAllocPortable),
          "cudaHostAlloc");
    *object_ = T{};
  }
  ~mapped() { cudaFreeHost(object_); }
  mapped(const mapped&) = delete;
  mapped& operator=(const mapped&) = delete;

  /// The same address on the host and, by unified addressing, on every device.
  T* get() const { return object_; }

 private:
  T* object_ = nullptr;
};

/// An event without a time, for ordering streams.
class event {
 public:
  event() {
    check(cudaEventCreateWithFlags(&handle_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  }
  ~event() { cudaEventDestroy(handle_); }
  event(const event&) = delete;
  event& operator=(const event&) = delete;

  void record(cudaStream_t on) { check(cudaEventRecord(handle_, on), "cudaEventRecord"); }
  /// What is given to the stream from now on waits for what was recorded.
  void hold_back(cudaStream_t stream) const {
    check(cudaStreamWaitEvent(stream, handle_, 0), "cudaStreamWaitEvent");
  }

 private:
  cudaEvent_t handle_ = nullptr;
};

/// An event as a stream_mark, on the device `gpu`, whose default streams can be named too.
class event_mark final : public stream_mark {
 public:
  explicit event_mark(int gpu) : gpu_{gpu} {
    const device_scope current{gpu};
    event_.emplace();
  }
  void record(void* stream) override {
    const device_scope current{gpu_};
    event_->record(static_cast<cudaStream_t>(stream));
  }
  void hold_back(void* stream) const override {
    const device_scope current{gpu_};
    event_->hold_back(static_cast<cudaStream_t>(stream));
  }

 private:
  int gpu_;
  std::optional<event> event_;
};

/// Whose blocks go first where a device can't run those of all streams at once.
enum class priority : std::uint8_t { normal, first };

/// A stream that does not wait for the default stream.
class stream {
 public:
  explicit stream(priority whose = priority::normal) {
    int last = 0, first = 0;
    check(cudaDeviceGetStreamPriorityRange(&last, &first), "cudaDeviceGetStreamPriorityRange");
    check(cudaStreamCreateWithPriority(&handle_, cudaStreamNonBlocking,
                                       whose == priority::first ? first : 0),
          "cudaStreamCreateWithPriority");
  }
  ~stream() { cudaStreamDestroy(handle_); }
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
  cudaStream_t get() const { return handle_; }

 private:
  cudaStream_t handle_ = nullptr;
};

}  // namespace allfold::cuda
