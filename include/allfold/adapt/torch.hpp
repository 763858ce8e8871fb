// LibTorch's modules as models: torch::nn::Module, trained by data_parallel.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <algorithm>
#include <allfold/adapt/torch_parameter.hpp>
#include <allfold/adapt/torch_place.hpp>
#include <concepts>
#include <deque>
#include <type_traits>

namespace allfold {

/// A torch::nn::Module as a model of `data_parallel`, whose parameters are of type `Element`:
/// float, double, at::Half or at::BFloat16. They lie in `Place`: torch_host_memory, or on a GPU as
/// torch_cuda.hpp says. Gradients lie side by side in memory of the replica's, or on the device;
/// the module's own `grad()` are tensors that lie there. Buffers are the module's, such as running
/// statistics. Parameters that require no gradient are sent to all ranks once. A parameter that
/// several submodules share is one.
///
/// Made before the replica, and after the module has been loaded, converted and frozen: from then
/// on its parameters stay where they are and require a gradient, or not, as they did. The module
/// must outlive it, and may be used without it afterwards. Each rank has a module of its own; one
/// thread uses it, and during a pass on a device the one that runs autograd there.
template <class Element = float, class Place = torch_host_memory>
class torch_model {
 public:
  static constexpr memory_space space = Place::space;
  using elements = span_in<Element, space>;
  using bytes = span_in<std::byte, space>;

  /// Throws usage_error, naming the parameter, if one is of another type, on another device or not
  /// dense.
  explicit torch_model(torch::nn::Module& module,
                       std::source_location where =
                           std::source_location::current()) requires(space == memory_space::host)
      : module_{module} {
    take_parameters({"torch_model", where});
  }
  template <class Contained>
  explicit torch_model(const torch::nn::ModuleHolder<Contained>& module,
                       std::source_location where =
                           std::source_location::current()) requires(space == memory_space::host)
      : torch_model{*module.ptr(), where} {}

  /// The same on the device of the rank that `world` is. From now on the rank's collectives are
  /// given to LibTorch's current stream: to that which is current here, later to that which is when
  /// the replica's forward or backward pass begins. What LibTorch is given before and afterwards on
  /// this thread is so in order with them, and the host waits for nothing. Whoever takes another
  /// stream has it wait for the former, as always. `world` must outlive it.
  template <communicator World>
  torch_model(torch::nn::Module& module, World& world,
              std::source_location where =
                  std::source_location::current()) requires(space == memory_space::device)
      : module_{module}, place_{world} {
    const detail::calling by{"torch_model", where, world.rank()};
    take_parameters(by);
    place_gradients(world);
  }
  template <class Contained, communicator World>
  torch_model(const torch::nn::ModuleHolder<Contained>& module, World& world,
              std::source_location where =
                  std::source_location::current()) requires(space == memory_space::device)
      : torch_model{*module.ptr(), world, where} {}
  torch_model(const torch_model&) = delete;
  torch_model& operator=(const torch_model&) = delete;

  /// Runs autograd from `loss` and calls ready(i) as soon as gradient i is final, on the thread
  /// that runs autograd: for a loss in host memory, the caller. On a device it calls
  /// ready(i, stream) with the stream that autograd has given the gradient to. For engines of a
  /// replica's backward:
  ///
  ///     replica.backward([&](auto&& ready) { model.backward(loss, ready); });
  ///
  /// Throws usage_error if parameters have moved since; what autograd throws; what `ready` throws.
  template <class Ready>
  requires torch_ready<Ready, Place>
  void backward(const torch::Tensor& loss, Ready&& ready,
                std::source_location where = std::source_location::current()) {
    pass([&] { loss.backward(); }, ready, where);
  }
  /// The same with a pass of autograd's that `engine()` runs, as for several losses. It may add to
  /// each gradient once: what it adds later is too late.
  template <std::invocable Engine, class Ready>
  requires torch_ready<Ready, Place>
  void backward(Engine&& engine, Ready&& ready,
                std::source_location where = std::source_location::current()) {
    pass(engine, ready, where);
  }
  /// A whole backward pass of a replica, gradients reduced meanwhile. Where unused::keep leaves the
  /// gradient of a parameter that no rank has used as it was, and it was undefined, as
  /// zero_grad(true) leaves it, it is so again, and LibTorch's optimizers pass the parameter by.
  template <class Replica>
  requires requires(Replica& replica, std::size_t i) {
    { replica.used(i) } -> std::convertible_to<bool>;
  }
  void backward(Replica& replica, const torch::Tensor& loss, std::size_t samples = 1,
                std::source_location where = std::source_location::current()) {
    replica.backward([&](auto&& ready) { backward(loss, ready, where); }, samples, where);
    for (std::size_t i = 0; i < trained_.size(); ++i)
      if (!trained_[i].touched && !replica.used(i)) trained_[i].leave_undefined();
  }

  // ---- what a replica asks for ----

  std::vector<elements> parameters() {
    std::vector<elements> all;
    for (const auto& each : trained_) all.emplace_back(each.data(), each.size());
    return all;
  }
  std::vector<elements> gradients() {
    std::vector<elements> all;
    for (const auto& each : trained_) all.emplace_back(each.gradient(), each.size());
    return all;
  }
  std::vector<std::string> names() {
    std::vector<std::string> all;
    for (const auto& each : trained_) all.push_back(each.name());
    return all;
  }
  /// Shapes, and the order of the elements in memory.
  std::vector<std::string> layouts() {
    std::vector<std::string> all;
    for (const auto& each : trained_) all.push_back(each.layout());
    return all;
  }
  /// Throws usage_error, naming the buffer, if one is on another device or not dense.
  std::vector<bytes> buffers() {
    std::vector<bytes> all;
    place_.follow_stream();  // they are sent next, before a forward pass
    for (const auto& each : module_.named_buffers()) {
      if (!each.value().defined()) continue;
      detail::require_torch_memory(each.value(), place_.device(), "buffer " + each.key(),
                                   {"torch_model", std::source_location::current(), place_.rank()});
      all.push_back(detail::torch_bytes<space>(each.value()));
    }
    return all;
  }
  std::vector<bytes> frozen() {
    std::vector<bytes> all;
    for (const torch::Tensor& each : frozen_) all.push_back(detail::torch_bytes<space>(each));
    return all;
  }
  void bind_gradients(const std::vector<std::span<Element>>& parts,
                      const std::shared_ptr<void>& keeper) requires(space == memory_space::host) {
    for (std::size_t i = 0; i < trained_.size(); ++i) trained_[i].bind(parts[i].data(), keeper);
  }

 private:
  void take_parameters(const detail::calling& by) {
    for (const auto& each : module_.named_parameters()) add(each.key(), each.value(), by);
    for (std::size_t i = 0; i < trained_.size(); ++i)
      trained_[i].watch([this, i] { accumulated(i); });
  }
  void add(const std::string& name, const torch::Tensor& variable, const detail::calling& by) {
    if (!variable.defined()) return;
    detail::require_torch_memory(variable, place_.device(), "parameter " + name, by);
    const auto is_it = [&](const auto& other) { return other.is_same(variable); };
    if (!variable.requires_grad()) {
      if (std::none_of(frozen_.begin(), frozen_.end(), is_it)) frozen_.push_back(variable);
      return;
    }
    constexpr c10::ScalarType type = c10::CppTypeToScalarType<Element>::value;
    if (variable.scalar_type() != type)
      by.refuse("parameter " + name + " is " + detail::torch_kind_of(variable) +
                ", and this torch_model takes parameters of " + c10::toString(type));
    for (const auto& each : trained_)
      if (each.is(variable)) return;
    trained_.emplace_back(name, variable);
  }
  /// Lays them side by side in the device's memory.
  template <class World>
  void place_gradients(World& world) {
    std::size_t total = 0;
    for (const auto& each : trained_) total += each.size();
    const auto all = std::make_shared<torch::Tensor>(place_.template zeros<Element>(world, total));
    auto* next = static_cast<Element*>(all->data_ptr());
    for (auto& each : trained_) {
      each.bind(next, all);
      next += each.size();
    }
    place_.keep(*all);
  }
  template <class Engine, class Ready>
  void pass(Engine&& engine, Ready& ready, std::source_location where) {
    const detail::calling by{"torch_model", where, place_.rank()};
    for (const torch::Tensor& each : frozen_)
      if (each.requires_grad())
        by.refuse("a parameter requires a gradient that did not when this torch_model was made");
    place_.follow_stream();
    for (auto& each : trained_) each.begin_pass(by);
    const auto tell = [&](std::size_t index) { place_.tell(ready, index); };
    {
      const told telling{*this, tell};
      engine();
    }
    for (std::size_t i = 0; i < trained_.size(); ++i)
      if (std::exchange(trained_[i].waiting, false) && !trained_[i].touched) tell(i);
  }
  /// Autograd has added to a gradient. By the thread that runs it.
  void accumulated(std::size_t index) {
    if (ready_)
      ready_(index);
    else
      trained_[index].waiting = true;
  }
  /// While it lives, somebody is told what autograd adds to.
  struct told {
    torch_model& of;
    told(torch_model& model, std::function<void(std::size_t)> who) : of{model} {
      of.ready_ = std::move(who);
    }
    told(const told&) = delete;
    ~told() { of.ready_ = nullptr; }
  };

  torch::nn::Module& module_;
  detail::torch_rank<Place> place_;
  std::vector<torch::Tensor> frozen_;
  std::function<void(std::size_t)> ready_;                ///< during a pass
  std::deque<detail::torch_parameter<Element>> trained_;  // last: its hooks use the others
};

}  // namespace allfold
