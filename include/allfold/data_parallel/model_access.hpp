// What a replica does with a model and an optimizer, whatever their types.
#pragma once

#include <allfold/data_parallel/arena.hpp>
#include <allfold/data_parallel/model.hpp>

namespace allfold::detail {

/// Memory for the gradients of a model that lets a replica say where they lie, which is told so;
/// else none.
template <class T, memory_space Space, class World, class Model, class Elements>
arena<T> bound_gradients(World& world, Model& model, const std::vector<Elements>& parameters) {
  if constexpr (Space == memory_space::host &&
                (binds_gradients<Model, T> || keeps_gradients<Model, T>)) {
    std::vector<std::size_t> sizes;
    std::size_t total = 0;
    for (const Elements each : parameters) total += sizes.emplace_back(each.size());
    arena<T> all{world, total};
    if constexpr (keeps_gradients<Model, T>)
      model.bind_gradients(all.cut(sizes), std::shared_ptr<void>{all.memory()});
    else if constexpr (requires { model.bind_gradients(all.cut(sizes)); })
      model.bind_gradients(all.cut(sizes));
    else
      bind_gradients(model, all.cut(sizes));
    return all;
  }
  return {};
}

/// Calls an optimizer for each parameter in order, or once if it takes nothing. The gradients are
/// given as `Constant`: spans of elements that may not be written.
template <class Constant, class Optimizer, class Elements>
void apply(Optimizer& optimizer, const std::vector<Elements>& parameters,
           const std::vector<Elements>& gradients) {
  if constexpr (requires { optimizer(); }) {
    optimizer();
  } else {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Constant gradient = gradients[i];
      if constexpr (requires { optimizer(i, parameters[i], gradient); })
        optimizer(i, parameters[i], gradient);
      else
        optimizer(parameters[i], gradient);
    }
  }
}

}  // namespace allfold::detail
