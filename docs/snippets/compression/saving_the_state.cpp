#include "compression/saving_the_state.hpp"

#include "support.hpp"

namespace compression_md::saving_the_state {

TEST_CASE("compression.md: what a compression has left out is stored and restored") {
  using strategy = allfold::distributed<allfold::direct, allfold::buckets<>, allfold::top_k<>>;
  const auto run = [](bool cut) {
    return docs::train(
        2,
        [&](auto& world, auto& model) {
          using replica_type = allfold::data_parallel<docs::learner, strategy>;
          const auto step = [&](replica_type& replica) {
            for (int i = 0; i < 3; ++i) {
              replica.backward([&](auto&& ready) { model.backward(5, ready); });
              replica.step(docs::descend{});
            }
          };
          stored state;
          {
            replica_type first{model, world};
            step(first);
            store(first.compression(), state);
            if (!cut) return step(first);
          }
          if (state.vectors.empty()) throw std::logic_error{"nothing was stored"};
          replica_type second{model, world};
          restore(state, second.compression());
          step(second);
        },
        docs::learner{{400}});
  };
  CHECK(run(true).all() == run(false).all());
}

}  // namespace compression_md::saving_the_state
