// Scalable vector graphics.
#pragma once

#include <string>

namespace allfold::docs {

using std::to_string;

/// Light and dark, one for each rank.
struct tone {
  const char *light, *dark;
};
inline constexpr tone tones[] = {
    {"#9fcbee", "#1f6fb0"}, {"#ffd98a", "#a87400"}, {"#a8dcb5", "#23804a"}, {"#f5b5ae", "#bb3a2e"}};

/// All lengths are in pixels.
class drawing {
 public:
  void box(int x, int y, int width, int height, const std::string& style) {
    body_ += "<rect x='" + to_string(x) + "' y='" + to_string(y) + "' width='" + to_string(width) +
             "' height='" + to_string(height) + "' " + style + "/>\n";
  }
  /// `place`: start, middle or end of the text is at x.
  void text(int x, int y, const std::string& what, const std::string& kind,
            const char* place = "middle") {
    body_ += "<text x='" + to_string(x) + "' y='" + to_string(y) + "' class='" + kind +
             "' text-anchor='" + place + "'>" + what + "</text>\n";
  }
  void line(int x1, int y1, int x2, int y2, const std::string& style) {
    body_ += "<line x1='" + to_string(x1) + "' y1='" + to_string(y1) + "' x2='" + to_string(x2) +
             "' y2='" + to_string(y2) + "' " + style + "/>\n";
  }
  std::string page(int width, int height) const {
    const std::string size = to_string(width) + "' height='" + to_string(height);
    std::string arrows;
    for (int i = 0; i < 4; ++i)
      arrows += "<marker id='a" + to_string(i) +
                "' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='6' markerHeight='6' "
                "orient='auto'><path d='M0 0L8 4L0 8z' fill='" +
                tones[i].dark + "'/></marker>\n";
    return "<svg xmlns='http://www.w3.org/2000/svg' width='" + size + "' viewBox='0 0 " +
           to_string(width) + " " + to_string(height) +
           "'>\n<style>text{font-family:'DejaVu Sans',Verdana,sans-serif;font-size:11px;fill:#222}"
           ".title{font-size:15px;font-weight:bold}.head{font-size:13px;font-weight:bold}"
           ".soft{font-size:10px;fill:#666}.held{font-size:11px}.pill{font-size:10px;fill:#fff}"
           ".note{font-size:10px;fill:#555;paint-order:stroke;stroke:#fff;stroke-width:4px}"
           "</style>\n<defs>" +
           arrows + "</defs>\n<rect width='" + size + "' rx='8' fill='#fff'/>\n" + body_ +
           "</svg>\n";
  }

 private:
  std::string body_;
};

}  // namespace allfold::docs
