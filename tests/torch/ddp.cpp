// What ranks that are threads train modules to, and what PyTorch's DistributedDataParallel did.
#include "ddp.hpp"

namespace {

using namespace modules;

template <class Strategy>
void check_all(overlap how) {
  CHECK(ddp_golden::outcomes.size() == 8);
  for (const ddp_golden::outcome& golden : ddp_golden::outcomes) {
    const std::string name = golden.name;
    CAPTURE(name);
    CAPTURE(golden.ranks);
    check_returned(
        run_threads(golden.ranks, [&](auto& world) { train_as<Strategy>(world, golden, how); }));
  }
}

}  // namespace

TEST_CASE("ranks that are threads train modules to what PyTorch's DDP trains them to") {
  check_all<distributed<direct>>(overlap::none);
  check_all<distributed<ring, buckets<64, 128>>>(overlap::by_thread);
}
