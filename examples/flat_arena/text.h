/* A text as tokens: each character that occurs in it is a token. */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct text {
  unsigned char* tokens;
  size_t length;
  int vocabulary; /* how many different ones */
} text;

/* Reads a file of more than `least` characters. Ends the process, with a line that says why, if it
   can't. */
text text_read(const char* path, int least);
void text_free(text* all);

/* Copies windows first to first + count - 1 of a step, of `length` tokens each, to `windows`. Where
   in the text a window begins is drawn at random, but depends on nothing but its number and the
   step's. */
void text_draw(const text* all, int step, int first, int count, int length, unsigned char* windows);

#ifdef __cplusplus
}
#endif
#endif
