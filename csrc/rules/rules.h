// Every rule, by the name of its header and namespace. A new one is added here, in both places.
#pragma once

#include "rules/adam.h"
#include "rules/lion.h"
#include "rules/sgd.h"

#define FASTLR_RULES(X) X(sgd) X(adam) X(lion)
