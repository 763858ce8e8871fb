// Small files in a folder that several processes see, each whole or not there at all. POSIX.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <allfold/error.hpp>
#include <allfold/hash.hpp>
#include <allfold/launch/packing.hpp>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace allfold::detail {

/// The files of one job in a folder: those whose names begin with `prefix`. Only the user who wrote
/// them can read them. Errors: process_error that names the file and the system's reason, or
/// usage_error for a file that no rank has written.
class shared_folder {
 public:
  /// `who` begins the texts of errors; `writer` is a number that no other process has.
  shared_folder(std::string path, std::string prefix, std::string who, std::uint64_t writer)
      : path_{std::move(path)},
        prefix_{std::move(prefix)},
        who_{std::move(who)},
        partial_{prefix_ + in_hex(writer) + ".partial"} {
    struct stat found {};
    if (stat(path_.c_str(), &found) != 0 || !S_ISDIR(found.st_mode))
      throw usage_error{who_ + "there is no folder " + path_ + ": make it where all ranks see it"};
  }

  const std::string& path() const { return path_; }
  std::string path_of(const std::string& name) const { return path_ + '/' + prefix_ + name; }

  /// Makes `name` hold `content`, whatever it was before.
  void write(const std::string& name, std::string_view content) const {
    write_partial(content);
    if (rename(partial_path().c_str(), path_of(name).c_str()) != 0) fail("rename", path_of(name));
  }
  /// The same if there is no such file; else false.
  bool create(const std::string& name, std::string_view content) const {
    write_partial(content);
    const bool made = link(partial_path().c_str(), path_of(name).c_str()) == 0;
    const int why = errno;
    unlink(partial_path().c_str());
    errno = why;
    if (!made && why != EEXIST) fail("create", path_of(name));
    return made;
  }
  /// What `name` holds; nothing if there is no such file.
  std::optional<std::string> read(const std::string& name) const {
    const std::string path = path_of(name);
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::fopen(path.c_str(), "rbe"),
                                                               &std::fclose};
    if (!file && (errno == ENOENT || errno == ESTALE)) return std::nullopt;
    if (!file) fail("open", path);
    std::string bytes;
    char part[1 << 16];
    while (const std::size_t read = std::fread(part, 1, sizeof part, file.get()))
      bytes.append(part, read);
    if (std::ferror(file.get())) {
      if (errno == ESTALE) return std::nullopt;
      fail("read", path);
    }
    unpacker head{bytes};
    const bool right = head.number(8) == magic && head.number(8) == bytes.size() &&
                       head.number(8) == hash_of(std::string_view{bytes}.substr(head_bytes));
    if (!right)
      throw usage_error{who_ + path + " holds " + std::to_string(bytes.size()) +
                        " bytes that no rank has written: remove it"};
    return bytes.substr(head_bytes);
  }
  void remove(const std::string& name) const { unlink(path_of(name).c_str()); }

  /// The names of all files of this job, without the prefix. `others`, if given, is set to whether
  /// there are files of another one, which `common` begins too.
  std::vector<std::string> list(std::string_view common = {}, bool* others = nullptr) const {
    const std::unique_ptr<DIR, int (*)(DIR*)> folder{opendir(path_.c_str()), &closedir};
    if (!folder) fail("list", path_);
    std::vector<std::string> names;
    while (const dirent* const entry = readdir(folder.get())) {
      const std::string_view name = entry->d_name;
      if (name.starts_with(prefix_))
        names.emplace_back(name.substr(prefix_.size()));
      else if (others != nullptr && name.starts_with(common))
        *others = true;
    }
    return names;
  }

 private:
  static constexpr std::uint64_t magic = 0x316d646c6f666c61;  // "alfoldm1"
  static constexpr std::size_t head_bytes = 24;

  std::string partial_path() const { return path_ + '/' + partial_; }

  void write_partial(std::string_view content) const {
    const std::string path = partial_path();
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) fail("create", path);
    packer head;
    head.number(magic, 8).number(head_bytes + content.size(), 8).number(hash_of(content), 8);
    const bool written = write_all(file, head.bytes()) && write_all(file, content);
    const int why = errno;
    if (close(file) == 0 && written) return;
    unlink(path.c_str());
    if (!written) errno = why;
    fail("write", path);
  }
  static bool write_all(int file, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(file, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
  }
  [[noreturn]] void fail(const char* what, const std::string& path) const {
    throw process_error{who_ + "can't " + what + ' ' + path + ": " +
                        std::generic_category().message(errno)};
  }

  std::string path_;
  std::string prefix_;
  std::string who_;
  std::string partial_;
};

}  // namespace allfold::detail
