#include "gpt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tgmath.h>

enum { TOKENS, POSITIONS, FIRST_BLOCK };
enum { NORM1_GAIN, NORM1_BIAS, QKV, JOIN, NORM2_GAIN, NORM2_BIAS, UP, DOWN, BLOCK_TENSORS };
enum { FINAL_GAIN, FINAL_BIAS, FINAL_TENSORS };

/* What the forward pass leaves for the backward pass. A row is a token of the batch. */
typedef struct block_values {
  float* input;            /* rows of channels */
  float *normed1, *stats1; /* channels; the mean and 1 / deviation */
  float* qkv;              /* query, key and value: 3 channels */
  float* weights;          /* of attention: batch, head, a token, a token before it */
  float* attended;         /* channels */
  float* middle;           /* channels */
  float *normed2, *stats2; /* as the first */
  float *up, *activated;   /* 4 channels */
} block_values;

typedef struct gpt_passes {
  block_values* blocks;
  float* output;         /* of the last block */
  float *normed, *stats; /* of the final norm */
  float* probabilities;  /* rows of the vocabulary; then the loss's slope by the logits */
  float* slope;          /* of the loss by what the blocks hand on: channels */
  float* slope_inside;   /* the same within a block: 4 channels */
  float* slope_below;    /* 4 channels */
} gpt_passes;

/* ---- memory ---- */

static void* allocate(size_t count, size_t size) {
  void* memory = calloc(count, size);
  if (memory == NULL) {
    fprintf(stderr, "gpt: there is no memory for %zu elements of %zu bytes\n", count, size);
    exit(2);
  }
  return memory;
}

static int channels_of(const gpt* model) { return model->shape.heads * model->shape.head_size; }
static size_t rows_of(const gpt* model) {
  return (size_t)model->batch * (size_t)model->shape.context;
}
static int block_tensor(int layer, int which) {
  return FIRST_BLOCK + layer * BLOCK_TENSORS + which;
}
static int final_tensor(const gpt* model, int which) {
  return block_tensor(model->shape.layers, which);
}
static float* parameter(const gpt* model, int tensor) {
  return model->parameters + model->begins[tensor];
}
static float* gradient(const gpt* model, int tensor) {
  return model->gradients + model->begins[tensor];
}

static void lay_out_tensors(gpt* model) {
  const gpt_shape shape = model->shape;
  const size_t channels = (size_t)channels_of(model);
  model->tensors = block_tensor(shape.layers, FINAL_TENSORS);
  model->sizes = allocate((size_t)model->tensors, sizeof(size_t));
  model->begins = allocate((size_t)model->tensors + 1, sizeof(size_t));
  for (int i = 0; i < model->tensors; ++i) model->sizes[i] = channels; /* gains and biases */
  model->sizes[TOKENS] = (size_t)shape.vocabulary * channels;
  model->sizes[POSITIONS] = (size_t)shape.context * channels;
  for (int layer = 0; layer < shape.layers; ++layer) {
    model->sizes[block_tensor(layer, QKV)] = 3 * channels * channels;
    model->sizes[block_tensor(layer, JOIN)] = channels * channels;
    model->sizes[block_tensor(layer, UP)] = 4 * channels * channels;
    model->sizes[block_tensor(layer, DOWN)] = 4 * channels * channels;
  }
  for (int i = 0; i < model->tensors; ++i)
    model->begins[i + 1] = model->begins[i] + model->sizes[i];

  model->stages = shape.layers + 2; /* embeddings, blocks, the final norm with the head */
  model->first = allocate((size_t)model->stages + 1, sizeof(int));
  for (int stage = 1; stage < model->stages; ++stage)
    model->first[stage] = block_tensor(stage - 1, 0);
  model->first[model->stages] = model->tensors;
}

/* The next `count` elements of an arena, or NULL while it is only measured. */
static float* take(float* arena, size_t* used, size_t count) {
  float* part = arena == NULL ? NULL : arena + *used;
  *used += count;
  return part;
}

/* Says where in an arena passes leave what they compute. Returns how many elements it needs. */
static size_t lay_out_values(gpt* model, float* arena) {
  const size_t rows = rows_of(model), row = rows * (size_t)channels_of(model);
  size_t used = 0;
  gpt_passes* all = model->passes;
  for (int layer = 0; layer < model->shape.layers; ++layer) {
    block_values* block = &all->blocks[layer];
    block->input = take(arena, &used, row);
    block->normed1 = take(arena, &used, row);
    block->stats1 = take(arena, &used, 2 * rows);
    block->qkv = take(arena, &used, 3 * row);
    block->weights =
        take(arena, &used, rows * (size_t)model->shape.heads * (size_t)model->shape.context);
    block->attended = take(arena, &used, row);
    block->middle = take(arena, &used, row);
    block->normed2 = take(arena, &used, row);
    block->stats2 = take(arena, &used, 2 * rows);
    block->up = take(arena, &used, 4 * row);
    block->activated = take(arena, &used, 4 * row);
  }
  all->output = take(arena, &used, row);
  all->normed = take(arena, &used, row);
  all->stats = take(arena, &used, 2 * rows);
  all->probabilities = take(arena, &used, rows * (size_t)model->shape.vocabulary);
  all->slope = take(arena, &used, row);
  all->slope_inside = take(arena, &used, 4 * row);
  all->slope_below = take(arena, &used, 4 * row);
  return used;
}

/* Uniform in [-limit, limit), by SplitMix64: Steele, Lea and Flood, 2014. */
static void fill_random(float* to, size_t count, float limit, uint64_t* state) {
  for (size_t i = 0; i < count; ++i) {
    uint64_t it = *state += 0x9e3779b97f4a7c15u;
    it = (it ^ (it >> 30)) * 0xbf58476d1ce4e5b9u;
    it = (it ^ (it >> 27)) * 0x94d049bb133111ebu;
    it ^= it >> 31;
    to[i] = limit * ((float)(it >> 40) / (float)(1 << 23) - 1.0f);
  }
}

static void initialise(gpt* model, uint64_t seed) {
  /* A uniform number within [-limit, limit) deviates by limit / sqrt(3). */
  const int layers = model->shape.layers;
  const float wide = sqrt(3.0f / (float)channels_of(model));
  const float residual = wide / sqrt(2.0f * (float)layers); /* blocks add up */
  fill_random(parameter(model, TOKENS), model->sizes[TOKENS], 0.05f, &seed);
  fill_random(parameter(model, POSITIONS), model->sizes[POSITIONS], 0.05f, &seed);
  for (int layer = 0; layer < layers; ++layer)
    for (int which = 0; which < BLOCK_TENSORS; ++which) {
      const int tensor = block_tensor(layer, which);
      float* to = parameter(model, tensor);
      const size_t count = model->sizes[tensor];
      if (which == QKV || which == UP) fill_random(to, count, wide, &seed);
      if (which == JOIN) fill_random(to, count, residual, &seed);
      if (which == DOWN) fill_random(to, count, residual / 2.0f, &seed);
      if (which == NORM1_GAIN || which == NORM2_GAIN)
        for (size_t i = 0; i < count; ++i) to[i] = 1.0f;
    }
  float* gain = parameter(model, final_tensor(model, FINAL_GAIN));
  for (int i = 0; i < channels_of(model); ++i) gain[i] = 1.0f;
}

gpt* gpt_create(gpt_shape shape, int batch, uint64_t seed) {
  if (shape.heads > (1 << 20) / shape.head_size) {
    fprintf(stderr, "gpt: %d heads of %d channels are more than 2^20\n", shape.heads,
            shape.head_size);
    exit(2);
  }
  gpt* model = allocate(1, sizeof *model);
  model->shape = shape;
  model->batch = batch;
  lay_out_tensors(model);
  const size_t count = model->begins[model->tensors];
  model->parameters = allocate(count, sizeof(float));
  model->gradients = allocate(count, sizeof(float));
  model->first_moments = allocate(count, sizeof(float));
  model->second_moments = allocate(count, sizeof(float));
  model->passes = allocate(1, sizeof(gpt_passes));
  model->passes->blocks = allocate((size_t)shape.layers, sizeof(block_values));
  model->values = allocate(lay_out_values(model, NULL), sizeof(float));
  lay_out_values(model, model->values);
  initialise(model, seed);
  return model;
}

void gpt_destroy(gpt* model) {
  free(model->passes->blocks);
  free(model->passes);
  free(model->values);
  free(model->second_moments);
  free(model->first_moments);
  free(model->gradients);
  free(model->parameters);
  free(model->first);
  free(model->begins);
  free(model->sizes);
  free(model);
}

/* ---- products of matrices, row by row ---- */

static void add_scaled(float* restrict to, float by, const float* restrict from, int count) {
  for (int i = 0; i < count; ++i) to[i] += by * from[i];
}

static float dot(const float* a, const float* b, int count) {
  enum { SUMS = 8 }; /* at a time, for the compiler to compute at once */
  float sums[SUMS] = {0}, total = 0;
  int i = 0;
  for (; i + SUMS <= count; i += SUMS)
    for (int k = 0; k < SUMS; ++k) sums[k] += a[i + k] * b[i + k];
  for (; i < count; ++i) total += a[i] * b[i];
  for (int k = 0; k < SUMS; ++k) total += sums[k];
  return total;
}

/* y[rows, outputs] += x[rows, inputs] w[inputs, outputs] */
static void add_product(float* y, const float* x, const float* w, size_t rows, int inputs,
                        int outputs) {
  for (size_t row = 0; row < rows; ++row, x += inputs, y += outputs)
    for (int i = 0; i < inputs; ++i) add_scaled(y, x[i], w + (size_t)i * (size_t)outputs, outputs);
}

/* x[rows, inputs] = y[rows, outputs] w[inputs, outputs] transposed */
static void transposed_product(float* x, const float* y, const float* w, size_t rows, int inputs,
                               int outputs) {
  for (size_t row = 0; row < rows; ++row, x += inputs, y += outputs)
    for (int i = 0; i < inputs; ++i) x[i] = dot(y, w + (size_t)i * (size_t)outputs, outputs);
}

/* w[inputs, outputs] += x[rows, inputs] transposed, y[rows, outputs] */
static void add_outer_product(float* w, const float* x, const float* y, size_t rows, int inputs,
                              int outputs) {
  for (size_t row = 0; row < rows; ++row, x += inputs, y += outputs)
    for (int i = 0; i < inputs; ++i) add_scaled(w + (size_t)i * (size_t)outputs, x[i], y, outputs);
}

static void product(float* y, const float* x, const float* w, size_t rows, int inputs,
                    int outputs) {
  memset(y, 0, rows * (size_t)outputs * sizeof *y);
  add_product(y, x, w, rows, inputs, outputs);
}

/* ---- layer norm: Ba, Kiros and Hinton, 2016 ---- */

static void norm(float* y, float* stats, const float* x, const float* gain, const float* bias,
                 size_t rows, int width) {
  for (size_t row = 0; row < rows; ++row, x += width, y += width, stats += 2) {
    float mean = 0, variance = 0;
    for (int i = 0; i < width; ++i) mean += x[i];
    mean /= (float)width;
    for (int i = 0; i < width; ++i) variance += (x[i] - mean) * (x[i] - mean);
    stats[0] = mean;
    stats[1] = 1.0f / sqrt(variance / (float)width + 1e-5f);
    for (int i = 0; i < width; ++i) y[i] = (x[i] - mean) * stats[1] * gain[i] + bias[i];
  }
}

/* Adds to the slopes by the input, the gain and the bias. */
static void norm_backward(float* dx, float* dgain, float* dbias, const float* dy, const float* x,
                          const float* stats, const float* gain, size_t rows, int width) {
  for (size_t row = 0; row < rows; ++row, x += width, dx += width, dy += width, stats += 2) {
    float mean = 0, mean_along = 0; /* of dy * gain, and of it times the normed x */
    for (int i = 0; i < width; ++i) {
      const float normed = (x[i] - stats[0]) * stats[1];
      mean += dy[i] * gain[i];
      mean_along += dy[i] * gain[i] * normed;
      dgain[i] += dy[i] * normed;
      dbias[i] += dy[i];
    }
    mean /= (float)width;
    mean_along /= (float)width;
    for (int i = 0; i < width; ++i) {
      const float normed = (x[i] - stats[0]) * stats[1];
      dx[i] += (dy[i] * gain[i] - mean - normed * mean_along) * stats[1];
    }
  }
}

/* ---- softmax, and causal attention ---- */

static void softmax(float* x, int count) {
  float highest = x[0], total = 0;
  for (int i = 1; i < count; ++i) highest = x[i] > highest ? x[i] : highest;
  for (int i = 0; i < count; ++i) total += x[i] = exp(x[i] - highest);
  for (int i = 0; i < count; ++i) x[i] /= total;
}

/* One head of one window: where its rows begin, and how far they are apart. */
typedef struct head_rows {
  size_t qkv, attended, weights;
} head_rows;

static head_rows head_of(const gpt* model, int window, int head) {
  const size_t context = (size_t)model->shape.context, channels = (size_t)channels_of(model);
  const size_t first = (size_t)window * context;
  const size_t within = (size_t)head * (size_t)model->shape.head_size;
  const size_t heads = (size_t)model->shape.heads;
  return (head_rows){first * 3 * channels + within, first * channels + within,
                     ((size_t)window * heads + (size_t)head) * context * context};
}

static void attend(const gpt* model, const block_values* block, head_rows at) {
  const int channels = channels_of(model), size = model->shape.head_size;
  const float scale = 1.0f / sqrt((float)size);
  const float *query = block->qkv + at.qkv, *keys = query + channels, *values = keys + channels;
  float *weights = block->weights + at.weights, *out = block->attended + at.attended;
  const size_t apart = 3 * (size_t)channels;
  for (int t = 0; t < model->shape.context; ++t) {
    for (int s = 0; s <= t; ++s) weights[s] = scale * dot(query, keys + (size_t)s * apart, size);
    softmax(weights, t + 1);
    memset(out, 0, (size_t)size * sizeof *out);
    for (int s = 0; s <= t; ++s) add_scaled(out, weights[s], values + (size_t)s * apart, size);
    query += apart, out += channels, weights += model->shape.context;
  }
}

/* From the slopes by what was attended to those by query, key and value, which are zero before.
   `room` is for a row of weights. */
static void attend_backward(const gpt* model, const block_values* block, head_rows at, float* dqkv,
                            const float* dattended, float* room) {
  const int channels = channels_of(model), size = model->shape.head_size;
  const float scale = 1.0f / sqrt((float)size);
  const float *query = block->qkv + at.qkv, *keys = query + channels, *values = keys + channels;
  const float *weights = block->weights + at.weights, *dout = dattended + at.attended;
  float *dquery = dqkv + at.qkv, *dkeys = dquery + channels, *dvalues = dkeys + channels;
  const size_t apart = 3 * (size_t)channels;
  for (int t = 0; t < model->shape.context; ++t) {
    float mean = 0;
    for (int s = 0; s <= t; ++s) {
      add_scaled(dvalues + (size_t)s * apart, weights[s], dout, size);
      room[s] = dot(dout, values + (size_t)s * apart, size);
      mean += weights[s] * room[s];
    }
    for (int s = 0; s <= t; ++s) {
      const float dscore = scale * weights[s] * (room[s] - mean);
      add_scaled(dquery, dscore, keys + (size_t)s * apart, size);
      add_scaled(dkeys + (size_t)s * apart, dscore, query, size);
    }
    query += apart, dquery += apart, dout += channels, weights += model->shape.context;
  }
}

/* ---- GELU by tanh: Hendrycks and Gimpel, 2016 ---- */

static const float gelu_scale = 0.7978845608f; /* sqrt(2 / pi) */
static const float gelu_cubic = 0.044715f;

static float gelu(float x) {
  return 0.5f * x * (1.0f + tanh(gelu_scale * (x + gelu_cubic * x * x * x)));
}
static float gelu_slope(float x) {
  const float bent = tanh(gelu_scale * (x + gelu_cubic * x * x * x));
  return 0.5f * (1.0f + bent) +
         0.5f * x * (1.0f - bent * bent) * gelu_scale * (1.0f + 3.0f * gelu_cubic * x * x);
}

/* ---- the forward pass ---- */

/* The row of a token in an arena's part for tokens, window by window. */
static size_t row_of(const gpt* model, int window, int t) {
  return (size_t)window * (size_t)model->shape.context + (size_t)t;
}
static const unsigned char* window_of(const gpt* model, int window) {
  return model->windows + (size_t)window * ((size_t)model->shape.context + 1);
}

static void embed(const gpt* model, float* to) {
  const int channels = channels_of(model);
  for (int window = 0; window < model->batch; ++window)
    for (int t = 0; t < model->shape.context; ++t, to += channels) {
      const float* token =
          parameter(model, TOKENS) + (size_t)window_of(model, window)[t] * (size_t)channels;
      const float* position = parameter(model, POSITIONS) + (size_t)t * (size_t)channels;
      for (int i = 0; i < channels; ++i) to[i] = token[i] + position[i];
    }
}

static void block_forward(const gpt* model, int layer, float* output) {
  const block_values* block = &model->passes->blocks[layer];
  const int channels = channels_of(model);
  const size_t rows = rows_of(model), row_bytes = rows * (size_t)channels * sizeof *output;
#define P(which) parameter(model, block_tensor(layer, which))
  norm(block->normed1, block->stats1, block->input, P(NORM1_GAIN), P(NORM1_BIAS), rows, channels);
  product(block->qkv, block->normed1, P(QKV), rows, channels, 3 * channels);
  for (int window = 0; window < model->batch; ++window)
    for (int head = 0; head < model->shape.heads; ++head)
      attend(model, block, head_of(model, window, head));
  memcpy(block->middle, block->input, row_bytes);
  add_product(block->middle, block->attended, P(JOIN), rows, channels, channels);

  norm(block->normed2, block->stats2, block->middle, P(NORM2_GAIN), P(NORM2_BIAS), rows, channels);
  product(block->up, block->normed2, P(UP), rows, channels, 4 * channels);
  for (size_t i = 0; i < 4 * rows * (size_t)channels; ++i) block->activated[i] = gelu(block->up[i]);
  memcpy(output, block->middle, row_bytes);
  add_product(output, block->activated, P(DOWN), rows, 4 * channels, channels);
#undef P
}

float gpt_forward(gpt* model, const unsigned char* windows) {
  model->windows = windows;
  const gpt_passes* all = model->passes;
  const int layers = model->shape.layers, vocabulary = model->shape.vocabulary;
  const size_t rows = rows_of(model);
  embed(model, all->blocks[0].input);
  for (int layer = 0; layer < layers; ++layer)
    block_forward(model, layer, layer + 1 < layers ? all->blocks[layer + 1].input : all->output);
  norm(all->normed, all->stats, all->output, parameter(model, final_tensor(model, FINAL_GAIN)),
       parameter(model, final_tensor(model, FINAL_BIAS)), rows, channels_of(model));
  transposed_product(all->probabilities, all->normed, parameter(model, TOKENS), rows, vocabulary,
                     channels_of(model));
  double loss = 0;
  for (int window = 0; window < model->batch; ++window)
    for (int t = 0; t < model->shape.context; ++t) {
      float* of = all->probabilities + row_of(model, window, t) * (size_t)vocabulary;
      softmax(of, vocabulary);
      loss -= log((double)of[window_of(model, window)[t + 1]]);
    }
  return (float)(loss / (double)rows);
}

/* ---- the backward pass ---- */

static void head_backward(gpt* model) {
  const gpt_passes* all = model->passes;
  const int channels = channels_of(model), vocabulary = model->shape.vocabulary;
  const size_t rows = rows_of(model);
  memset(model->gradients, 0, model->begins[model->tensors] * sizeof(float));
  memset(all->slope, 0, rows * (size_t)channels * sizeof(float));
  for (int window = 0; window < model->batch; ++window)
    for (int t = 0; t < model->shape.context; ++t) {
      float* of = all->probabilities + row_of(model, window, t) * (size_t)vocabulary;
      of[window_of(model, window)[t + 1]] -= 1.0f;
      for (int i = 0; i < vocabulary; ++i) of[i] /= (float)rows;
    }
  add_outer_product(gradient(model, TOKENS), all->probabilities, all->normed, rows, vocabulary,
                    channels);
  product(all->slope_below, all->probabilities, parameter(model, TOKENS), rows, vocabulary,
          channels);
  const int gain = final_tensor(model, FINAL_GAIN), bias = final_tensor(model, FINAL_BIAS);
  norm_backward(all->slope, gradient(model, gain), gradient(model, bias), all->slope_below,
                all->output, all->stats, parameter(model, gain), rows, channels);
}

/* Takes the slope by the block's output to that by its input, in place. */
static void block_backward(gpt* model, int layer) {
  const gpt_passes* all = model->passes;
  const block_values* block = &all->blocks[layer];
  const int channels = channels_of(model);
  const size_t rows = rows_of(model);
  float *slope = all->slope, *inside = all->slope_inside, *below = all->slope_below;
#define P(which) parameter(model, block_tensor(layer, which))
#define G(which) gradient(model, block_tensor(layer, which))
  transposed_product(inside, slope, P(DOWN), rows, 4 * channels, channels);
  add_outer_product(G(DOWN), block->activated, slope, rows, 4 * channels, channels);
  for (size_t i = 0; i < 4 * rows * (size_t)channels; ++i) inside[i] *= gelu_slope(block->up[i]);
  transposed_product(below, inside, P(UP), rows, channels, 4 * channels);
  add_outer_product(G(UP), block->normed2, inside, rows, channels, 4 * channels);
  norm_backward(slope, G(NORM2_GAIN), G(NORM2_BIAS), below, block->middle, block->stats2,
                P(NORM2_GAIN), rows, channels);

  transposed_product(below, slope, P(JOIN), rows, channels, channels);
  add_outer_product(G(JOIN), block->attended, slope, rows, channels, channels);
  memset(inside, 0, 3 * rows * (size_t)channels * sizeof *inside);
  float* room = below + rows * (size_t)channels; /* of `below` a quarter is taken */
  for (int window = 0; window < model->batch; ++window)
    for (int head = 0; head < model->shape.heads; ++head)
      attend_backward(model, block, head_of(model, window, head), inside, below, room);
  transposed_product(below, inside, P(QKV), rows, channels, 3 * channels);
  add_outer_product(G(QKV), block->normed1, inside, rows, channels, 3 * channels);
  norm_backward(slope, G(NORM1_GAIN), G(NORM1_BIAS), below, block->input, block->stats1,
                P(NORM1_GAIN), rows, channels);
#undef G
#undef P
}

static void embed_backward(gpt* model) {
  const int channels = channels_of(model);
  const float* slope = model->passes->slope;
  for (int window = 0; window < model->batch; ++window)
    for (int t = 0; t < model->shape.context; ++t, slope += channels) {
      const size_t token = window_of(model, window)[t], row = (size_t)channels;
      add_scaled(gradient(model, TOKENS) + token * row, 1.0f, slope, channels);
      add_scaled(gradient(model, POSITIONS) + (size_t)t * row, 1.0f, slope, channels);
    }
}

void gpt_backward(gpt* model, int stage) {
  if (stage == model->stages - 1)
    head_backward(model);
  else if (stage > 0)
    block_backward(model, stage - 1);
  else
    embed_backward(model);
}

/* ---- the optimizer, and what is said of a model ---- */

void gpt_step(gpt* model, float rate, int step) {
  const float keep1 = 0.9f, keep2 = 0.99f, least = 1e-8f, decay = 0.01f;
  const float whole1 = 1.0f - pow(keep1, (float)step), whole2 = 1.0f - pow(keep2, (float)step);
  for (int tensor = 0; tensor < model->tensors; ++tensor) {
    const int is_matrix = model->sizes[tensor] > (size_t)channels_of(model);
    const float shrink = is_matrix ? 1.0f - rate * decay : 1.0f;
    for (size_t i = model->begins[tensor]; i < model->begins[tensor + 1]; ++i) {
      const float slope = model->gradients[i];
      float *first = &model->first_moments[i], *second = &model->second_moments[i];
      *first = keep1 * *first + (1.0f - keep1) * slope;
      *second = keep2 * *second + (1.0f - keep2) * slope * slope;
      const float along = *first / whole1 / (sqrt(*second / whole2) + least);
      model->parameters[i] = model->parameters[i] * shrink - rate * along;
    }
  }
}

double gpt_gradient_norm(const gpt* model) {
  double squares = 0;
  for (size_t i = 0; i < model->begins[model->tensors]; ++i)
    squares += (double)model->gradients[i] * (double)model->gradients[i];
  return sqrt(squares);
}

uint64_t gpt_hash(const gpt* model) {
  const unsigned char* bytes = (const unsigned char*)model->parameters;
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < model->begins[model->tensors] * sizeof(float); ++i)
    hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}
