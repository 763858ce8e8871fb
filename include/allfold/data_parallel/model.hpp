// What the library needs of a model.
#pragma once

#include <allfold/collective/common.hpp>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace allfold {

namespace detail {

// Members are preferred; otherwise a free function is found by argument-dependent lookup.
#define ALLFOLD_MEMBER_OR_FREE(function)                    \
  template <class Model>                                    \
  constexpr bool has_##function = requires(Model & model) { \
    model.function();                                       \
  }                                                         \
  || requires(Model & model) { function(model); };          \
  template <class Model>                                    \
  decltype(auto) call_##function(Model& model) {            \
    if constexpr (requires { model.function(); })           \
      return model.function();                              \
    else                                                    \
      return function(model);                               \
  }

ALLFOLD_MEMBER_OR_FREE(parameters)
ALLFOLD_MEMBER_OR_FREE(gradients)
ALLFOLD_MEMBER_OR_FREE(buffers)
ALLFOLD_MEMBER_OR_FREE(frozen)
ALLFOLD_MEMBER_OR_FREE(layouts)
ALLFOLD_MEMBER_OR_FREE(names)
#undef ALLFOLD_MEMBER_OR_FREE

/// A model whose gradients may lie where the replica says.
template <class Model, class T>
concept binds_gradients = requires(Model& model, const std::vector<std::span<T>>& parts) {
  model.bind_gradients(parts);
}
|| requires(Model& model, const std::vector<std::span<T>>& parts) { bind_gradients(model, parts); };
/// The same, and it may keep that memory for longer than the replica.
template <class Model, class T>
concept keeps_gradients = requires(Model& model, const std::vector<std::span<T>>& parts,
                                   const std::shared_ptr<void>& keeper) {
  model.bind_gradients(parts, keeper);
};

template <class Range>
using range_item = std::remove_cvref_t<decltype(*std::begin(std::declval<Range&>()))>;

template <class Range>
concept range_of_contiguous = requires(Range& range) {
  std::begin(range);
  std::end(range);
}
&&contiguous<range_item<Range>>;

}  // namespace detail

/// A model: a type with `parameters()` and `gradients()`, members or free functions found by
/// argument-dependent lookup. Each returns a range of contiguous ranges, such as
/// std::array{std::span{weights}, std::span{bias}} or std::vector<std::span<float>>; both in the
/// same order and of the same sizes, and the same memory every time. Optional, likewise:
/// `buffers()`, a range of contiguous ranges that are broadcast with the parameters (running
/// statistics), `names()`, a range of strings for messages, and `bind_gradients(parts)`, which is
/// given a std::vector<std::span<element>>, one part for each parameter: from then on gradients lie
/// there, side by side in one piece of memory of the replica's, in which they are reduced without
/// a copy. It is called once, before `gradients()`, and the parts live as long as the replica; or,
/// by a member bind_gradients(parts, keeper), as long as a copy of `keeper`, a
/// std::shared_ptr<void>. `frozen()` is a range of contiguous ranges that no step changes: they are
/// copied to all ranks with the parameters when the replica is made, and not again. `layouts()` is
/// a range of std::string, one for each parameter, which ranks compare besides the sizes: such as a
/// shape.
template <class Model>
concept trainable_model =
    detail::has_parameters<Model> && detail::has_gradients<Model> && detail::range_of_contiguous<
        std::remove_reference_t<decltype(detail::call_parameters(std::declval<Model&>()))>> &&
    detail::range_of_contiguous<
        std::remove_reference_t<decltype(detail::call_gradients(std::declval<Model&>()))>>;

namespace detail {

template <class Model>
using parameter_range =
    range_item<std::remove_reference_t<decltype(call_parameters(std::declval<Model&>()))>>;

}  // namespace detail

/// The element type of a model's parameters and gradients.
template <trainable_model Model>
using model_element = element_of<detail::parameter_range<Model>>;

/// The memory that a model's parameters lie in.
template <trainable_model Model>
inline constexpr memory_space model_space =
    range_access<std::remove_reference_t<detail::parameter_range<Model>>>::space;

/// The tensors of a flat arena, for an engine that has all its parameters, or all its gradients, in
/// one piece of host memory: `count` of them, one behind the other from `first` on, of `sizes`
/// elements each. For a model's `parameters()` and `gradients()`; nothing is copied.
template <class T, std::integral Size, std::integral Count>
std::vector<std::span<T>> tensors_in(T* first, const Size* sizes, Count count) {
  std::vector<std::span<T>> tensors;
  for (Count i = 0; i < count; ++i) {
    tensors.emplace_back(first, static_cast<std::size_t>(sizes[i]));
    first += sizes[i];
  }
  return tensors;
}

namespace detail {

/// A range of contiguous ranges as a list of spans.
template <class T, memory_space Space, class Range>
std::vector<span_in<T, Space>> spans_of(Range&& range) {
  std::vector<span_in<T, Space>> list;
  for (auto&& each : range) list.emplace_back(span_of(each).data(), span_of(each).size());
  return list;
}
/// The same elements as bytes.
template <memory_space Space, class Range>
span_in<std::byte, Space> bytes_of(Range&& range) {
  const auto all = span_of(range);
  return {reinterpret_cast<std::byte*>(all.data()), all.size_bytes()};
}

/// "parameter 3 (layer1.bias)", or without a name where the model gives none.
template <class Model>
std::string parameter_name(Model& model, std::size_t index) {
  std::string text = "parameter " + std::to_string(index);
  if constexpr (has_names<Model>) {
    std::size_t place = 0;
    for (const auto& name : call_names(model))
      if (place++ == index) text += " (" + std::string{name} + ")";
  }
  return text;
}

}  // namespace detail
}  // namespace allfold
