// How a collective is spread over a GPU: plain arithmetic, the same on all ranks.
#include <allfold/communicator/cuda_tuning.hpp>

#include <doctest/doctest.h>

using namespace allfold::cuda;

TEST_CASE("as many lanes as the message is worth, and no more than there may be") {
  CHECK(lanes_for(0, 100) == 1);
  CHECK(lanes_for(tuning::bytes_per_lane, 100) == 1);
  CHECK(lanes_for(tuning::bytes_per_lane + 1, 100) == 2);
  CHECK(lanes_for(std::size_t{1} << 40, 100) == 100);
}

TEST_CASE("chunks of a piece stay within their bounds, however many share the cache") {
  for (int ranks = 1; ranks <= 64; ranks *= 2)
    for (int chunks = 1; chunks <= 64; chunks *= 2) {
      const std::size_t bytes = piece_bytes_for(ranks, chunks);
      CHECK(bytes >= tuning::shortest_piece);
      CHECK(bytes <= tuning::longest_piece);
      if (bytes > tuning::shortest_piece)
        CHECK(bytes * static_cast<std::size_t>(ranks * chunks) <= tuning::bytes_in_flight);
    }
}

TEST_CASE("a companion leaves most of the GPU to others, and has a block for each rank at least") {
  for (const int blocks : {8, 264})
    for (const int ranks : {1, 2, 5, 8}) {
      CHECK(blocks_for(false, blocks, ranks) == blocks);
      const int taken = blocks_for(true, blocks, ranks);
      CHECK(taken >= ranks);
      CHECK((taken == ranks || taken * tuning::companion_share <= blocks));
    }
  CHECK(blocks_for(true, 264, 8) == 264 / tuning::companion_share);
}
