#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void refuse(const options* all, const char* name, const char* why) {
  fprintf(stderr, "%s: %s %s\n", all->values[0], name, why);
  exit(2);
}

options options_from(int count, char** values) {
  options all = {count, values, ""};
  return all;
}

/* Takes the option out of what was given. NULL if it is not there. */
static const char* taken(options* all, const char* name) {
  for (int i = 1; i < all->count; ++i) {
    if (all->values[i] == NULL || strcmp(all->values[i], name) != 0) continue;
    if (i + 1 == all->count || all->values[i + 1] == NULL) refuse(all, name, "needs a value");
    const char* value = all->values[i + 1];
    all->values[i] = all->values[i + 1] = NULL;
    return value;
  }
  return NULL;
}

const char* option_text(options* all, const char* name, const char* fallback) {
  const size_t used = strlen(all->usage);
  snprintf(all->usage + used, sizeof all->usage - used, "  %-12s (%s)\n", name, fallback);
  const char* value = taken(all, name);
  return value == NULL ? fallback : value;
}

int option_number(options* all, const char* name, int fallback) {
  char written[16];
  snprintf(written, sizeof written, "%d", fallback);
  char* end;
  const char* value = option_text(all, name, written);
  const long number = strtol(value, &end, 10);
  if (*value == '\0' || *end != '\0' || number < 1 || number > 1000000)
    refuse(all, name, "needs a number from 1 to 1000000");
  return (int)number;
}

void options_end(options* all) {
  for (int i = 1; i < all->count; ++i) {
    if (all->values[i] == NULL) continue;
    const int asked = strcmp(all->values[i], "--help") == 0;
    FILE* to = asked ? stdout : stderr;
    if (!asked) fprintf(to, "%s: there is no option %s\n", all->values[0], all->values[i]);
    fprintf(to, "options, with what holds where they are not given:\n%s", all->usage);
    exit(asked ? 0 : 2);
  }
}
