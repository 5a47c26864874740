// What was asked of the stand-in, in order, as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace standin {

class Event {
 public:
  explicit Event(const char* call);

  Event& add(const char* key, int64_t value);
  Event& add(const char* key, const std::string& text);
  Event& add(const char* key, const std::vector<int64_t>& values);
  std::string json() const { return text_ + "}"; }

 private:
  void key(const char* name);

  std::string text_;
};

// A number that differs where the bytes do.
int64_t digest(const void* data, std::size_t size);

}  // namespace standin
