// A rank that any launcher starts: says what it has been told, and meets the others.
//
//     meet [file | tcp | nobody]
#include <allfold/launch/connect.hpp>
#if __has_include(<asio/io_context.hpp>)
#include <allfold/launch/tcp_rendezvous.hpp>
#endif

#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

namespace {

int sum_of_ranks(const allfold::launch_environment& told, const std::string& way) {
  const allfold::rendezvous_options options{.timeout = std::chrono::seconds{60}};
  allfold::exchange_bytes exchange;
  if (way == "file") exchange = allfold::connect<allfold::file_rendezvous>(told, options);
#if __has_include(<asio/io_context.hpp>)
  if (way == "tcp") exchange = allfold::connect<allfold::tcp_rendezvous>(told, options);
#endif
  if (!exchange) return -1;
  std::vector<int> all(static_cast<std::size_t>(told.size));
  exchange(&told.rank, sizeof told.rank, all.data());
  return std::accumulate(all.begin(), all.end(), 0);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const auto told = allfold::from_environment();
    const int sum = sum_of_ranks(told, count > 1 ? arguments[1] : "nobody");
    std::printf(
        "{\"rank\": %d, \"size\": %d, \"local_rank\": %d, \"local_size\": %d, "
        "\"launcher\": \"%s\", \"address\": \"%s\", \"port\": %d, \"job\": \"%s\", "
        "\"sum\": %d}\n",
        told.rank, told.size, told.local_rank, told.local_size, told.launcher.c_str(),
        told.address.c_str(), told.port, told.job.c_str(), sum);
    return 0;
  } catch (const allfold::error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
  }
}
