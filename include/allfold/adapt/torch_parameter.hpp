// A parameter of a LibTorch module, and a piece of memory that its gradient lies in.
#pragma once

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/types.h>

#include <allfold/data_parallel/gradient_ranges.hpp>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

namespace allfold::detail {

/// "float32 on cpu", as PyTorch calls them.
inline std::string torch_kind_of(const torch::Tensor& tensor) {
  return std::string{c10::toString(tensor.scalar_type())} + " on " + tensor.device().str();
}

/// True if that is the device, or one of the kind where it has no number.
inline bool is_on(c10::Device found, c10::Device wanted) {
  return found.type() == wanted.type() && (!wanted.has_index() || found.index() == wanted.index());
}

/// Throws a usage_error unless the tensor's elements fill one piece of this device's memory, each
/// place once. In which order they lie there does not matter, if it is the same on every rank.
inline void require_torch_memory(const torch::Tensor& tensor, c10::Device device,
                                 const std::string& what, const calling& by) {
  if (!is_on(tensor.device(), device))
    by.refuse(what + " is " + torch_kind_of(tensor) + ", and this torch_model takes tensors on " +
              device.str());
  if (tensor.layout() != c10::kStrided || !tensor.is_non_overlapping_and_dense())
    by.refuse(what +
              " has gaps or overlaps in memory, or is sparse: give the module a clone of it");
}

/// The bytes of a tensor that `require_torch_memory` has let pass.
template <memory_space Space>
span_in<std::byte, Space> torch_bytes(const torch::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

/// What autograd calls when it has added to a leaf's gradient: the way of PyTorch's own reducer.
class torch_accumulation_hook : public torch::autograd::FunctionPostHook {
 public:
  explicit torch_accumulation_hook(std::function<void()> call) : call_{std::move(call)} {}
  torch::autograd::variable_list operator()(
      const torch::autograd::variable_list& outputs,
      const torch::autograd::variable_list& /*inputs*/) override {
    call_();
    return outputs;
  }

 private:
  std::function<void()> call_;
};

/// One parameter that is trained. Used by its rank's thread, and during a backward pass by the one
/// that runs it.
template <class Element>
class torch_parameter {
 public:
  torch_parameter(std::string name, torch::Tensor variable)
      : name_{std::move(name)}, variable_{std::move(variable)}, memory_{variable_.data_ptr()} {}
  torch_parameter(torch_parameter&&) = delete;
  ~torch_parameter() {
    if (accumulator_) accumulator_->del_post_hook(hook_);
  }

  /// Calls `accumulated` whenever autograd has added to the gradient, which by then lies in its
  /// place.
  void watch(std::function<void()> accumulated) {
    accumulator_ = torch::autograd::impl::grad_accumulator(variable_);
    hook_ = accumulator_->add_post_hook(
        std::make_unique<torch_accumulation_hook>([this, call = std::move(accumulated)] {
          put_in_place();
          touched = true;
          call();
        }));
  }
  /// From now on the gradient lies from `place` on, in the order of the parameter's own elements.
  /// `keeper` keeps that memory, of the parameter's device. A gradient that is there moves there.
  void bind(Element* place, const std::shared_ptr<void>& keeper) {
    const torch::NoGradGuard quiet;
    place_ = at::for_blob(place, variable_.sizes())
                 .strides(variable_.strides())
                 .deleter([keeper](void*) {})
                 .options(variable_.options())
                 .target_device(variable_.device())
                 .make_tensor();
    if (variable_.grad().defined()) put_in_place();
  }
  /// A backward pass begins: a gradient that is not defined becomes zero, so that autograd adds to
  /// it where it lies.
  void begin_pass(const calling& by) {
    touched = false;
    if (!variable_.requires_grad() || variable_.data_ptr() != memory_)
      by.refuse("parameter " + name_ +
                " has moved in memory, or is frozen, since this torch_model was made: "
                "load, convert and freeze modules before");
    was_undefined_ = !variable_.grad().defined();
    if (was_undefined_) {
      waiting = false;
      const torch::NoGradGuard quiet;
      place_.zero_();
    }
    put_in_place();
  }
  /// The pass has added nothing to this gradient: if there was none, there is none.
  void leave_undefined() {
    if (was_undefined_) variable_.mutable_grad().reset();
  }

  const std::string& name() const { return name_; }
  Element* data() const { return static_cast<Element*>(variable_.data_ptr()); }
  Element* gradient() const { return static_cast<Element*>(place_.data_ptr()); }
  std::size_t size() const { return static_cast<std::size_t>(variable_.numel()); }
  /// "[3, 4] by strides of [4, 1]".
  std::string layout() const {
    std::ostringstream text;
    text << variable_.sizes() << " by strides of " << variable_.strides();
    return text.str();
  }
  bool is(const torch::Tensor& other) const { return variable_.is_same(other); }

  bool touched = false;  ///< autograd has added to the gradient in this pass
  bool waiting = false;  ///< it has done so outside of any pass, and nobody has been told yet

 private:
  /// Autograd puts another tensor there where it may not add in place: when gradients are to be
  /// differentiated themselves, or are sparse.
  void put_in_place() {
    torch::Tensor& gradient = variable_.mutable_grad();
    if (!place_.defined() || gradient.is_same(place_)) return;
    const torch::NoGradGuard quiet;
    if (gradient.defined()) place_.copy_(gradient.is_sparse() ? gradient.to_dense() : gradient);
    gradient = place_;
  }

  std::string name_;
  torch::Tensor variable_, place_;
  const void* memory_;
  std::shared_ptr<torch::autograd::Node> accumulator_;  ///< the variable itself holds it weakly
  std::uintptr_t hook_ = 0;
  bool was_undefined_ = false;
};

}  // namespace allfold::detail
