#include <allfold/data_parallel/model.hpp>
#include <allfold/half.hpp>

#include <doctest/doctest.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

// Archetypes: the least that is a model, what a model may have besides, and what only looks like
// one. They are declared, and never run, but for those at the end.
namespace models {

using spans = std::array<std::span<float>, 2>;

struct minimal {
  spans parameters();
  spans gradients();
};

// ---- ways to be a model ----

struct with_vectors_of_spans {
  std::vector<std::span<double>> parameters();
  std::vector<std::span<double>> gradients();
};
struct with_references {
  std::vector<std::vector<float>>& parameters();
  std::vector<std::vector<float>>& gradients();
};
struct with_arrays_of_arrays {
  std::array<float, 4> (&parameters())[3];
  std::array<float, 4> (&gradients())[3];
};
struct with_different_ranges {
  std::deque<std::vector<float>>& parameters();
  std::list<std::span<float>>& gradients();
};
struct with_half_precision {
  std::array<std::span<allfold::half>, 1> parameters();
  std::array<std::span<allfold::half>, 1> gradients();
};
struct with_fixed_spans {
  std::array<std::span<float, 7>, 2> parameters();
  std::array<std::span<float, 7>, 2> gradients();
};
struct with_const_functions {
  spans parameters() const;
  spans gradients() const;
};
struct with_static_functions {
  static spans parameters();
  static spans gradients();
};
struct with_default_arguments {
  spans parameters(bool trainable_only = true);
  spans gradients(bool trainable_only = true);
};
struct derived : minimal {};
struct not_movable : minimal {
  not_movable() = default;
  not_movable(const not_movable&) = delete;
  not_movable& operator=(const not_movable&) = delete;
};

namespace engine {  // whose types can't be changed

struct network {};
spans parameters(network&);
spans gradients(network&);

struct half_open {
  spans parameters();
};
spans gradients(half_open&);

template <class T>
struct graph {};
template <class T>
std::vector<std::span<T>> parameters(graph<T>&);
template <class T>
std::vector<std::span<T>> gradients(graph<T>&);

}  // namespace engine

// ---- optional ----

struct with_buffers : minimal {
  std::array<std::span<std::int64_t>, 1> buffers();
};
struct with_names : minimal {
  std::array<std::string_view, 2> names();
};

namespace engine {

struct rich {};
spans parameters(rich&);
spans gradients(rich&);
std::vector<std::span<double>> buffers(rich&);
std::vector<std::string> names(rich&);

}  // namespace engine

// ---- what is no model ----

struct nothing {};
struct without_gradients {
  spans parameters();
};
struct without_parameters {
  spans gradients();
};
struct with_private_functions {
 private:
  [[maybe_unused]] spans parameters();
  [[maybe_unused]] spans gradients();
};
struct with_data_members {
  spans parameters, gradients;
};
struct with_required_arguments {
  spans parameters(int);
  spans gradients(int);
};
struct with_one_flat_range {
  std::span<float> parameters();
  std::span<float> gradients();
};
struct with_flat_gradients {
  spans parameters();
  std::span<float> gradients();
};
struct with_lists {
  std::vector<std::list<float>>& parameters();
  std::vector<std::list<float>>& gradients();
};
struct with_maps {
  std::map<std::string, std::vector<float>>& parameters();
  std::map<std::string, std::vector<float>>& gradients();
};
struct with_bits {
  std::vector<std::vector<bool>>& parameters();
  std::vector<std::vector<bool>>& gradients();
};
struct with_numbers {
  int parameters();
  int gradients();
};
struct with_nothing_returned {
  void parameters();
  void gradients();
};

namespace elsewhere {

spans parameters(nothing&);  // not found by argument-dependent lookup
spans gradients(nothing&);

}  // namespace elsewhere

// ---- models that run ----

struct outspoken {
  std::array<std::string_view, 2> names() { return {"layer1.weight", "layer1.bias"}; }
};
struct nameless {};
struct whose_member_wins {
  std::array<std::string_view, 1> names() { return {"member"}; }
};
inline std::array<std::string_view, 1> names(whose_member_wins&) { return {"free function"}; }

namespace engine {

struct listed {};
inline std::list<std::string> names(listed&) { return {"a", "b", "c"}; }

}  // namespace engine
}  // namespace models

using allfold::model_element;
using allfold::trainable_model;
using allfold::detail::has_buffers;
using allfold::detail::has_names;

static_assert(trainable_model<models::minimal>);
static_assert(trainable_model<models::with_vectors_of_spans>);
static_assert(trainable_model<models::with_references>);
static_assert(trainable_model<models::with_arrays_of_arrays>);
static_assert(trainable_model<models::with_different_ranges>);
static_assert(trainable_model<models::with_half_precision>);
static_assert(trainable_model<models::with_fixed_spans>);
static_assert(trainable_model<models::with_const_functions>);
static_assert(trainable_model<models::with_static_functions>);
static_assert(trainable_model<models::with_default_arguments>);
static_assert(trainable_model<models::derived>);
static_assert(trainable_model<models::not_movable>);
static_assert(trainable_model<models::engine::network>);
static_assert(trainable_model<models::engine::half_open>);
static_assert(trainable_model<models::engine::graph<double>>);
static_assert(trainable_model<models::engine::rich>);
static_assert(trainable_model<models::with_buffers>);
static_assert(trainable_model<models::with_names>);

static_assert(!trainable_model<models::nothing>);
static_assert(!trainable_model<models::without_gradients>);
static_assert(!trainable_model<models::without_parameters>);
static_assert(!trainable_model<models::with_private_functions>);
static_assert(!trainable_model<models::with_data_members>);
static_assert(!trainable_model<models::with_required_arguments>);
static_assert(!trainable_model<models::with_one_flat_range>);
static_assert(!trainable_model<models::with_flat_gradients>);
static_assert(!trainable_model<models::with_lists>);
static_assert(!trainable_model<models::with_maps>);
static_assert(!trainable_model<models::with_bits>);
static_assert(!trainable_model<models::with_numbers>);
static_assert(!trainable_model<models::with_nothing_returned>);
static_assert(!trainable_model<int>);
static_assert(!trainable_model<std::vector<float>>);

static_assert(std::same_as<model_element<models::minimal>, float>);
static_assert(std::same_as<model_element<models::with_vectors_of_spans>, double>);
static_assert(std::same_as<model_element<models::with_references>, float>);
static_assert(std::same_as<model_element<models::with_arrays_of_arrays>, float>);
static_assert(std::same_as<model_element<models::with_half_precision>, allfold::half>);
static_assert(std::same_as<model_element<models::engine::graph<double>>, double>);

static_assert(!has_buffers<models::minimal> && !has_names<models::minimal>);
static_assert(has_buffers<models::with_buffers> && !has_names<models::with_buffers>);
static_assert(!has_buffers<models::with_names> && has_names<models::with_names>);
static_assert(has_buffers<models::engine::rich> && has_names<models::engine::rich>);

TEST_CASE("a parameter is named by its number, and by its name if it has one") {
  using allfold::detail::parameter_name;
  models::outspoken outspoken;
  CHECK(parameter_name(outspoken, 0) == "parameter 0 (layer1.weight)");
  CHECK(parameter_name(outspoken, 1) == "parameter 1 (layer1.bias)");
  CHECK(parameter_name(outspoken, 2) == "parameter 2");  // there are fewer names than parameters
  models::nameless nameless;
  CHECK(parameter_name(nameless, 12) == "parameter 12");
  models::engine::listed listed;
  CHECK(parameter_name(listed, 2) == "parameter 2 (c)");
}

TEST_CASE("a member is preferred to a free function") {
  models::whose_member_wins model;
  CHECK(allfold::detail::parameter_name(model, 0) == "parameter 0 (member)");
}

TEST_CASE("a range of contiguous ranges becomes a list of spans of the same memory") {
  std::list<std::vector<int>> range{{1, 2, 3}, {}, {4}};
  const std::vector<std::span<int>> spans =
      allfold::detail::spans_of<int, allfold::memory_space::host>(range);
  REQUIRE(spans.size() == 3);
  CHECK(spans[0].data() == range.front().data());
  CHECK(spans[0].size() == 3);
  CHECK(spans[1].empty());
  CHECK(spans[2].data() == range.back().data());
}

TEST_CASE("a flat arena is tensors of the sizes that it is said to have") {
  std::array<float, 6> arena{0, 1, 2, 3, 4, 5};
  const std::array sizes{3, 0, 2};
  const std::vector<std::span<float>> tensors =
      allfold::tensors_in(arena.data(), sizes.data(), sizes.size());
  REQUIRE(tensors.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) CHECK(std::cmp_equal(tensors[i].size(), sizes[i]));
  CHECK(tensors[0].data() == arena.data());
  CHECK(tensors[2].data() == arena.data() + 3);
  CHECK(allfold::tensors_in(arena.data(), sizes.data(), 0).empty());
}
