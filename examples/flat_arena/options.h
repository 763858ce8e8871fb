/* Options on the command line, as `--name value`. */
#ifndef OPTIONS_H
#define OPTIONS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct options {
  int count;
  char** values;    /* as main gets them; what has been read becomes NULL */
  char usage[1000]; /* grows by each option that is asked for */
} options;

options options_from(int count, char** values);

/* The option's value, or `fallback` where it is not given. Ends the process, with a line that says
   why, if there is no value, or if a number is not within [1, 1000000]. */
int option_number(options* all, const char* name, int fallback);
const char* option_text(options* all, const char* name, const char* fallback);

/* Ends the process, with the usage, if anything was given that was not asked for, or --help. */
void options_end(options* all);

#ifdef __cplusplus
}
#endif
#endif
