// What a test says about a failure: its code, and the words its message must have.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "slim/error.h"

namespace slim {

// Calls `action`, which must throw an Error of this code whose whole message has all these parts.
template <typename Action>
testing::AssertionResult fails_with(ErrorCode code, std::initializer_list<std::string_view> parts,
                                    Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    // Not what(): it ends at a zero byte, which a hostile name may have.
    const std::string message = error.place() + ": " + error.text();
    if (error.code() != code) return testing::AssertionFailure() << "other code: " << message;
    for (const std::string_view part : parts) {
      if (message.find(part) == std::string::npos) {
        return testing::AssertionFailure() << "no '" << part << "' in: " << message;
      }
    }
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "nothing was thrown";
}

}  // namespace slim
