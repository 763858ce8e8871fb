// Ranks of the library that meet over TCP, whoever has started them.
//   meet                     rank 0 prints who is where, a line for each rank
//   meet SECONDS FOLDER      then they exchange bytes again and again, waiting so many seconds at
//     most, until it fails; each rank writes the error's text to FOLDER/<rank> and ends with 3.
//     FOLDER/going appears when every rank has exchanged some, FOLDER/failed when one has failed.
#if __has_include(<asio/io_context.hpp>)
#include <unistd.h>

#include <allfold/launch/connect.hpp>
#include <allfold/launch/tcp_rendezvous.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using line = std::array<char, 128>;

line describe(const allfold::launch_environment& me) {
  std::array<char, 64> host{};
  gethostname(host.data(), host.size() - 1);
  line text{};
  std::snprintf(text.data(), text.size(), "rank %d of %d, %d of %d on %s, by %s", me.rank, me.size,
                me.local_rank, me.local_size, host.data(), me.launcher.c_str());
  return text;
}

void print_all(const allfold::launch_environment& me, const allfold::exchange_bytes& exchange) {
  const line mine = describe(me);
  std::vector<line> all(static_cast<std::size_t>(me.size));
  exchange(mine.data(), mine.size(), all.data());
  if (me.rank != 0) return;
  for (const line& each : all) std::puts(each.data());
  std::fflush(stdout);
}

int exchange_until_it_fails(const allfold::launch_environment& me,
                            const allfold::exchange_bytes& exchange, const std::string& folder) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{30};
  std::vector<int> all(static_cast<std::size_t>(me.size));
  try {
    for (int i = 0; std::chrono::steady_clock::now() < until; ++i) {
      exchange(&i, sizeof i, all.data());
      if (i == 1 && me.rank == 0) std::ofstream{folder + "/going"};
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
  } catch (const allfold::error& failure) {
    std::ofstream{folder + "/" + std::to_string(me.rank)} << failure.what() << '\n';
    std::ofstream{folder + "/failed"};
    return 3;
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const allfold::launch_environment me = allfold::from_environment();
    allfold::rendezvous_options options;
    options.timeout = std::chrono::seconds{argc == 3 ? std::stoi(argv[1]) : 20};
    const auto exchange = allfold::connect<allfold::tcp_rendezvous>(me, options);
    print_all(me, exchange);
    return argc == 3 ? exchange_until_it_fails(me, exchange, argv[2]) : 0;
  } catch (const allfold::error& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
}
#else
#include <cstdio>

int main() {
  std::puts("skipped: there is no Asio; on Debian and Ubuntu: apt install libasio-dev");
  return 77;
}
#endif
