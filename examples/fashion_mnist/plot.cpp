#include "plot.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <string>

#include <spawn.h>
#include <sys/wait.h>

extern char** environ;

namespace fashion_mnist {
namespace {

// Okabe and Ito's palette: told apart by colour-blind readers too.
constexpr std::array colours{"#7f7f7f", "#d55e00", "#0072b2", "#009e73", "#cc79a7"};
constexpr const char* style = R"(
set terminal pngcairo size 1500,800 font 'Sans,11' background '#ffffff'
set border 3 linecolor '#808080'
set tics nomirror out textcolor '#303030'
set xtics scale 0.5
set ytics scale 0.5
set grid ytics linetype 1 linecolor '#e4e4e4'
set style fill solid noborder
set style data histograms
set multiplot title '{/:Bold One model, several strategies: Fashion-MNIST}' font ',15'
)";
constexpr const char* left = R"(
set lmargin at screen 0.05
set rmargin at screen 0.46
set bmargin at screen 0.08
set tmargin at screen 0.87
set title '{/:Bold Training loss} (the same seed and batches)'
set xlabel 'seconds of training'
set logscale y
set autoscale yfix
set ytics add ('0.7' 0.7, '0.5' 0.5, '0.4' 0.4, '0.3' 0.3, '0.2' 0.2, '0.15' 0.15)
set key top right Left reverse samplen 2 spacing 1.3
)";
constexpr const char* top_right = R"(
unset logscale y
unset xlabel
set xtics font ',10'
set lmargin at screen 0.50
set rmargin at screen 0.995
set bmargin at screen 0.55
set ytics autofreq
set yrange [0:*]
set offsets 0, 0, graph 0.25, 0
set boxwidth 0.6
set style histogram rowstacked
set key horizontal top left
set title '{/:Bold Time of a step, ms} (mean of the ranks)'
plot $bars using 2:xtic(1) title 'computation' linecolor '#56b4e9', \
  '' using 3 title 'communication and waiting' linecolor '#e69f00', \
  '' using 0:($2+$3):(sprintf('%.2f', $2+$3)) with labels offset 0,0.6 notitle
)";
constexpr const char* bottom_right = R"(
set tmargin at screen 0.42
set bmargin at screen 0.08
set style histogram clustered gap 1
set boxwidth 0.9
set title '{/:Bold Read and written by the library in a step, MiB}'
plot $bars using 4:xtic(1) title 'primary (rank 0)' linecolor '#d55e00', \
  '' using 5 title 'another rank' linecolor '#0072b2', \
  '' using ($0-0.17):4:(sprintf('%.1f', $4)) with labels offset 0,0.6 notitle, \
  '' using ($0+0.17):5:(sprintf('%.1f', $5)) with labels offset 0,0.6 notitle
unset multiplot
)";

// For gnuplot's "enhanced" text an underscore begins an index.
std::string escaped(std::string name) {
  for (std::size_t at = 0; (at = name.find('_', at)) != std::string::npos; at += 3)
    name.insert(at, "\\\\");
  return name;
}

std::string quoted(std::string text) {  // for gnuplot's single quotes
  for (std::size_t at = 0; (at = text.find('\'', at)) != std::string::npos; at += 2)
    text.insert(at, 1, '\'');
  return "'" + text + "'";
}

// A point is the mean loss of many steps: that of one is noise.
void write_losses(std::ostream& script, const outcome& run, std::size_t index) {
  const std::size_t window = std::max<std::size_t>(1, run.losses.size() / 40);
  script << "$losses" << index << " << EOD\n";
  for (std::size_t from = 0; from + window <= run.losses.size(); from += window) {
    const auto begin = run.losses.begin() + static_cast<std::ptrdiff_t>(from);
    const auto end = begin + static_cast<std::ptrdiff_t>(window);
    script << run.seconds[from + window - 1] << ' '
           << std::accumulate(begin, end, 0.0) / static_cast<double>(window) << '\n';
  }
  script << "EOD\n";
}

void write_bars(std::ostream& script, std::span<const outcome> outcomes) {
  constexpr double mib = 1024.0 * 1024.0;
  const auto moved = [](const rank_figures& rank) { return rank.bytes_read + rank.bytes_written; };
  script << "$bars << EOD\n";
  for (const outcome& run : outcomes) {
    double computation = 0, communication = 0;
    for (const rank_figures& rank : run.ranks) {
      computation += rank.computation_ms / static_cast<double>(run.ranks.size());
      communication += rank.communication_ms / static_cast<double>(run.ranks.size());
    }
    script << '"' << escaped(run.name) << "\" " << computation << ' ' << communication << ' '
           << moved(run.ranks[0]) / mib << ' ';
    if (run.ranks.size() == 1)
      script << "NaN\n";
    else
      script << run.others(moved) / mib << '\n';
  }
  script << "EOD\n";
}

void plot_losses(std::ostream& script, std::span<const outcome> outcomes) {
  script << left << "plot";
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    char accuracy[32];
    std::snprintf(accuracy, sizeof accuracy, ": %.2f %% right", 100 * outcomes[i].accuracy());
    script << (i == 0 ? " " : ", ") << "$losses" << i << " with lines linewidth 2 linecolor "
           << quoted(colours[i % colours.size()]) << " title "
           << quoted(outcomes[i].name + accuracy) << " noenhanced";
  }
  script << '\n';
}

}  // namespace

void write_plot(const std::filesystem::path& picture, std::span<const outcome> outcomes) {
  auto path = picture;
  path.replace_extension(".gnuplot");
  std::ofstream script{path};
  script << "set output " << quoted(picture.string()) << style;
  for (std::size_t i = 0; i < outcomes.size(); ++i) write_losses(script, outcomes[i], i);
  write_bars(script, outcomes);
  plot_losses(script, outcomes);
  script << "set xrange [-0.6:" << outcomes.size() << " - 0.4]" << top_right << bottom_right;
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

}  // namespace fashion_mnist
