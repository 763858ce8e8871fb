#include "dataset.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>

namespace fashion_mnist {
namespace {

// IDX: two zero bytes, the element type (8: unsigned byte), the number of dimensions, then each
// extent as a big-endian 32-bit number, then the elements. http://yann.lecun.com/exdb/mnist/
class idx_file {
 public:
  explicit idx_file(const std::filesystem::path& path)
      : name{path.string()}, file{gzopen(name.c_str(), "rb"), &gzclose} {
    if (!file)
      throw missing_dataset{"cannot open " + name +
                            " (Debian and Ubuntu: apt install dataset-fashion-mnist; "
                            "elsewhere name the folder of the four .gz files with --data)"};
  }

  void read(std::span<std::uint8_t> into) {
    for (std::size_t done = 0; done < into.size();) {
      const int got =
          gzread(file.get(), into.data() + done, static_cast<unsigned>(into.size() - done));
      if (got <= 0) throw std::runtime_error{name + " ends too early or is damaged"};
      done += static_cast<std::size_t>(got);
    }
  }

  std::size_t read_extent() {
    std::array<std::uint8_t, 4> bytes;
    read(bytes);
    return std::size_t{bytes[0]} << 24 | std::size_t{bytes[1]} << 16 | std::size_t{bytes[2]} << 8 |
           std::size_t{bytes[3]};
  }

  void expect(bool holds, const char* what) const {
    if (!holds) throw std::runtime_error{name + " " + what};
  }

 private:
  std::string name;
  std::unique_ptr<gzFile_s, decltype(&gzclose)> file;
};

}  // namespace

void dataset::gather(std::span<const std::size_t> samples, batch& into) const {
  constexpr float mean = 0.2860f, deviation = 0.3530f;  // of the 60 000 training images
  constexpr float scale = 1.0f / (255.0f * deviation), shift = -mean / deviation;
  into.images.resize(pixels, static_cast<Eigen::Index>(samples.size()));
  into.labels.resize(samples.size());
  for (std::size_t column = 0; column < samples.size(); ++column) {
    const std::uint8_t* from = images.data() + samples[column] * pixels;
    float* to = into.images.data() + column * pixels;
    for (std::size_t i = 0; i < pixels; ++i) to[i] = static_cast<float>(from[i]) * scale + shift;
    into.labels[column] = labels[samples[column]];
  }
}

dataset load(const std::filesystem::path& folder, const char* prefix, std::size_t limit) {
  idx_file images{folder / (std::string{prefix} + "-images-idx3-ubyte.gz")};
  idx_file labels{folder / (std::string{prefix} + "-labels-idx1-ubyte.gz")};
  images.expect(images.read_extent() == 0x0803, "holds no three-dimensional array of bytes");
  labels.expect(labels.read_extent() == 0x0801, "holds no list of bytes");

  const std::size_t count = images.read_extent();
  images.expect(images.read_extent() * images.read_extent() == pixels, "holds no 28 x 28 images");
  labels.expect(labels.read_extent() == count, "holds another number of labels than of images");

  dataset data;
  data.images.resize(std::min(count, limit) * pixels);
  data.labels.resize(std::min(count, limit));
  images.read(data.images);
  labels.read(data.labels);
  labels.expect(std::ranges::all_of(data.labels, [](auto label) { return label < classes; }),
                "holds a label above 9");
  return data;
}

}  // namespace fashion_mnist
