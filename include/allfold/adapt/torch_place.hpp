// Where LibTorch's tensors lie, and what a model of them has to do with a device's streams.
#pragma once

#include <torch/types.h>

#include <allfold/communicator/device_stream.hpp>
#include <allfold/elements.hpp>
#include <concepts>
#include <functional>
#include <memory>
#include <utility>

namespace allfold {

/// Tensors in host memory.
struct torch_host_memory {
  static constexpr memory_space space = memory_space::host;
};

/// Tensors in the memory of a device with streams: a type without members, by which torch_model
/// asks LibTorch about it. `device_of(world)` is the device of a rank; `current_stream(device)` is
/// the one that LibTorch gives its work to on the calling thread; `keep_for(memory, device)` has
/// the memory of a tensor, when it is given up, wait for what that stream holds by then.
template <class Place>
concept torch_device = requires(c10::Device device, const torch::Tensor& memory) {
  requires Place::space == memory_space::device;
  requires device_stream<decltype(Place::current_stream(device))>;
  Place::keep_for(memory, device);
};

/// What says that a gradient is final: ready(i), and on a device ready(i, stream).
template <class Ready, class Place>
concept torch_ready = (Place::space == memory_space::host && std::invocable<Ready&, std::size_t>) ||
                      requires(Ready& ready, std::size_t i, c10::Device device) {
  ready(i, Place::current_stream(device));
};

namespace detail {

/// The rank that a model's tensors belong to. In host memory nothing is to be known of it.
template <class Place>
class torch_rank {
 public:
  c10::Device device() const { return c10::kCPU; }
  int rank() const { return -1; }
  void follow_stream() {}
  template <class Ready>
  void tell(Ready& ready, std::size_t index) const {
    ready(index);
  }
};

/// On a device: its collectives are given to LibTorch's current stream, so that both are in order.
template <torch_device Place>
class torch_rank<Place> {
 public:
  template <class World>
  explicit torch_rank(World& world) : device_{Place::device_of(world)}, rank_{world.rank()} {
    static_assert(
        requires { world.use_stream(Place::current_stream(device_)); },
        "allfold: this communicator does not take LibTorch's streams: it has no use_stream");
    follow_ = [&world, device = device_] {
      const auto current = Place::current_stream(device);
      if (current != world.stream()) world.use_stream(current);
    };
    follow_stream();
  }

  c10::Device device() const { return device_; }
  int rank() const { return rank_; }
  /// By the rank's thread.
  void follow_stream() {
    follow_();
    if (memory_.defined()) Place::keep_for(memory_, device_);
  }
  /// Says that gradient `index` is final once the stream that is current here has come so far. By
  /// the thread that has given it its work.
  template <class Ready>
  void tell(Ready& ready, std::size_t index) const {
    ready(index, Place::current_stream(device_));
  }

  /// `count` zeros: where other ranks reach them without copies, if the communicator has such
  /// memory, else in LibTorch's.
  template <class T, class World>
  torch::Tensor zeros(World& world, std::size_t count) const {
    const std::int64_t length[] = {static_cast<std::int64_t>(count)};
    const auto options = torch::dtype(c10::CppTypeToScalarType<T>::value).device(device_);
    if constexpr (requires {
                    world.template allocate<T>(count);
                    world.memory();
                  }) {
      const torch::NoGradGuard quiet;
      return at::for_blob(world.template allocate<T>(count).data(), length)
          .deleter([keeper = world.memory()](void*) {})
          .options(options)
          .target_device(device_)
          .make_tensor()
          .zero_();
    } else {
      return torch::zeros(length, options);
    }
  }
  /// Memory that collectives are to be done with before it is given up.
  void keep(const torch::Tensor& memory) { memory_ = memory; }

 private:
  c10::Device device_;
  int rank_;
  std::function<void()> follow_;
  torch::Tensor memory_;
};

}  // namespace detail
}  // namespace allfold
