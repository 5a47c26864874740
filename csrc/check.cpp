#include "check.h"

namespace fastlr {

void raise(ErrorKind kind, const std::string& problem, const std::string& value, const std::string& remedy) {
  throw Error(kind, problem + ": " + value + ". " + remedy);
}

}  // namespace fastlr
