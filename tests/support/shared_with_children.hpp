// An object that processes share which are forked while it lives.
#pragma once

#include <sys/mman.h>

#include <new>
#include <stdexcept>

namespace test {

template <class T>
class shared_with_children {
 public:
  shared_with_children() {
    void* const place =
        mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) throw std::runtime_error{"mmap"};
    it_ = new (place) T;
  }
  shared_with_children(const shared_with_children&) = delete;
  shared_with_children& operator=(const shared_with_children&) = delete;
  ~shared_with_children() {
    it_->~T();
    munmap(it_, sizeof(T));
  }
  T& operator*() const { return *it_; }
  T* operator->() const { return it_; }

 private:
  T* it_;
};

}  // namespace test
