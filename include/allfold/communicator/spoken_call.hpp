// What a rank says of its calls to ranks that can't follow its pointers.
#pragma once

#include <algorithm>
#include <allfold/communicator/call.hpp>
#include <allfold/communicator/kept_calls.hpp>
#include <array>
#include <vector>

namespace allfold::processes {

/// A place in a rank's program that calls a collective, in words. Long names are cut.
struct call_site {
  char algorithm[23];
  char type[64];
  char operation[64];
  char place[104];
};

/// One call: where, by its number among the rank's places, and what differs from time to time.
struct spoken_call {
  std::uint64_t count;
  std::int32_t root;
  std::uint16_t site;
  collective what;
  bool in_place, has_counts;
};
/// A rank's last calls, in the memory that all ranks share.
using kept_calls = host::kept_calls<2>;

/// A call as words.
inline kept_calls::words packed(const spoken_call& it) {
  return {it.count, static_cast<std::uint32_t>(it.root) | std::uint64_t{it.site} << 32 |
                        std::uint64_t{it.in_place} << 48 | std::uint64_t{it.has_counts} << 49 |
                        static_cast<std::uint64_t>(it.what) << 56};
}
/// The call that was packed in these words.
inline spoken_call unpacked(const kept_calls::words& it) {
  return {it[0],
          static_cast<std::int32_t>(static_cast<std::uint32_t>(it[1])),
          static_cast<std::uint16_t>(it[1] >> 32),
          static_cast<collective>(it[1] >> 56),
          (it[1] >> 48 & 1) != 0,
          (it[1] >> 49 & 1) != 0};
}

/// The places that a rank has called from so far. Others read what was published with a post.
struct call_sites {
  static constexpr std::size_t most = 255;
  call_site all[most + 1];  ///< the last stands for all that found no room
};

/// A call in words, with the names and the place that its rank has written down.
inline std::string describe(const spoken_call& it, std::uint64_t number, const call_sites& sites) {
  const call_site& site = sites.all[std::min<std::size_t>(it.site, call_sites::most)];
  return allfold::describe(call_words{it.what, site.algorithm, site.type, site.operation,
                                      site.place, it.count, it.root, it.in_place, it.has_counts},
                           number);
}

/// Writes a rank's calls down. Used by that rank alone.
class call_speaker {
 public:
  explicit call_speaker(call_sites& sites) : sites_{sites} {
    write(sites_.all[call_sites::most].place, "one of many places");
  }

  spoken_call spoken(const call& it) {
    return {it.count, it.root, site_of(it), it.kind->what, it.in_place, it.counts_hash != 0};
  }

 private:
  struct known {
    const call_kind* kind = nullptr;
    const char* file = nullptr;
    std::uint32_t line = 0;
    std::uint16_t site = 0;
    bool is(const call& it) const {
      return kind == it.kind && line == it.where.line() && file == it.where.file_name();
    }
  };
  template <std::size_t N>
  static void write(char (&to)[N], std::string_view text) {
    const std::size_t length = std::min(text.size(), N - 1);
    to[text.copy(to, length)] = '\0';
  }

  std::uint16_t site_of(const call& it) {
    const auto key = reinterpret_cast<std::uintptr_t>(it.kind) / 8 + it.where.line();
    known& last = recent_[key % recent_.size()];
    if (!last.is(it)) last = look_up(it);
    return last.site;
  }
  known look_up(const call& it) {
    const auto found =
        std::find_if(all_.begin(), all_.end(), [&](const known& k) { return k.is(it); });
    if (found != all_.end()) return *found;
    const std::size_t number = std::min(all_.size(), call_sites::most);
    if (number < call_sites::most) {
      call_site& site = sites_.all[number];
      write(site.algorithm, it.kind->algorithm);
      write(site.type, it.kind->type);
      write(site.operation, it.kind->operation);
      write(site.place, place_of(it.where));
    }
    all_.push_back(
        {it.kind, it.where.file_name(), it.where.line(), static_cast<std::uint16_t>(number)});
    return all_.back();
  }

  call_sites& sites_;
  std::array<known, 64> recent_{};
  std::vector<known> all_;
};

}  // namespace allfold::processes
