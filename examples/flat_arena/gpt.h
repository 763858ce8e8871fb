/* A small GPT in plain C. Tokens are characters; learned positions, blocks of layer norm, causal
   attention and a perceptron with GELU, a head that shares the tokens' embedding, cross entropy,
   AdamW. Radford and others, "Language models are unsupervised multitask learners", 2019;
   Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

   All parameters lie in one piece of memory, tensor behind tensor, all gradients in another in the
   same order, and all that a pass computes in a third. It uses one thread and no global state. */
#ifndef GPT_H
#define GPT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gpt_shape {
  int vocabulary, context; /* kinds of tokens, and how many of them are seen at most */
  int heads, head_size;    /* their product is the number of channels */
  int layers;
} gpt_shape;

typedef struct gpt {
  gpt_shape shape;
  int batch;      /* windows in a pass */
  int tensors;    /* how many */
  size_t* sizes;  /* of each tensor, in elements */
  size_t* begins; /* where each tensor begins in an arena, in elements; then the arena's size */
  float *parameters, *gradients;         /* arenas of the same layout */
  float *first_moments, *second_moments; /* likewise; AdamW's */
  float* values;                         /* what passes compute */
  struct gpt_passes* passes;             /* where it lies in there */
  const unsigned char* windows;          /* of the last forward pass */
  int stages; /* a backward pass goes through them from the last to the first */
  int* first; /* the first tensor of each stage; then the number of tensors */
} gpt;

/* A model with random parameters, the same for the same seed. Ends the process, with a line that
   says so, if it has more than 2^20 channels or there is no memory for it. */
gpt* gpt_create(gpt_shape shape, int batch, uint64_t seed);
void gpt_destroy(gpt* model);

/* The mean loss, in nats per token, over `batch` windows of context + 1 tokens each: the last
   `context` tokens of a window are predicted. The windows are read by gpt_backward once more. */
float gpt_forward(gpt* model, const unsigned char* windows);

/* One stage of the backward pass, which goes from stage stages - 1 to stage 0. Afterwards the
   gradients of that stage's tensors, first[stage] to first[stage + 1] - 1, are final.
   The last stage is the head and begins anew: nothing is added to gradients of earlier passes. */
void gpt_backward(gpt* model, int stage);

/* One step of AdamW. `step` counts from 1. */
void gpt_step(gpt* model, float rate, int step);

/* The Euclidean norm of all gradients together. */
double gpt_gradient_norm(const gpt* model);
/* FNV-1a of the bits of all parameters. */
uint64_t gpt_hash(const gpt* model);

#ifdef __cplusplus
}
#endif
#endif
