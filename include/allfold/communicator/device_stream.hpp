// A device's streams as host code that knows no device sees them.
#pragma once

#include <type_traits>

namespace allfold {

/// True for the types of streams: cudaStream_t, where cuda_runtime.cuh is included. They are
/// pointers, and passed on as void*.
template <class T>
inline constexpr bool is_device_stream = false;

/// A stream of a device.
template <class T>
concept device_stream = std::is_pointer_v<T> && is_device_stream<T>;

/// A place in a stream's work, for other streams to wait for: an event. Neither function waits on
/// the host. Used by one thread at a time.
class stream_mark {
 public:
  stream_mark() = default;
  stream_mark(const stream_mark&) = delete;
  stream_mark& operator=(const stream_mark&) = delete;
  virtual ~stream_mark() = default;

  /// Marks the end of what the stream has been given so far, instead of what was marked before.
  virtual void record(void* stream) = 0;
  /// What the stream is given from now on waits for what was recorded last before this call.
  virtual void hold_back(void* stream) const = 0;
};

}  // namespace allfold
