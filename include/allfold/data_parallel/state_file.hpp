// Saved states as files, which are whole or not there at all.
#pragma once

#include <allfold/data_parallel/state.hpp>
#include <allfold/error.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#define ALLFOLD_POSIX_FILES 1
#include <fcntl.h>
#include <unistd.h>
#else
#define ALLFOLD_POSIX_FILES 0
#endif

namespace allfold {
namespace detail {

using open_file = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

[[noreturn]] inline void fail_file(const std::string& what, const std::filesystem::path& path,
                                   const std::error_code& why, std::source_location where) {
  throw state_error{"allfold: " + what + " \"" + path.string() + "\": " + why.message() + ", at " +
                    place_of(where)};
}

inline std::error_code last_error() { return {errno, std::generic_category()}; }

/// A file beside `path` that no one else has, so that two who save to one path don't mix.
inline std::pair<open_file, std::filesystem::path> open_beside(const std::filesystem::path& path,
                                                               std::source_location where) {
  static std::atomic<unsigned> next = 0;
  for (;;) {
    std::filesystem::path beside = path;
    beside += ".partial" + std::to_string(next++);
    open_file file{std::fopen(beside.string().c_str(), "wbx"), &std::fclose};
    if (file) return {std::move(file), std::move(beside)};
    if (errno != EEXIST) fail_file("can't create", beside, last_error(), where);
  }
}

/// Writes all of it, onto the disk where the host has fsync, and closes.
inline std::error_code write_and_close(open_file file, std::span<const std::byte> bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) return last_error();
  if (std::fflush(file.get()) != 0) return last_error();
#if ALLFOLD_POSIX_FILES
  if (::fsync(fileno(file.get())) != 0) return last_error();
#endif
  if (std::fclose(file.release()) != 0) return last_error();
  return {};
}

/// Lets the new name outlast a power failure too. Where a folder can't be synchronised the file is
/// whole nevertheless, the new one or the old, so that is no error.
inline void synchronise_folder(std::filesystem::path folder) {
#if ALLFOLD_POSIX_FILES
  if (folder.empty()) folder = ".";
  const int opened = ::open(folder.c_str(), O_RDONLY);
  if (opened < 0) return;
  static_cast<void>(::fsync(opened));
  ::close(opened);
#else
  static_cast<void>(folder);
#endif
}

}  // namespace detail

/// Saves what state_writer::finish has returned, or any bytes, as the file `path`, by writing a
/// file beside it and renaming that: whoever reads `path`, now or after a crash, finds all of the
/// old bytes or all of the new. Called by one thread, as a rule of rank 0; it blocks until the
/// bytes are on the disk. Errors: state_error that names the file and the reason; then `path` is as
/// before. A process that ends meanwhile leaves a file `path`.partial0 or of a higher number.
inline void save_state(const std::filesystem::path& path, std::span<const std::byte> bytes,
                       std::source_location where = std::source_location::current()) {
  auto [file, beside] = detail::open_beside(path, where);
  std::error_code why = detail::write_and_close(std::move(file), bytes);
  if (!why) std::filesystem::rename(beside, path, why);
  if (why) {
    std::error_code ignored;
    std::filesystem::remove(beside, ignored);
    detail::fail_file("can't save the state", path, why, where);
  }
  detail::synchronise_folder(path.parent_path());
}

/// Reads the file `path` and checks it; the reader's errors name it. Errors: state_error that names
/// the file if it can't be read, and whatever the constructor of state_reader throws.
inline state_reader load_state(const std::filesystem::path& path,
                               std::source_location where = std::source_location::current()) {
  const detail::open_file file{std::fopen(path.string().c_str(), "rb"), &std::fclose};
  if (!file) detail::fail_file("can't open the state", path, detail::last_error(), where);
  std::vector<std::byte> bytes;
  std::vector<std::byte> part(std::size_t{1} << 16);
  while (const std::size_t read = std::fread(part.data(), 1, part.size(), file.get()))
    bytes.insert(bytes.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(read));
  if (std::ferror(file.get()))
    detail::fail_file("can't read the state", path, detail::last_error(), where);
  return state_reader{std::move(bytes), "state \"" + path.string() + '"', where};
}

}  // namespace allfold
