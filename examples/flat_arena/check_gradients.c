/* Holds every gradient of the model against finite differences. The engine is compiled once more
   for it, with double where it has float: so rounding hides nothing, and the tolerance is strict.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tgmath.h>

#ifdef __clang__
#pragma clang diagnostic ignored "-Wkeyword-macro"
#endif
#define float double
#include "gpt.c"

/* By how much the gradient of parameter i is wrong, relative to it. A central difference over 2h is
   right up to the loss's third derivative times h^2 and the rounding of the loss over h: with
   h = 1e-5 both are about 1e-10, which is what a gradient is at least taken to be times 1e-5. */
static double flaw(gpt* model, const unsigned char* windows, size_t i) {
  const double h = 1e-5, value = model->parameters[i], slope = model->gradients[i];
  model->parameters[i] = value + h;
  const double above = gpt_forward(model, windows);
  model->parameters[i] = value - h;
  const double below = gpt_forward(model, windows);
  model->parameters[i] = value;
  const double difference = (above - below) / (2 * h);
  return fabs(slope - difference) / (fabs(difference) + 1e-5);
}

int main(void) {
  const gpt_shape shape = {.vocabulary = 11, .context = 6, .heads = 2, .head_size = 5, .layers = 2};
  unsigned char windows[3 * 7];
  for (size_t i = 0; i < sizeof windows; ++i) windows[i] = (unsigned char)(i * i * 5 % 11);
  gpt* model = gpt_create(shape, 3, 1);
  gpt_forward(model, windows);
  for (int stage = model->stages; stage-- > 0;) gpt_backward(model, stage);

  int wrong = 0;
  for (int tensor = 0; tensor < model->tensors; ++tensor) {
    double worst = 0;
    for (size_t i = model->begins[tensor]; i < model->begins[tensor + 1]; ++i)
      worst = fmax(worst, flaw(model, windows, i));
    const int bad = !(worst < 1e-4);
    printf("tensor %2d: %5zu gradients, the worst is wrong by %.1e%s\n", tensor,
           model->sizes[tensor], worst, bad ? ": TOO MUCH" : "");
    wrong += bad;
  }
  gpt_destroy(model);
  return wrong == 0 ? 0 : 1;
}
