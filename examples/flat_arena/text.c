#include "text.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void refuse(const char* path, const char* why) {
  fprintf(stderr, "%s: %s; --text FILE names another text\n", path, why);
  exit(2);
}

/* Grows as it reads: the file may be a pipe. */
static text read_bytes(FILE* file, const char* path) {
  text all = {NULL, 0, 0};
  size_t room = 0;
  for (;;) {
    if (all.length == room) {
      room = room == 0 ? 1 << 16 : 2 * room;
      unsigned char* more = realloc(all.tokens, room);
      if (more == NULL) refuse(path, "it is too long for the memory");
      all.tokens = more;
    }
    const size_t got = fread(all.tokens + all.length, 1, room - all.length, file);
    if (got == 0) return all;
    all.length += got;
  }
}

text text_read(const char* path, int least) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) refuse(path, strerror(errno));
  text all = read_bytes(file, path);
  if (ferror(file)) refuse(path, "it can't be read");
  fclose(file);
  if (all.length <= (size_t)least) refuse(path, "it is shorter than a window");

  int token_of[256] = {0};
  for (size_t i = 0; i < all.length; ++i) token_of[all.tokens[i]] = 1;
  for (int character = 0; character < 256; ++character)
    if (token_of[character]) token_of[character] = all.vocabulary++;
  for (size_t i = 0; i < all.length; ++i) all.tokens[i] = (unsigned char)token_of[all.tokens[i]];
  return all;
}

void text_free(text* all) { free(all->tokens); }

void text_draw(const text* all, int step, int first, int count, int length,
               unsigned char* windows) {
  for (int window = first; window < first + count; ++window, windows += length) {
    uint64_t it = ((uint64_t)step << 32 | (uint32_t)window) * 0x9e3779b97f4a7c15u;
    it = (it ^ (it >> 30)) * 0xbf58476d1ce4e5b9u; /* SplitMix64's way to mix */
    it = (it ^ (it >> 27)) * 0x94d049bb133111ebu;
    it ^= it >> 31;
    memcpy(windows, all->tokens + it % (all->length - (size_t)length + 1), (size_t)length);
  }
}
