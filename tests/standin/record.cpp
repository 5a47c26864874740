#include "record.h"

#include <cstddef>

namespace standin {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + '"';
}

}  // namespace

Event::Event(const char* call) : text_("{\"call\": " + quoted(call)) {}

void Event::key(const char* name) { text_ += ", " + quoted(name) + ": "; }

Event& Event::add(const char* name, int64_t value) {
  key(name);
  text_ += std::to_string(value);
  return *this;
}

Event& Event::add(const char* name, const std::string& text) {
  key(name);
  text_ += quoted(text);
  return *this;
}

Event& Event::add(const char* name, const std::vector<int64_t>& values) {
  key(name);
  std::string list;
  for (const int64_t value : values) list += (list.empty() ? "" : ", ") + std::to_string(value);
  text_ += "[" + list + "]";
  return *this;
}

int64_t digest(const void* data, std::size_t size) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 1099511628211u;
  return static_cast<int64_t>(hash >> 1);
}

}  // namespace standin
