// Trains a small GPT to predict the next character of a text.
#include "gpt.h"
#include "options.h"
#include "text.h"

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <vector>

struct settings {
  int steps, batch;  // windows of the text in a step
  gpt_shape shape;
};

static double milliseconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>{now}.count();
}

static void report(const gpt& model, int step, int steps, float loss, double time) {
  std::printf("step %d/%d | loss %.6f | gradient norm %.6f | %.1f ms\n", step, steps, loss,
              gpt_gradient_norm(&model), time);
  if (step == steps) std::printf("parameters %016" PRIx64 "\n", gpt_hash(&model));
}

static void train(const settings& given, const text& from) {
  const std::unique_ptr<gpt, void (*)(gpt*)> owned{gpt_create(given.shape, given.batch, 1),
                                                   gpt_destroy};
  gpt& model = *owned;
  const int length = given.shape.context + 1;
  std::vector<unsigned char> windows(static_cast<std::size_t>(given.batch) *
                                     static_cast<std::size_t>(length));
  for (int step = 1; step <= given.steps; ++step) {
    const double begin = milliseconds();
    text_draw(&from, step, 0, given.batch, length, windows.data());
    float loss = gpt_forward(&model, windows.data());
    for (int stage = model.stages; stage-- > 0;) gpt_backward(&model, stage);
    gpt_step(&model, 3e-3f, step);
    report(model, step, given.steps, loss, milliseconds() - begin);
  }
}

int main(int count, char** values) {
  options all = options_from(count, values);
  const char* path = option_text(&all, "--text", "/usr/share/common-licenses/GPL-3");
  settings given{};
  given.steps = option_number(&all, "--steps", 100);
  given.batch = option_number(&all, "--batch", 8);
  given.shape.context = option_number(&all, "--context", 32);
  given.shape.heads = option_number(&all, "--heads", 4);
  given.shape.head_size = option_number(&all, "--head-size", 8);
  given.shape.layers = option_number(&all, "--layers", 2);
  options_end(&all);
  text from = text_read(path, given.shape.context);
  given.shape.vocabulary = from.vocabulary;
  train(given, from);
  text_free(&from);
}
