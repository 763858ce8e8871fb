// What is written to standard output.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <stdexcept>
#include <string>

namespace docs {

/// What `body` prints, which must not throw. No other thread prints meanwhile.
template <class Body>
std::string printed(Body body) {
  std::FILE* const file = std::tmpfile();
  const int before = dup(STDOUT_FILENO);
  std::fflush(stdout);
  if (file == nullptr || before < 0 || dup2(fileno(file), STDOUT_FILENO) < 0)
    throw std::runtime_error{"standard output can't be read"};
  body();
  std::cout.flush();
  std::fflush(stdout);
  dup2(before, STDOUT_FILENO);
  close(before);
  std::rewind(file);
  std::string text;
  for (int next = std::fgetc(file); next != EOF; next = std::fgetc(file))
    text += static_cast<char>(next);
  std::fclose(file);
  return text;
}

}  // namespace docs
