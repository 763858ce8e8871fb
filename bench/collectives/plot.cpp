#include "plot.hpp"

#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>

extern char** environ;

namespace bench {
namespace {

// Okabe and Ito's palette: told apart by colour-blind readers too.
constexpr std::array colours{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                             "#e69f00", "#56b4e9", "#7f7f7f"};
constexpr const char* style = R"(
set border 3 linecolor '#808080'
set tics nomirror out textcolor '#303030' scale 0.5
set grid xtics ytics linetype 1 linecolor '#e4e4e4'
set logscale x 2
set key top left Left reverse samplen 2 noenhanced
)";

std::string quoted(std::string text) {  // for gnuplot's single quotes
  for (std::size_t at = 0; (at = text.find('\'', at)) != std::string::npos; at += 2)
    text.insert(at, 1, '\'');
  return "'" + text + "'";
}

/// A line of the picture: the rows of a series, in the order they were measured.
struct line {
  series of;
  std::vector<const row*> rows;
};

bool alike(const series& a, const series& b) {
  return a.what == b.what && a.algorithm == b.algorithm && a.type == b.type &&
         a.operation == b.operation && a.root == b.root;
}

std::vector<line> lines_of(allfold::collective what, std::span<const row> rows) {
  std::vector<line> lines;
  for (const row& each : rows) {
    if (each.of.what != what || each.bytes == 0) continue;
    auto found = std::find_if(lines.begin(), lines.end(),
                              [&](const line& it) { return alike(it.of, each.of); });
    if (found == lines.end()) found = lines.insert(lines.end(), {each.of, {}});
    found->rows.push_back(&each);
  }
  return lines;
}

/// What tells a line from the others of its picture.
std::string label_of(const settings& chosen, const series& it) {
  std::string label = it.algorithm;
  if (chosen.types.size() > 1) label += " " + std::string{it.type_name()};
  if (chosen.operations.size() > 1 && it.folds()) label += " " + std::string{it.operation_name()};
  if (chosen.roots.size() > 1 && has_root(it.what)) label += " root " + std::to_string(it.root);
  return label;
}

void write_data(std::ostream& script, const std::string& name, const line& it) {
  script << name << " << EOD\n";
  for (const row* each : it.rows) {
    script << each->bytes;
    for (const half_row* half : {&each->out_of_place, &each->in_place})
      script << ' ' << half->time.mean << ' ' << bus_bandwidth(*each, half->time.mean);
    script << '\n';
  }
  script << "EOD\n";
}

/// Marks on the axis of sizes: eight or fewer, at powers of two.
void write_sizes(std::ostream& script, const std::vector<line>& lines) {
  std::size_t first = SIZE_MAX, last = 1;
  for (const line& each : lines)
    for (const row* it : each.rows) {
      first = std::min(first, it->bytes);
      last = std::max(last, it->bytes);
    }
  const int begin = std::bit_width(first) - 1, end = std::bit_width(last);
  const int stride = (end - begin) / 8 + 1;
  script << "set xrange [" << first << ":" << last << "]\nset xtics (";
  for (int power = begin; power <= end; power += stride) {
    constexpr const char* units[] = {" B", " KiB", " MiB", " GiB", " TiB"};
    script << (power == begin ? "'" : ", '") << (std::size_t{1} << power % 10) << units[power / 10]
           << "' " << (std::size_t{1} << power);
  }
  script << ")\n";
}

/// Solid lines out of place, dashed ones in place.
void write_curves(std::ostream& script, const settings& chosen, const std::string& name,
                  const std::vector<line>& lines, int column, bool labelled) {
  script << "plot";
  for (std::size_t i = 0; i < lines.size(); ++i)
    for (const bool in_place : {false, true}) {
      script << (i == 0 && !in_place ? " " : ", \\\n  ") << name << i
             << " using 1:" << column + (in_place ? 2 : 0)
             << " with linespoints linewidth 2 pointsize 0.6"
             << " pointtype " << (in_place ? 6 : 7) << " dashtype "
             << (in_place ? "(8,5)" : "solid") << " linecolor "
             << quoted(colours[i % colours.size()]);
      if (labelled && !in_place)
        script << " title " << quoted(label_of(chosen, lines[i].of));
      else
        script << " notitle";
    }
  script << '\n';
}

void write_collective(std::ostream& script, const settings& chosen, allfold::collective what,
                      const std::vector<line>& lines) {
  const std::string name{allfold::name_of(what)};
  const std::string data = "$" + name;
  for (std::size_t i = 0; i < lines.size(); ++i)
    write_data(script, data + std::to_string(i), lines[i]);
  write_sizes(script, lines);
  script << "set logscale y\nset format y '%g'\nset autoscale y\n"
         << "set title " << quoted(name + ": time of a call, µs") << " noenhanced\n";
  write_curves(script, chosen, data, lines, 2, true);
  script << "unset logscale y\nset yrange [0:*]\n"
         << "set title " << quoted(name + ": bus bandwidth, GB/s") << " noenhanced\n";
  write_curves(script, chosen, data, lines, 3, false);
}

void write_script(std::ostream& script, const settings& chosen, const machine& here,
                  std::span<const row> rows) {
  std::vector<std::pair<allfold::collective, std::vector<line>>> pictures;
  for (const allfold::collective what : chosen.collectives)
    if (auto lines = lines_of(what, rows); !lines.empty())
      pictures.emplace_back(what, std::move(lines));
  if (pictures.empty()) throw std::runtime_error{"there is nothing to draw: no row has elements"};
  const std::size_t columns = pictures.size() > 2 ? 4 : 2;  // two pictures a collective
  const std::size_t lines = (2 * pictures.size() + columns - 1) / columns;
  script << "set terminal pngcairo size " << (columns == 2 ? 1500 : 2400) << "," << 460 * lines + 60
         << " font 'Sans,11' background '#ffffff'\nset output " << quoted(chosen.plot) << style
         << "set multiplot layout " << lines << "," << columns << " title "
         << quoted(std::to_string(chosen.ranks) + " ranks as " + chosen.communicator + ", " +
                   here.processor + "; solid: out of place, dashed: in place")
         << " noenhanced font ',13'\n";
  for (const auto& [what, lines] : pictures) write_collective(script, chosen, what, lines);
  script << "unset multiplot\n";
}

}  // namespace

void write_plot(const settings& chosen, const machine& here, std::span<const row> rows) {
  auto path = std::filesystem::path{chosen.plot};
  path.replace_extension(".gnuplot");
  std::ofstream script{path};
  write_script(script, chosen, here, rows);
  script.close();
  if (!script) throw std::runtime_error{"cannot write " + path.string()};

  std::string program = "gnuplot", argument = path.string();
  std::array<char*, 3> arguments{program.data(), argument.data(), nullptr};
  pid_t child = 0;
  int status = posix_spawnp(&child, program.c_str(), nullptr, nullptr, arguments.data(), environ);
  if (status == ENOENT) {
    std::printf("No picture: gnuplot is missing (apt install gnuplot-nox). Its script is %s\n",
                path.c_str());
    return;
  }
  if (status != 0 || waitpid(child, &status, 0) != child || status != 0)
    throw std::runtime_error{"gnuplot failed on " + path.string()};
}

}  // namespace bench
